//! Every membership a cluster ever showed, for promises about what never happens.
//!
//! A watch delivers each version of the resource, so nothing that was published for a moment is missed. A watch that
//! ends early is taken up again by the runtime, and shows the present state first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use quorate_crds::{RaftCluster, RaftStatus};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// Memberships kept; a test with more than this is no longer a story.
const MEMBERSHIPS_MAX: usize = 10_000;

/// One membership: which Raft IDs vote, and which do not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Raft IDs that vote.
    pub(crate) voters: BTreeSet<String>,
    /// Raft IDs that do not.
    pub(crate) non_voters: BTreeSet<String>,
}

/// What was published.
#[derive(Default)]
struct Record {
    memberships: Vec<Membership>,
    /// The leader's Raft ID by recovery epoch and term.
    leaders: BTreeMap<(i64, i64), String>,
    latest: (i64, i64),
    wrongs: Vec<String>,
}

/// What one cluster published, in order, since the history began.
pub(crate) struct History {
    seen: Arc<Mutex<Record>>,
    watch: JoinHandle<()>,
}

impl History {
    /// Begins.
    pub(crate) fn of(cluster: &Cluster<'_>) -> Self {
        let api: Api<RaftCluster> =
            Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", cluster.name));
        let seen: Arc<Mutex<Record>> = Arc::default();
        let record = seen.clone();
        let watch = tokio::spawn(async move {
            let mut versions = Box::pin(watcher(api, only).default_backoff().applied_objects());
            loop {
                match versions.try_next().await {
                    Ok(Some(version)) => note(&record, version),
                    Ok(None) => return,
                    // The stream goes on after an error, with a pause of its own.
                    Err(_) => {}
                }
            }
        });
        Self { seen, watch }
    }

    /// What was seen so far.
    pub(crate) fn memberships(&self) -> Vec<Membership> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).memberships.clone()
    }

    /// That no term had two leaders, and neither term nor recovery epoch ever fell.
    pub(crate) fn had_one_leader_a_term(&self) -> Result<()> {
        let record = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!record.leaders.is_empty(), "no leader was published");
        ensure!(record.wrongs.is_empty(), "{}", record.wrongs.join("; "));
        Ok(())
    }

    /// That members join one at a time: never two without a vote, and all but the founder were seen without one first.
    pub(crate) fn joined_one_at_a_time(&self) -> Result<()> {
        let seen = self.memberships();
        ensure!(!seen.is_empty(), "no membership was published");
        let mut known: BTreeSet<&String> = seen[0].voters.iter().collect();
        ensure!(known.len() <= 1, "the first membership has more than the founder: {:?}", seen[0]);
        for (at, now) in seen.iter().enumerate() {
            ensure!(now.non_voters.len() <= 1, "two members without a vote at once: {now:?}");
            for voter in &now.voters {
                ensure!(
                    known.contains(voter) || known.is_empty(),
                    "{voter} voted without having been seen without a vote: {:?}",
                    &seen[..=at]
                );
            }
            known.extend(now.voters.iter().chain(&now.non_voters));
        }
        Ok(())
    }

    /// That so many voted all the time. While one takes another's place both do, for a moment (K14).
    pub(crate) fn kept_voters(&self, wanted: usize) -> Result<()> {
        for now in self.memberships() {
            let is_kept = (wanted..=wanted + 1).contains(&now.voters.len());
            ensure!(is_kept, "there were not {wanted} voters all the time: {now:?}");
        }
        Ok(())
    }

    /// That the set of voters never changed by more than one member from one publication to the next.
    pub(crate) fn changed_one_at_a_time(&self) -> Result<()> {
        for pair in self.memberships().windows(2) {
            let changed = pair[0].voters.symmetric_difference(&pair[1].voters).count();
            ensure!(changed <= 1, "two voters changed at once: {pair:?}");
        }
        Ok(())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn note(record: &Mutex<Record>, version: RaftCluster) {
    let Some(raft) = version.status.and_then(|status| status.raft) else { return };
    let now = membership(&raft);
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    if record.memberships.last() != Some(&now) && record.memberships.len() < MEMBERSHIPS_MAX {
        record.memberships.push(now);
    }
    let (Some(leader), Some(term)) = (raft.leader.clone(), raft.term) else { return };
    let at = (raft.recovery_epoch.unwrap_or_default(), term);
    if at < record.latest {
        let wrong = format!("epoch and term fell from {:?} to {at:?}", record.latest);
        record.wrongs.push(wrong);
    }
    record.latest = at;
    let known = record.leaders.entry(at).or_insert_with(|| leader.clone()).clone();
    if known != leader {
        record.wrongs.push(format!("{known} and {leader} both led at epoch and term {at:?}"));
    }
}

fn membership(raft: &RaftStatus) -> Membership {
    let mut membership = Membership::default();
    for member in &raft.members {
        let Some(id) = member.raft_id.clone() else { continue };
        match member.role.as_deref() {
            Some("Leader" | "Voter") => membership.voters.insert(id),
            _ => membership.non_voters.insert(id),
        };
    }
    membership
}
