//! Whose turn it is to get this operator's sidecar (K47): one cluster at a time, so that a sidecar that does not work is
//! met by one cluster and no other.
//!
//! Remembered by this process only. After a start everybody is looked at first: a cluster that an earlier operator left
//! in the middle goes on, and keeps the others waiting.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quorate_crds::RaftCluster;
use quorate_plan::plan::Plan;

use crate::limits::TURNS_BEGIN_AFTER;

/// Clusters by UID.
pub(crate) struct Turn {
    started: Instant,
    holders: Mutex<BTreeSet<String>>,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), holders: Mutex::default() }
    }

    /// Takes the turn for a cluster that is behind and Ready; whether it has it.
    pub(crate) fn take(&self, uid: &str, cluster: &RaftCluster, is_behind: bool) -> bool {
        let mut holders = self.holders();
        if !is_behind || holders.contains(uid) {
            return is_behind;
        }
        let may_begin =
            holders.is_empty() && self.started.elapsed() >= TURNS_BEGIN_AFTER && is_ready(cluster);
        if may_begin {
            holders.insert(uid.to_owned());
        }
        may_begin
    }

    /// What a round decided: a cluster in the middle of a rollout keeps its turn until it is Ready again.
    pub(crate) fn note(&self, uid: &str, plan: &Plan, is_automatic: bool) {
        let is_rolling = plan.status.rollout.as_ref().is_some_and(|rollout| !rollout.pending.is_empty());
        let is_ready = plan.status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
        let mut holders = self.holders();
        if is_automatic && is_rolling {
            holders.insert(uid.to_owned());
        } else if is_ready || !is_automatic {
            holders.remove(uid);
        }
    }

    /// A cluster is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.holders().remove(uid);
    }

    fn holders(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_ready(cluster: &RaftCluster) -> bool {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|it| {
        it.type_ == "Ready" && it.status == "True" && it.observed_generation == cluster.metadata.generation
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;
    use quorate_crds::{RaftClusterStatus, Rollout};

    use super::*;

    fn ready(is_ready: bool) -> RaftCluster {
        let condition = Condition {
            type_: "Ready".to_owned(),
            status: if is_ready { "True" } else { "False" }.to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            message: String::new(),
            observed_generation: None,
            reason: String::new(),
        };
        let status = RaftClusterStatus { conditions: vec![condition], ..RaftClusterStatus::default() };
        RaftCluster { status: Some(status), ..RaftCluster::default() }
    }

    fn decided(cluster: RaftCluster, pending: &[&str]) -> Plan {
        let pending = pending.iter().map(|&member| member.to_owned()).collect();
        let rollout = Some(Rollout { pending, ..Rollout::default() });
        Plan {
            status: RaftClusterStatus { rollout, ..cluster.status.unwrap_or_default() },
            ..Plan::default()
        }
    }

    fn long_since_started() -> Turn {
        let started = Instant::now().checked_sub(TURNS_BEGIN_AFTER + Duration::from_secs(1));
        Turn { started: started.expect("a clock that has run for a while"), ..Turn::new() }
    }

    /// K47: the second waits until the first is through and Ready.
    #[test]
    fn one_cluster_has_its_turn_and_the_next_waits_until_it_is_ready() {
        let turn = long_since_started();
        assert!(turn.take("a", &ready(true), true));
        turn.note("a", &decided(ready(false), &["db-0"]), true);
        assert!(!turn.take("b", &ready(true), true));
        turn.note("a", &decided(ready(false), &[]), true);
        assert!(!turn.take("b", &ready(true), true), "its last Pod is not well yet");
        turn.note("a", &decided(ready(true), &[]), true);
        assert!(turn.take("b", &ready(true), true));
    }

    /// K47: nobody begins before all were looked at, for one may be in the middle.
    #[test]
    fn after_a_start_nobody_begins_and_who_is_in_the_middle_goes_on() {
        let turn = Turn::new();
        assert!(!turn.take("a", &ready(true), true));
        let turn = long_since_started();
        turn.note("b", &decided(ready(false), &["db-1"]), true);
        assert!(!turn.take("a", &ready(true), true));
        turn.forget("b");
        assert!(turn.take("a", &ready(true), true));
    }

    #[test]
    fn a_cluster_that_is_ill_or_up_to_date_takes_no_turn() {
        let turn = long_since_started();
        assert!(!turn.take("a", &ready(false), true));
        assert!(!turn.take("a", &ready(true), false));
        assert!(turn.take("b", &ready(true), true));
    }
}
