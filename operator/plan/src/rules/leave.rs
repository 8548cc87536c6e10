//! Rule 12: a Leaving member leaves, step by step, and what it left behind is cleared away.
//!
//! ```text
//!   unlabel ─► hand over if it leads ─► remove its ID ─► claim: deleted (whenScaled), else Retired ─► Pod
//! ```
//! Invariant (I4): the Pod and the claim go only after the ID left the committed configuration. Leaving is never
//! undone (K34), so every crash in between finds the same way forward.

use quorate_mutants::{Mutant, broken};

use crate::observed::{Claim, Ordinal, Slot};
use crate::plan::{Check, Ensure, Event, Fact, FactKind, RemoveReason, Step};
use crate::raft_view::{Intent, RaftView, ServerView};
use crate::reason::Reason;
use crate::record::{LeavesBecause, MemberState, keys};
use crate::round::{Majority, Round, Verdict, claim_check, configuration_check, member_of, pod_check, why};
use crate::rules::fence::is_fenced;
use quorate_crds::ClaimPolicy;

/// Rule 12, lowest ordinal first.
pub(crate) fn finish(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    if retire_removed(round, view) {
        // Other rules would still count it.
        return Verdict::End;
    }
    for (ordinal, slot, claim) in round.slots_in(&[MemberState::Leaving]).collect::<Vec<_>>() {
        if is_fenced(round, ordinal) {
            continue;
        }
        match round.server(ordinal, claim).filter(|_| !broken(Mutant::I4Early)) {
            Some(server) => remove(round, view, ordinal, slot, claim, server),
            None => clear(round, ordinal, slot, claim),
        }
        if round.step.is_some() {
            return Verdict::End;
        }
    }
    clear_pods(round, view);
    if round.step.is_some() { Verdict::End } else { Verdict::Next }
}

/// A member whose ID left the committed configuration by another way is set aside: its directory is past use (K19).
fn retire_removed(round: &mut Round<'_>, view: &RaftView) -> bool {
    let mut is_any = false;
    for (ordinal, _, claim) in round.slots_in(&[MemberState::Member]).collect::<Vec<_>>() {
        let raft_id = round.raft_id(ordinal, claim);
        // `Member` was noted only after a committed configuration held the ID.
        if !view.holds(&raft_id) {
            let member = round.pod_name(ordinal);
            round.wait(
                "12",
                Reason::ReplacingMember,
                &member,
                format!("{raft_id} left the configuration; its claim is set aside"),
            );
            let is_replaced = round.observed.slots.values().filter_map(|slot| slot.claim.as_ref()).any(|other| {
                matches!(&other.record.intent, Intent::ReplacementFor { raft_id: old, .. } if *old == raft_id)
            });
            let because = if is_replaced { LeavesBecause::Replaced } else { LeavesBecause::VolumeLost };
            if is_replaced {
                let message =
                    format!("another member votes in the place of {member}; its volume claim is kept");
                round.events.push(Event { is_warning: true, reason: "MemberReplaced".to_owned(), message });
            }
            retire(round, claim, because);
            is_any = true;
        }
    }
    is_any
}

