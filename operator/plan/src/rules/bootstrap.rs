//! The beginning of a cluster (5) and its end (6).
//!
//! ```text
//!   cluster ID into status ─► claim 0 with it, Joining ─► its Secret ─► Pod ─► its sidecar reports an incarnation
//!     ─► founder into status ─► and onto the claim ─► `Bootstrap` for exactly that ─► a leader reports a
//!     committed configuration ─► bootstrapped
//! ```
//! Each arrow is its own round: whatever dies in between, the next round finds what the last one recorded.
//! Invariant (I6): `Bootstrap` is called only for the (Raft ID, incarnation) in status, which is written once and
//! with the resource version. A lost volume before the end stops everything: a second start could split the cluster.

use quorate_crds::Founder;
use quorate_mutants::{Mutant, broken};

use crate::children;
use crate::observed::{Claim, Ordinal, Slot};
use crate::obstacle;
use crate::plan::{Check, Ensure, Step};
use crate::raft_view::MemberAnswer;
use crate::reason::Reason;
use crate::record::{ClaimRecord, MemberState, keys};
use crate::round::{Round, Verdict, why};

/// The slot that begins a cluster.
const FIRST: Ordinal = Ordinal(0);

/// Rule 5.
pub(crate) fn begin(round: &mut Round<'_>) -> Verdict {
    if round.is_bootstrapped() {
        return Verdict::Next;
    }
    if let Some(verdict) = adopt(round) {
        return verdict;
    }
    let Some(cluster_id) = round.cluster_id.clone() else {
        round.cluster_id = Some(round.observed.operator.fresh_cluster_id.clone());
        return waiting(round, "the cluster ID is being recorded");
    };
    let slot = round.observed.slots.get(&FIRST);
    let claim = slot.and_then(|slot| slot.claim.as_ref());
    if let Some(founder) = round.founder.clone()
        && let Some(raft_id) = founder.raft_id.as_ref()
        && claim.is_none_or(|claim| round.raft_id(FIRST, claim) != *raft_id)
    {
        return volume_lost(round, raft_id, "its volume claim is gone");
    }
    match (slot, claim) {
        (Some(slot), Some(claim)) => call(round, &cluster_id, slot, claim),
        _ => make_claim(round, &cluster_id),
    }
}

/// With empty status, claims that carry one cluster ID are adopted (K34).
fn adopt(round: &mut Round<'_>) -> Option<Verdict> {
    let live: Vec<_> = round.live().collect();
    if round.cluster_id.is_none() && live.iter().any(|(_, _, claim)| claim.deleting) {
        return Some(waiting(
            round,
            "volume claims of an earlier RaftCluster of this name are going; they go first",
        ));
    }
    let mut ids: Vec<&str> =
        live.iter().filter_map(|(_, _, claim)| claim.record.cluster_id.as_deref()).collect();
    ids.extend(round.cluster_id.as_deref());
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > 1 {
        let text = format!(
            "volume claims raft-{}-* carry the cluster IDs {}: delete or rename the claims that belong to another cluster",
            round.observed.name(),
            ids.join(", ")
        );
        return Some(round.stop("5", Reason::ForeignVolumes, text));
    }
    // Only what a cluster that never began can look like may still be bootstrapped.
    let is_fresh = match live.as_slice() {
        [] => true,
        [(ordinal, slot, claim)] => {
            *ordinal == FIRST
                && claim.record.state == Some(MemberState::Joining)
                && slot.answer.as_ref().is_none_or(|answer| is_empty_or_founders(round, claim, answer))
        }
        _ => false,
    };
    if is_fresh && round.cluster_id.is_some() {
        return None;
    }
    let id = (*ids.first()?).to_owned();
    round.cluster_id = Some(id);
    if !is_fresh {
        round.founder = Some(Founder { bootstrapped: true, ..round.founder.clone().unwrap_or_default() });
    }
    Some(waiting(round, "volume claims of an earlier RaftCluster of this name are adopted"))
}

/// The directory is empty under what is recorded, or it is the founder's own after the call.
fn is_empty_or_founders(round: &Round<'_>, claim: &Claim, answer: &MemberAnswer) -> bool {
    let recorded = claim.record.incarnation.as_ref();
    let is_founder =
        round.founder.as_ref().is_some_and(|f| f.incarnation.as_ref() == Some(&answer.incarnation));
    let is_known = recorded.is_none_or(|incarnation| *incarnation == answer.incarnation);
    // Another incarnation than the founder's is the lost volume that `call` reports.
    is_founder || answer.cluster_id.is_none() || !is_known
}

