//! Rule 13: more wanted slots than replicas: one victim is marked Leaving.
//!
//! The mark is on the claim, so a later edit of `replicas` never redirects a removal under way (K34).
//! Order of victims: those whose ID is in no configuration, non-voters (stand-bys of an older template first), unhealthy
//! voters, followers, the leader last; of equal ones from the fullest zone first, highest ordinal.

use std::collections::BTreeMap;

use quorate_mutants::{Mutant, broken};

use crate::children::Rendering;
use crate::observed::{Claim, Ordinal, Slot};
use crate::plan::Ensure;
use crate::raft_view::RaftView;
use crate::reason::Reason;
use crate::record::{LeavesBecause, MemberState, keys};
use crate::round::{Majority, Round, Verdict};
use crate::rules::fence::is_fenced;
use crate::rules::replace::takes_a_place;

/// How soon a slot goes; the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Outside,
    NonVoter,
    UnhealthyVoter,
    Follower,
    Leader,
}

/// Rule 13.
pub(crate) fn mark(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    let wanted: Vec<_> = round.wanted().collect();
    let counted = members_counted(round);
    if counted <= round.replicas() {
        return Verdict::Next;
    }
    let leaving = round.slots_in(&[MemberState::Leaving]).next().filter(|_| !broken(Mutant::R13));
    if let Some((ordinal, _, _)) = leaving {
        let member = round.pod_name(ordinal);
        let text =
            format!("{} members more than asked for; {member} leaves first", counted - round.replicas());
        round.wait("13", Reason::ScalingDown, &member, text);
        return Verdict::Next;
    }
    let Some((ordinal, claim)) = victim(round, view, &wanted) else { return Verdict::Next };
    let member = round.pod_name(ordinal);
    let server = round.server(ordinal, claim);
    if let Some(server) = server.filter(|server| server.is_voter) {
        let left = Majority::without(view, &server.raft_id);
        if !left.holds() {
            let text = format!(
                "{member} cannot leave yet: {left}; bring the others back, or raise spec.replicas again"
            );
            round.block("13", Reason::WaitingForQuorum, &member, text);
            return Verdict::Next;
        }
    }
    let text = format!("{member} is to leave: {counted} members, {} asked for", round.replicas());
    round.wait("13", Reason::ScalingDown, &member, text);
    note_leaving(round, claim, LeavesBecause::ScaleIn);
    Verdict::Next
}

/// The wanted members, less those that only take the place of one that is on its way out.
pub(crate) fn members_counted(round: &Round<'_>) -> usize {
    round.wanted().filter(|(_, _, claim)| !takes_a_place(round, claim)).count()
}

/// Marks a slot; never undone (K34).
pub(crate) fn note_leaving(round: &mut Round<'_>, claim: &Claim, because: LeavesBecause) {
    round.ensures.push(Ensure::NoteOnClaim {
        claim: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
        set: [
            (keys::MEMBER_STATE.to_owned(), MemberState::Leaving.as_str().to_owned()),
            (keys::LEAVES_BECAUSE.to_owned(), because.as_str().to_owned()),
        ]
        .into(),
    });
}

fn victim<'a>(
    round: &Round<'a>,
    view: &RaftView,
    wanted: &[(Ordinal, &'a Slot, &'a Claim)],
) -> Option<(Ordinal, &'a Claim)> {
    let mut per_zone: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, slot, _) in wanted {
        *per_zone.entry(zone(slot)).or_default() += 1;
    }
    let current = Rendering::of(round.observed).template_hash();
    // After an upgrade by new members the old ones stand by, and are what is too many.
    let is_old = |(ordinal, slot, claim): &(Ordinal, &Slot, &Claim)| {
        round.server(*ordinal, claim).is_some_and(|server| server.stands_by)
            && slot.pod.as_ref().is_some_and(|pod| pod.template_hash.as_deref() != Some(&current))
    };
    wanted
        .iter()
        .filter(|(ordinal, _, _)| !is_fenced(round, *ordinal))
        .min_by_key(|&member| {
            let (ordinal, slot, claim) = member;
            let crowd = per_zone.get(zone(slot)).copied().unwrap_or(0);
            let standing = standing(round, view, *ordinal, claim);
            (standing, !is_old(member), std::cmp::Reverse(crowd), std::cmp::Reverse(*ordinal))
        })
        .map(|(ordinal, _, claim)| (*ordinal, *claim))
}

fn zone(slot: &Slot) -> &str {
    slot.node.as_ref().and_then(|node| node.zone.as_deref()).unwrap_or_default()
}

fn standing(round: &Round<'_>, view: &RaftView, ordinal: Ordinal, claim: &Claim) -> Standing {
    match round.server(ordinal, claim) {
        None => Standing::Outside,
        Some(server) if server.raft_id == view.leader => Standing::Leader,
        Some(server) if !server.is_voter => Standing::NonVoter,
        Some(server) if !server.is_healthy => Standing::UnhealthyVoter,
        Some(_) => Standing::Follower,
    }
}
