//! The one disruptive step of a plan (I1), after its checks.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, EvictParams, Preconditions};
use quorate_plan::plan::{Check, PlannedStep, Step};
use tracing::info;

use super::{Acted, Hands, ensure};
use crate::error::{RoundError, code, words};

/// Checks each precondition live, then does it.
pub(super) async fn carry_out(hands: &Hands<'_>, planned: &PlannedStep) -> Result<Acted, RoundError> {
    for check in &planned.checks {
        if !holds(hands, check).await? {
            info!(why = %planned.why.text, "a step was skipped: what it was decided on has changed");
            return Ok(Acted::Overtaken);
        }
    }
    let (rule, reason) = (planned.why.rule, planned.why.reason.as_str());
    info!(cluster = %hands.place.name, rule, reason, member = %planned.why.member, why = %planned.why.text, "step");
    do_it(hands, planned).await
}

async fn do_it(hands: &Hands<'_>, planned: &PlannedStep) -> Result<Acted, RoundError> {
    match &planned.step {
        Step::Bootstrap { pod: _, cluster_id, raft_id, incarnation, mode } => {
            hands.dial(raft_id).await?.bootstrap(cluster_id, incarnation, *mode).await?;
        }
        Step::Recover { pod: _, raft_id, epoch, lost } => {
            hands.dial(raft_id).await?.recover(*epoch, lost).await?;
        }
        Step::AddNonVoter { raft_id, incarnation, address, intent, versions } => {
            let (leader, index) = leader(planned);
            let server = (raft_id.as_str(), incarnation.as_str());
            hands.dial(leader).await?.add_non_voter(server, address, intent, *versions, index).await?;
        }
        Step::Remove { raft_id, incarnation, reason } => {
            let (leader, index) = leader(planned);
            let server = (raft_id.as_str(), incarnation.as_str());
            hands.dial(leader).await?.remove(server, *reason, index).await?;
        }
        Step::TransferLeadership { from, to } => {
            hands.dial(from).await?.transfer_leadership(to).await?;
        }
        Step::EvictPod { pod } => {
            let Some((uid, version)) = preconditions(planned, pod) else { return Ok(Acted::Overtaken) };
            return evict(hands, pod, uid, version).await;
        }
        Step::DeletePod { pod } => {
            let Some((uid, version)) = preconditions(planned, pod) else { return Ok(Acted::Overtaken) };
            return ensure::delete::<Pod>(hands, pod, uid, version).await;
        }
        Step::DeleteClaim { claim } => {
            let Some((uid, version)) = preconditions(planned, claim) else { return Ok(Acted::Overtaken) };
            return ensure::delete::<PersistentVolumeClaim>(hands, claim, uid, version).await;
        }
    }
    Ok(Acted::ToItsEnd)
}

/// Asks the API server to let a Pod go; a disruption budget may answer that none may go now (K36).
async fn evict(hands: &Hands<'_>, pod: &str, uid: &str, resource_version: &str) -> Result<Acted, RoundError> {
    let delete_options = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(resource_version.to_owned()),
        }),
        ..DeleteParams::default()
    };
    let parameters = EvictParams { delete_options: Some(delete_options), ..EvictParams::default() };
    let evicted = hands.place.api::<Pod>(hands.client).evict(pod, &parameters).await;
    match evicted {
        Err(error) if code(&error) == Some(429) => {
            info!(%pod, why = words(&error), "the disruption budget lets no Pod go now");
            Ok(Acted::Overtaken)
        }
        other => ensure::overtaken_or("evicting a Pod", other),
    }
}

/// The leader a membership step was decided on; index 0 never matches, so a step without this check is refused.
fn leader(planned: &PlannedStep) -> (&str, u64) {
    let found = planned.checks.iter().find_map(|check| match check {
        Check::Configuration { index, leader, .. } => Some((leader.as_str(), *index)),
        _ => None,
    });
    found.unwrap_or_default()
}

/// UID and resource version for a delete; without them nothing is deleted.
fn preconditions<'a>(planned: &'a PlannedStep, object: &str) -> Option<(&'a str, &'a str)> {
    planned.checks.iter().find_map(|check| match check {
        Check::Pod { name, uid, resource_version } | Check::Claim { name, uid, resource_version }
            if name == object =>
        {
            Some((uid.as_str(), resource_version.as_str()))
        }
        _ => None,
    })
}

async fn holds(hands: &Hands<'_>, check: &Check) -> Result<bool, RoundError> {
    match check {
        // Both go into the delete's preconditions: the API server checks them in the same transaction.
        Check::Pod { .. } | Check::Claim { .. } => Ok(true),
        // The leader compares the index itself (K13).
        Check::Configuration { leader, term, .. } => Ok(hands.dial(leader).await?.leads_in(*term).await?),
        Check::ClaimStays { name, uid } => {
            let claim = claim(hands, name).await?;
            Ok(claim
                .is_some_and(|meta| meta.uid.as_deref() == Some(uid) && meta.deletion_timestamp.is_none()))
        }
        Check::ClaimGone { name, uid_begins } => {
            let claim = claim(hands, name).await?;
            let is_it = |uid: &str| {
                let hex: String = uid.chars().filter(char::is_ascii_hexdigit).collect();
                hex.to_ascii_lowercase().starts_with(&uid_begins.to_ascii_lowercase())
            };
            Ok(!claim.is_some_and(|meta| meta.uid.as_deref().is_some_and(is_it)))
        }
    }
}

/// A live GET (K33).
async fn claim(hands: &Hands<'_>, name: &str) -> Result<Option<kube::core::ObjectMeta>, RoundError> {
    let claims = hands.place.api::<PersistentVolumeClaim>(hands.client);
    let found = claims.get_metadata_opt(name).await.map_err(RoundError::api("reading a claim"))?;
    Ok(found.map(|found| found.metadata))
}

#[cfg(test)]
mod tests {
    use quorate_plan::plan::Why;
    use quorate_plan::reason::Reason;

    use super::*;

    fn planned(checks: Vec<Check>) -> PlannedStep {
        let why = Why { rule: "12", reason: Reason::ScalingDown, member: String::new(), text: String::new() };
        PlannedStep { step: Step::DeletePod { pod: "db-2".to_owned() }, checks, why, tells: None }
    }

    fn pod(name: &str) -> Check {
        Check::Pod { name: name.to_owned(), uid: "u".to_owned(), resource_version: "7".to_owned() }
    }

    /// I1, K33: what is deleted is exactly what was read; a plan that does not say which is not carried out.
    #[test]
    fn a_delete_takes_its_preconditions_from_its_own_object_or_is_not_made() {
        assert_eq!(preconditions(&planned(vec![pod("db-1"), pod("db-2")]), "db-2"), Some(("u", "7")));
        assert_eq!(preconditions(&planned(vec![pod("db-1")]), "db-2"), None);
    }

    /// I3: a membership call without the index it was decided on carries 0, which no configuration has.
    #[test]
    fn a_membership_step_carries_the_index_and_leader_it_was_decided_on() {
        let check = Check::Configuration { index: 41, leader: "db-0-3f2a91c4".to_owned(), term: 7 };
        assert_eq!(leader(&planned(vec![pod("db-2"), check])), ("db-0-3f2a91c4", 41));
        assert_eq!(leader(&planned(vec![])), ("", 0));
    }
}