fn make_claim(round: &mut Round<'_>, cluster_id: &str) -> Verdict {
    obstacle::report_refused_claim(round, FIRST);
    if round.observed.slots.get(&FIRST).is_some_and(|slot| slot.pod.is_some()) {
        return waiting(round, "a Pod of an earlier cluster has to go first");
    }
    let record = ClaimRecord {
        cluster_id: Some(cluster_id.to_owned()),
        state: Some(MemberState::Joining),
        ..ClaimRecord::default()
    };
    let claim = children::claim::claim(&round.observed.cluster, FIRST, &record, &round.observed.storage);
    round.ensures.push(Ensure::CreateClaim(Box::new(claim)));
    waiting(round, "the first member's volume claim is being created")
}

/// From a running sidecar to a committed configuration.
fn call(round: &mut Round<'_>, cluster_id: &str, slot: &Slot, claim: &Claim) -> Verdict {
    let raft_id = round.raft_id(FIRST, claim);
    let Some(answer) = slot.answer.as_ref().filter(|answer| answer.raft_id == raft_id) else {
        return waiting(round, "the first member is being started");
    };
    let Some(founder) = round.founder.clone().filter(|founder| founder.raft_id.is_some()) else {
        round.founder = Some(Founder {
            bootstrapped: false,
            incarnation: Some(answer.incarnation.clone()),
            raft_id: Some(raft_id),
        });
        return waiting(round, "the first member's data directory is being recorded");
    };
    let is_recorded = founder.incarnation.as_ref() == Some(&answer.incarnation);
    if !is_recorded && !broken(Mutant::I6) {
        return volume_lost(round, &raft_id, "its data directory is another one than recorded");
    }
    if claim.record.incarnation != founder.incarnation {
        note_incarnation(round, claim, &answer.incarnation);
        return waiting(round, "the first member's data directory is being recorded on its claim");
    }
    let is_committed = round.view().is_some_and(|view| !view.change_in_flight && view.holds(&raft_id));
    if is_committed {
        round.founder = Some(Founder { bootstrapped: true, ..founder });
        return waiting(round, "the first member leads; that is being recorded");
    }
    if answer.cluster_id.is_some() {
        return waiting(round, "the first member elects itself");
    }
    let member = round.pod_name(FIRST);
    let why = why("5", Reason::Bootstrapping, &member, "its data directory is the recorded one, and empty");
    let step = Step::Bootstrap {
        pod: member,
        cluster_id: cluster_id.to_owned(),
        raft_id,
        incarnation: answer.incarnation.clone(),
        mode: round.spec().application.mode,
    };
    let stays = Check::ClaimStays { name: claim.name.clone(), uid: claim.uid.clone() };
    round.decide(step, vec![stays], why)
}

/// Written with the claim's resource version, before anything irreversible (K34).
pub(crate) fn note_incarnation(round: &mut Round<'_>, claim: &Claim, incarnation: &str) {
    round.ensures.push(Ensure::NoteOnClaim {
        claim: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
        set: [(keys::INCARNATION.to_owned(), incarnation.to_owned())].into(),
    });
}

fn waiting(round: &mut Round<'_>, text: &str) -> Verdict {
    let name = round.observed.name();
    round.wait("5", Reason::Bootstrapping, name, text);
    round.stop("5", Reason::Bootstrapping, text)
}

fn volume_lost(round: &mut Round<'_>, raft_id: &str, what: &str) -> Verdict {
    let text = format!(
        "{raft_id} was to begin this cluster, and {what}: nothing was ever written, so delete the RaftCluster and its claims and create it anew"
    );
    round.stop("5", Reason::BootstrapVolumeLost, text)
}

/// Rule 6: a cluster whose every volume is gone is never begun again: its data would look like it had never been.
pub(crate) fn all_members_lost(round: &mut Round<'_>) -> Verdict {
    if round.live().next().is_some() || broken(Mutant::R6) {
        return Verdict::Next;
    }
    let text = "the volume claims of all members are gone, and with them the data; this cluster is not begun again: restore the claims, or delete the RaftCluster and create it anew";
    round.stop("6", Reason::AllMembersLost, text)
}
