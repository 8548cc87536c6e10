//! Writing the top level of status (K31).

use kube::Resource;
use kube::api::{Patch, PatchParams};
use quorate_crds::{OPERATOR_FIELD_MANAGER, RaftCluster, RaftClusterStatus};
use quorate_plan::plan::Plan;
use serde_json::json;
use tracing::info;

use super::{Acted, Hands};
use crate::error::{RoundError, code};

/// Applies the planned status if it differs from what is there; guarded by the resource version when it records what
/// must never be written over from a stale read.
pub(super) async fn write(hands: &Hands<'_>, plan: &Plan) -> Result<Acted, RoundError> {
    let cluster = &hands.seen.observed.cluster;
    if !differs(cluster.status.as_ref(), &plan.status) {
        return Ok(Acted::ToItsEnd);
    }
    let mut metadata = json!({ "name": hands.place.name, "uid": hands.place.uid });
    if plan.status_is_guarded {
        metadata["resourceVersion"] = json!(cluster.metadata.resource_version);
    }
    let body = json!({
        "apiVersion": RaftCluster::api_version(&()),
        "kind": RaftCluster::kind(&()),
        "metadata": metadata,
        "status": plan.status,
    });
    // Forced: every field in the body is ours, and a person's edit of a condition must not stop the truth.
    let parameters = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
    let clusters = hands.place.api::<RaftCluster>(hands.client);
    match clusters.patch_status(&hands.place.name, &parameters, &Patch::Apply(&body)).await {
        Ok(_) => {
            let summary = plan.status.summary.as_deref().unwrap_or_default();
            info!(cluster = %hands.place.name, namespace = %hands.place.namespace, summary, "status changed");
            Ok(Acted::ToItsEnd)
        }
        // Changed, replaced or deleted since it was read.
        Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(Acted::Overtaken),
        Err(error) => Err(RoundError::api("writing status")(error)),
    }
}

/// Whether a write is needed; `raft` is the leader's and never compared.
fn differs(found: Option<&RaftClusterStatus>, wanted: &RaftClusterStatus) -> bool {
    let mut found = found.cloned().unwrap_or_default();
    found.raft = None;
    found != *wanted
}

#[cfg(test)]
mod tests {
    use quorate_crds::RaftStatus;

    use super::*;

    /// K31, I7: the leader's part changing is no reason for the operator to write.
    #[test]
    fn only_a_difference_in_the_operators_part_is_written() {
        let wanted = RaftClusterStatus { leader: Some("db-0".to_owned()), ..RaftClusterStatus::default() };
        let raft = RaftStatus { term: Some(7), ..RaftStatus::default() };
        let found = RaftClusterStatus { raft: Some(raft), ..wanted.clone() };
        assert!(!differs(Some(&found), &wanted));
        assert!(differs(Some(&found), &RaftClusterStatus::default()));
        assert!(differs(None, &wanted));
    }
}
