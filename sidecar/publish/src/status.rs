//! Writing `status.raft` by server-side apply (K31).

use kube::api::{PartialObjectMeta, Patch, PatchParams, Request};
use kube::{Client, Resource};
use quorate_crds::{RaftCluster, RaftStatus, SIDECAR_FIELD_MANAGER};
use serde_json::json;

use crate::error::{PublishError, call};
use crate::target::Target;

/// The field whose CEL rule is the fence on (recovery epoch, term).
const FENCED_FIELD: &str = "status.raft";

/// How a write ended, when the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The API server holds it.
    Yes,
    /// Not ours to write any more in this term, and why.
    Superseded(String),
}

/// Applies `status` as the whole of `status.raft`.
///
/// Forced, because every field in the body is ours and a person's edit must not stop publishing; what is not in
/// the body is not touched. The body carries the cluster's UID, so a new cluster of the same name refuses it.
pub(crate) async fn apply(
    client: &Client,
    target: &Target,
    status: &RaftStatus,
) -> Result<Written, PublishError> {
    const WHAT: &str = "writing status.raft";
    let body = json!({
        "apiVersion": RaftCluster::api_version(&()),
        "kind": RaftCluster::kind(&()),
        "metadata": { "name": target.cluster, "uid": target.cluster_uid },
        "status": { "raft": status },
    });
    let parameters = PatchParams::apply(SIDECAR_FIELD_MANAGER).force();
    let url = RaftCluster::url_path(&(), Some(&target.namespace));
    let request = Request::new(url)
        .patch_subresource("status", &target.cluster, &parameters, &Patch::Apply(&body))
        .map_err(|error| PublishError::Call {
            what: WHAT,
            source: Box::new(kube::Error::BuildRequest(error)),
        })?;
    // Of the answer only metadata is read: the whole object carries the application's Pod template, which may be
    // large, and this process is meant to stay small.
    let answer = call(WHAT, client.request::<PartialObjectMeta<RaftCluster>>(request)).await;
    match answer {
        Ok(_) => Ok(Written::Yes),
        Err(error) => match superseded(&error, target) {
            Some(why) => Ok(Written::Superseded(why)),
            None => Err(error),
        },
    }
}

/// Why this answer means that another writes now; `None` if it is an error to tell and to try again.
fn superseded(error: &PublishError, target: &Target) -> Option<String> {
    let status = error.status()?;
    let name = &target.cluster;
    match status.code {
        404 => Some(format!("raftcluster {name} does not exist any more")),
        409 => Some(format!("raftcluster {name} is another one now: its UID is not {}", target.cluster_uid)),
        422 => {
            let causes = &status.details.as_ref()?.causes;
            let fenced = causes.iter().any(|cause| cause.field == FENCED_FIELD);
            fenced.then(|| format!("status.raft of {name} already holds a later recovery epoch or term"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeApi, target};
    use crate::view::tests::view;

    async fn apply_answered(prepare: impl Fn(&FakeApi)) -> (FakeApi, Result<Written, PublishError>) {
        let api = FakeApi::default();
        prepare(&api);
        let outcome = apply(&api.client(), &target(), &view(7).to_status()).await;
        (api, outcome)
    }

    /// K31: the sidecar's write holds `status.raft` of exactly this cluster, and not one field of the operator's.
    #[tokio::test]
    async fn the_body_is_status_raft_under_the_sidecars_name_and_the_clusters_uid() {
        let (api, outcome) =
            apply_answered(|api| api.answer(200, json!({ "metadata": { "name": "db" } }))).await;
        assert_eq!(outcome.unwrap(), Written::Yes);
        let [asked] = &api.asked()[..] else { panic!("one request, got {:?}", api.asked()) };
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("PATCH", "/apis/quorate.dev/v1alpha1/namespaces/ns/raftclusters/db/status")
        );
        assert!(asked.query.contains("fieldManager=quorate-sidecar"), "{}", asked.query);
        assert_eq!(asked.body["metadata"], json!({ "name": "db", "uid": "uid-of-db" }));
        let keys: Vec<&String> = asked.body["status"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["raft"]);
        assert_eq!(asked.body["status"]["raft"]["term"], json!(7));
    }

    /// K31: a deposed leader's late write is refused by the fence; that is an end, not a fault to retry.
    #[tokio::test]
    async fn a_refusal_by_the_fence_ends_the_writing_but_another_422_is_an_error() {
        let (_, fenced) = apply_answered(|api| api.refuse(422, "status.raft")).await;
        assert!(matches!(fenced, Ok(Written::Superseded(_))));
        let (_, invalid) = apply_answered(|api| api.refuse(422, "status.raft.members[0].role")).await;
        assert_eq!(invalid.unwrap_err().status().unwrap().code, 422);
    }

    /// A deleted cluster, or a new one of the same name, is not ours to write; a missing right must be told.
    #[tokio::test]
    async fn a_cluster_that_is_gone_or_another_ends_the_writing_and_403_is_an_error() {
        for code in [404, 409] {
            let (_, outcome) = apply_answered(|api| api.refuse(code, "")).await;
            assert!(matches!(outcome, Ok(Written::Superseded(_))), "{code}");
        }
        let (_, forbidden) = apply_answered(|api| api.refuse(403, "")).await;
        assert!(forbidden.unwrap_err().text().contains("writing status.raft failed"));
    }
}