fn retire(round: &mut Round<'_>, claim: &Claim, because: LeavesBecause) {
    round.ensures.push(Ensure::NoteOnClaim {
        claim: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
        set: [
            (keys::MEMBER_STATE, MemberState::Retired.as_str().to_owned()),
            (keys::LEAVES_BECAUSE, because.as_str().to_owned()),
            (keys::RETIRED_AT, round.now.0.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect(),
    });
}

fn remove(
    round: &mut Round<'_>,
    view: &RaftView,
    ordinal: Ordinal,
    slot: &Slot,
    claim: &Claim,
    server: &ServerView,
) {
    let member = round.pod_name(ordinal);
    round.facts.push(Fact {
        raft_id: server.raft_id.clone(),
        incarnation: server.incarnation.clone(),
        kind: FactKind::Left,
        observed: round.now,
    });
    let left = Majority::without(view, &server.raft_id);
    if server.is_voter && !left.holds() {
        let text = format!("{member} cannot leave yet: {left}; bring the others back");
        return round.block("12", Reason::WaitingForQuorum, &member, text);
    }
    if slot.pod.as_ref().is_some_and(|pod| pod.voter_label) && !broken(Mutant::K37Unlabel) {
        // K37: the budget must stop counting it before it goes; the label is taken off by an ensure of this round.
        return round.wait(
            "12",
            Reason::ScalingDown,
            &member,
            format!("{member} leaves: it is taken out of the budget"),
        );
    }
    let checks = vec![configuration_check(view)];
    if view.leader == server.raft_id && !broken(Mutant::R12) {
        let successor = round.successor(&server.raft_id, |_, _, _| true);
        return hand_over(round, "12", server, successor, "leave", checks);
    }
    let reason = match claim.record.leaves_because {
        Some(LeavesBecause::Lagging) => RemoveReason::Lagging,
        Some(
            LeavesBecause::ScaleIn
            | LeavesBecause::VolumeLost
            | LeavesBecause::Broken
            | LeavesBecause::Replaced
            | LeavesBecause::GivenUp,
        )
        | None => RemoveReason::ScaleIn,
    };
    let text = if server.is_voter {
        format!("it leaves; without it {left}")
    } else {
        "it leaves, and has no vote".to_owned()
    };
    let why = why("12", Reason::ScalingDown, &member, text);
    let step =
        Step::Remove { raft_id: server.raft_id.clone(), incarnation: server.incarnation.clone(), reason };
    round.decide(step, checks, why);
}

/// A leader hands over before it is removed or restarted (P9), to a voter that stays.
pub(crate) fn hand_over(
    round: &mut Round<'_>,
    rule: &'static str,
    leader: &ServerView,
    successor: Option<&ServerView>,
    in_order_to: &str,
    checks: Vec<Check>,
) {
    let member = member_of(&leader.raft_id);
    let Some(successor) = successor else {
        let text = format!("{member} leads and nobody healthy can take over: bring another voter back");
        return round.block(rule, Reason::TransferringLeadership, member, text);
    };
    let text = format!("it leads and is to {in_order_to}; {} takes over", successor.raft_id);
    let why = why(rule, Reason::TransferringLeadership, member, text);
    let step = Step::TransferLeadership { from: leader.raft_id.clone(), to: successor.raft_id.clone() };
    round.decide(step, checks, why);
    let message = format!("{member} hands over to {}: it is to {in_order_to}", member_of(&successor.raft_id));
    round.tell_when_done(Event { is_warning: false, reason: "LeadershipTransferred".to_owned(), message });
}

/// The ID is gone: the claim by policy, then the Pod (K34).
fn clear(round: &mut Round<'_>, ordinal: Ordinal, slot: &Slot, claim: &Claim) {
    let member = round.pod_name(ordinal);
    let because = claim.record.leaves_because.unwrap_or(LeavesBecause::ScaleIn);
    let policy = round.spec().storage.retention.when_scaled;
    if because != LeavesBecause::ScaleIn && !broken(Mutant::I4Policy) || policy == ClaimPolicy::Retain {
        round.wait(
            "12",
            Reason::ScalingDown,
            &member,
            format!("{member} has left; its volume claim is kept"),
        );
        round.events.push(removed(&member, "its volume claim is kept"));
        return retire(round, claim, because);
    }
    if !claim.deleting {
        let why = why(
            "12",
            Reason::ScalingDown,
            &member,
            "it has left, and spec.storage.retention.whenScaled is Delete",
        );
        round.decide(Step::DeleteClaim { claim: claim.name.clone() }, vec![claim_check(claim)], why);
        round.tell_when_done(removed(&member, "its volume claim is deleted"));
        return;
    }
    match slot.pod.as_ref().filter(|pod| !pod.deleting) {
        Some(pod) => {
            let why =
                why("12", Reason::ScalingDown, &member, "it has left, and its volume claim is being deleted");
            round.decide(Step::DeletePod { pod: pod.name.clone() }, vec![pod_check(pod)], why);
        }
        None => round.wait(
            "12",
            Reason::ScalingDown,
            &member,
            format!("{member} has left; its Pod and volume are going"),
        ),
    }
}

fn removed(member: &str, what: &str) -> Event {
    Event {
        is_warning: false,
        reason: "MemberRemoved".to_owned(),
        message: format!("{member} left the cluster; {what}"),
    }
}

/// Pods of Retired claims, and of claims that are gone, once no configuration holds their ID.
fn clear_pods(round: &mut Round<'_>, view: &RaftView) {
    for (&ordinal, slot) in &round.observed.slots {
        let Some(pod) = slot.pod.as_ref().filter(|pod| !pod.deleting) else { continue };
        let is_retired =
            slot.claim.as_ref().is_some_and(|claim| claim.record.state == Some(MemberState::Retired));
        let is_other = slot.claim.as_ref().is_none_or(|claim| pod.claim_uid.as_deref() != Some(&claim.uid));
        let is_held = pod.raft_id.as_deref().is_some_and(|id| view.holds(id));
        if (is_retired || is_other) && !is_held && !broken(Mutant::I10) {
            let member = round.pod_name(ordinal);
            let why = why(
                "12",
                Reason::ScalingDown,
                &member,
                "its Raft ID has left and its volume is not in use any more",
            );
            round.decide(Step::DeletePod { pod: pod.name.clone() }, vec![pod_check(pod)], why);
            return;
        }
    }
}
