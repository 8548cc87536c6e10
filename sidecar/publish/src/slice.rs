//! The one endpoint of the leader Service (K40).
//!
//! The operator creates the slice with its ports; the leader puts itself in, together with its (recovery epoch,
//! term), and only over a lower one. The write carries the resource version it was decided on, so of two
//! members that both believe they lead, the later term wins and the loser sees it at its next renewal.
//! A stale endpoint is slow, never wrong: whoever is asked forwards to the leader or refuses.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use quorate_crds::SIDECAR_FIELD_MANAGER;
use serde_json::{Value, json};

use crate::error::{PublishError, call};
use crate::status::Written;
use crate::target::Target;
use crate::view::RaftView;

/// The annotation that orders leaders: `<recovery epoch>.<term>`.
pub const LEADER_TERM_ANNOTATION: &str = "quorate.dev/leader-term";

/// (recovery epoch, term), compared in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaderTerm {
    pub(crate) recovery_epoch: u64,
    pub(crate) term: u64,
}

impl LeaderTerm {
    pub(crate) fn of(view: &RaftView) -> Self {
        Self { recovery_epoch: view.recovery_epoch, term: view.term }
    }

    fn parse(text: &str) -> Option<Self> {
        let (recovery_epoch, term) = text.split_once('.')?;
        Some(Self { recovery_epoch: recovery_epoch.parse().ok()?, term: term.parse().ok()? })
    }

    fn format(self) -> String {
        format!("{}.{}", self.recovery_epoch, self.term)
    }
}

/// Makes this member the slice's endpoint unless a later leader is there.
pub(crate) async fn claim(
    client: &Client,
    target: &Target,
    name: &str,
    ours: LeaderTerm,
) -> Result<Written, PublishError> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &target.namespace);
    let Some(slice) = call("reading the leader endpoint slice", slices.get_opt(name)).await? else {
        // The operator makes it, before or after the first election; the next renewal looks again.
        return Ok(Written::Yes);
    };
    // An annotation that cannot be parsed was written by a person; ours replaces it.
    let theirs = slice.annotations().get(LEADER_TERM_ANNOTATION).and_then(|text| LeaderTerm::parse(text));
    if theirs.is_some_and(|theirs| theirs > ours) {
        return Ok(Written::Superseded(format!("endpoint slice {name} already names a later leader")));
    }
    if theirs == Some(ours) && names_only(&slice, target) {
        return Ok(Written::Yes);
    }
    let parameters =
        PatchParams { field_manager: Some(SIDECAR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let body = claim_body(&slice, target, ours);
    call("writing the leader endpoint slice", slices.patch(name, &parameters, &Patch::Merge(&body)))
        .await
        .map(|_| Written::Yes)
}

fn claim_body(slice: &EndpointSlice, target: &Target, ours: LeaderTerm) -> Value {
    let mut pod = json!({ "kind": "Pod", "namespace": target.namespace, "name": target.pod });
    if let Some(uid) = &target.pod_uid {
        pod["uid"] = json!(uid);
    }
    json!({
        "metadata": {
            "resourceVersion": slice.resource_version(),
            "annotations": { LEADER_TERM_ANNOTATION: ours.format() },
        },
        "endpoints": [{
            "addresses": [target.pod_ip],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "targetRef": pod,
        }],
    })
}

fn names_only(slice: &EndpointSlice, target: &Target) -> bool {
    let [endpoint] = slice.endpoints.as_slice() else { return false };
    endpoint.addresses == [target.pod_ip.clone()]
        && endpoint.target_ref.as_ref().and_then(|pod| pod.name.as_deref()) == Some(target.pod.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeApi, target};

    fn slice_of(term: &str, endpoints: &Value) -> Value {
        json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "db-leader", "resourceVersion": "41",
                "annotations": { LEADER_TERM_ANNOTATION: term } },
            "endpoints": endpoints })
    }

    async fn claim_of(found: Value) -> (FakeApi, Written) {
        let api = FakeApi::default();
        api.answer(200, found);
        api.answer(200, slice_of("0.7", &json!([])));
        let ours = LeaderTerm { recovery_epoch: 0, term: 7 };
        let written = claim(&api.client(), &target(), "db-leader", ours).await.unwrap();
        (api, written)
    }

    /// K40: the endpoint goes over a lower term only, with the resource version it was decided on.
    #[tokio::test]
    async fn a_leader_replaces_an_earlier_one_and_leaves_a_later_one() {
        let other = json!([{ "addresses": ["10.0.0.9"], "targetRef": { "kind": "Pod", "name": "db-1" } }]);
        let (api, written) = claim_of(slice_of("0.6", &other)).await;
        assert_eq!(written, Written::Yes);
        let patch = &api.asked()[1];
        assert_eq!(patch.method, "PATCH");
        assert_eq!(patch.body["metadata"]["resourceVersion"], json!("41"));
        assert_eq!(patch.body["metadata"]["annotations"][LEADER_TERM_ANNOTATION], json!("0.7"));
        assert_eq!(patch.body["endpoints"][0]["addresses"], json!(["10.0.0.7"]));

        let (api, written) = claim_of(slice_of("0.8", &other)).await;
        assert!(matches!(written, Written::Superseded(_)));
        assert_eq!(api.asked().len(), 1);
    }

    /// K31, K40: the re-check at each renewal writes nothing while the endpoint is ours.
    #[tokio::test]
    async fn an_endpoint_that_is_ours_already_is_not_written_again() {
        let ours = json!([{ "addresses": ["10.0.0.7"], "targetRef": { "kind": "Pod", "name": "db-0" } }]);
        let (api, written) = claim_of(slice_of("0.7", &ours)).await;
        assert_eq!((written, api.asked().len()), (Written::Yes, 1));
        // The same term with other endpoints is what an outside hand left: repaired.
        let (api, _) = claim_of(slice_of("0.7", &json!([]))).await;
        assert_eq!(api.asked().len(), 2);
    }

    /// K40: a recovered cluster's first term must win over the old majority's high terms.
    #[test]
    fn leaders_are_ordered_by_recovery_epoch_and_then_term() {
        let parse = |text: &str| LeaderTerm::parse(text);
        assert!(parse("1.2") > parse("0.900"));
        assert!(parse("0.10") > parse("0.9"));
        assert_eq!(parse("0.7").map(LeaderTerm::format).as_deref(), Some("0.7"));
        assert_eq!(parse("seven"), None);
    }
}
