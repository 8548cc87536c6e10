//! Rule 18: fewer wanted slots than replicas: a claim in the lowest free slot; its Pod follows by E1.
//!
//! One unfinished member at a time: two fresh members that join together could outvote one that was there before.

use quorate_mutants::{Mutant, broken};

use crate::children::claim::claim;
use crate::limits::ORDINALS_MAX;
use crate::observed::{Claim, Ordinal, Slot};
use crate::obstacle;
use crate::plan::Ensure;
use crate::raft_view::ServerView;
use crate::reason::Reason;
use crate::record::{ClaimRecord, MemberState};
use crate::round::{Majority, Round, Verdict};
use crate::rules::lost::lost_ids;

/// Rule 18.
pub(crate) fn make_slot(round: &mut Round<'_>) -> Verdict {
    let wanted: Vec<_> = round.wanted().collect();
    if wanted.len() >= round.replicas() {
        return Verdict::Next;
    }
    let text = format!("{} of {} members", wanted.len(), round.replicas());
    let Some(ordinal) = lowest_free(round) else {
        let text = format!("{text}: no slot is free below {ORDINALS_MAX}; delete retired volume claims");
        round.block("18", Reason::ScalingUp, round.observed.name(), text);
        return Verdict::Next;
    };
    let member = round.pod_name(ordinal);
    if let Some(other) = unfinished(round).filter(|_| !broken(Mutant::R18)) {
        round.wait("18", Reason::ScalingUp, &member, format!("{text}: {member} follows once {other}"));
        return Verdict::Next;
    }
    obstacle::report_refused_claim(round, ordinal);
    round.wait("18", Reason::ScalingUp, &member, format!("{text}: {member} is being created"));
    let record = ClaimRecord {
        cluster_id: round.cluster_id.clone(),
        recovery_epoch: round.view().map_or(0, |view| view.recovery_epoch),
        state: Some(MemberState::Joining),
        ..ClaimRecord::default()
    };
    let made = claim(&round.observed.cluster, ordinal, &record, &round.observed.storage);
    round.ensures.push(Ensure::CreateClaim(Box::new(made)));
    Verdict::Next
}

/// What has to be done first.
fn unfinished(round: &Round<'_>) -> Option<String> {
    if round.is_creating() {
        return Some("another was begun".to_owned());
    }
    if let Some(lost) = lost_ids(round).first() {
        return Some(format!("{lost} has left"));
    }
    if let Some((ordinal, _, _)) = round.slots_in(&[MemberState::Leaving]).find(|slot| may_leave(round, slot))
    {
        return Some(format!("{} has left", round.pod_name(ordinal)));
    }
    let joins = |(ordinal, claim)| round.server(ordinal, claim).is_none_or(ServerView::joins);
    let (ordinal, _, claim) = round.wanted().find(|&(ordinal, _, claim)| joins((ordinal, claim)))?;
    let stands_by = round.server(ordinal, claim).is_some_and(|server| server.stands_by);
    Some(format!("{} {}", round.pod_name(ordinal), if stands_by { "stands by" } else { "votes" }))
}

/// Who is held back because the rest would be no majority waits for a newcomer, and not the other way round.
fn may_leave(round: &Round<'_>, (ordinal, _, claim): &(Ordinal, &Slot, &Claim)) -> bool {
    let voter = round.server(*ordinal, claim).filter(|server| server.is_voter);
    let is_held_back = voter.zip(round.view()).is_some_and(|(server, view)| {
        !Majority::without(view, &server.raft_id).holds() && !broken(Mutant::R18Leaving)
    });
    !is_held_back
}

/// Without claim and without Pod: a claim is made only when no Pod of its slot exists (K35).
pub(crate) fn lowest_free(round: &Round<'_>) -> Option<Ordinal> {
    (0..ORDINALS_MAX).map(Ordinal).find(|ordinal| {
        let slot = round.observed.slots.get(ordinal);
        slot.is_none_or(|slot| slot.claim.is_none() && slot.pod.is_none())
    })
}
