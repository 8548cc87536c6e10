//! Rules 9 and 15: a voter that will not come back, or is to go, is replaced: its successor joins first. One without a vote
//! leaves first: nothing is lost with it.
//!
//! ```text
//!   claim in a free slot, intent ReplacementFor ─► Pod ─► added (17) ─► stable ─► autopilot swaps the two ─► Retired (12)
//! ```
//! Nothing is taken away here: the swap is one change of the configuration that autopilot makes (K14, K15), and only
//! while the old one is dead, or declared to leave by the fact told here. One that comes back before that keeps its
//! vote, and the newcomer leaves as one more than asked for (13).
//! Invariant: one replacement at a time, and by the operator's own decision one an hour (K39).

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::children::claim::claim;
use crate::children::label_keys;
use crate::limits::{HEARD_RECENTLY, NO_NODE_AFTER, REPLACEMENT_EVERY, UNPLACED_AFTER};
use crate::observed::{Claim, ObstacleKind, Ordinal, Slot};
use crate::obstacle;
use crate::plan::{Ensure, Fact, FactKind};
use crate::raft_view::{Intent, RaftView, ServerView, quorum};
use crate::reason::Reason;
use crate::record::{ClaimRecord, LeavesBecause, MemberState};
use crate::round::{Majority, Round, Verdict, configuration_check, member_of};
use crate::rules::fence::is_fenced;
use crate::rules::grow::lowest_free;
use crate::rules::leave::hand_over;
use crate::rules::shrink::{members_counted, note_leaving};
use crate::words::age;

/// Why a voter is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A person said so.
    Asked,
    /// Its volume claim is being deleted (K41).
    ClaimDeleted,
    /// Its node is out of service.
    OutOfService,
    /// No node is left that its volume could be mounted on (K49).
    NoNode,
    /// Nothing was heard of it for the whole dead threshold.
    Silent,
}

impl Cause {
    /// A person's own doing needs no limit.
    fn is_automatic(self) -> bool {
        match self {
            Self::Asked | Self::ClaimDeleted => false,
            Self::OutOfService | Self::NoNode | Self::Silent => true,
        }
    }

    /// Whether it goes even if it comes back meanwhile: the leader is told that it leaves.
    fn is_final(self) -> bool {
        self != Self::Silent
    }

    fn rule(self) -> &'static str {
        if self == Self::ClaimDeleted { "9" } else { "15" }
    }

    fn reason(self) -> Reason {
        match self {
            Self::Asked => Reason::ReplacingMember,
            Self::ClaimDeleted => Reason::VolumeBeingDeleted,
            Self::OutOfService | Self::NoNode | Self::Silent => Reason::DeadVoter,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Asked => "its replacement was asked for",
            Self::ClaimDeleted => "its volume claim is being deleted",
            Self::OutOfService => "its node is out of service",
            Self::NoNode => "no node is left that could mount its volume",
            Self::Silent => "it was silent for longer than spec.autopilot.deadServerLastContactThreshold",
        }
    }
}

/// A member to be replaced.
#[derive(Clone, Copy)]
struct Old<'a> {
    ordinal: Ordinal,
    claim: &'a Claim,
    server: &'a ServerView,
    cause: Cause,
}

/// Rules 9 and 15.
pub(crate) fn voters(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    let olds: Vec<Old<'_>> = round
        .wanted()
        .filter_map(|(ordinal, slot, claim)| {
            let server = round.server(ordinal, claim)?;
            let cause = cause(round, ordinal, slot, claim, server)?;
            Some(Old { ordinal, claim, server, cause })
        })
        .collect();
    let dying = olds.iter().filter(|old| old.claim.deleting).count();
    let is_blocked = |old: &Old<'_>| old.cause == Cause::ClaimDeleted && dying > 1 && !broken(Mutant::K41);
    let first = first_to_go(round, olds.iter().filter(|old| old.server.is_voter && !is_blocked(old)));
    for old in olds {
        if !old.server.is_voter {
            without_vote(round, &old);
        } else if is_blocked(&old) {
            several_claims(round, &old);
        } else {
            let is_first = first == Some(old.ordinal) || broken(Mutant::R15First);
            replace(round, view, &old, is_first);
        }
    }
    give_up_needless(round);
    if round.step.is_some() { Verdict::End } else { Verdict::Next }
}

/// It has no vote to hand over: it leaves, and another joins (18). Stand-bys that are merely silent go one at a time, and one
/// an hour (K39): they may come back.
fn without_vote(round: &mut Round<'_>, old: &Old<'_>) {
    let (rule, reason, member) = (old.cause.rule(), old.cause.reason(), round.pod_name(old.ordinal));
    let what = format!("{member} leaves and another joins: {}", old.cause.text());
    if old.cause == Cause::Silent {
        let is_marked = |claim: &Claim| round.is_marked(claim);
        let going = round.live().find(|(_, _, claim)| !claim.record.is_wanted() || is_marked(claim));
        if let Some((ordinal, _, _)) = going {
            let text = format!("{what}; it follows once {} has left", round.pod_name(ordinal));
            return round.wait(rule, reason, &member, text);
        }
        if let Some((name, since)) = replaced_lately(round).filter(|_| !broken(Mutant::R15Standby)) {
            let text = format!(
                "{what}; {name} was replaced {} ago, and at most one is replaced an hour; annotation {} replaces it at once",
                age(since),
                label_keys::REPLACE
            );
            return round.block(rule, reason, &member, text);
        }
    }
    note_leaving(round, old.claim, LeavesBecause::Replaced);
    round.wait(rule, reason, &member, what);
}

/// The one whose replacement is on its way, else the lowest: of two that both go, each of which leads at some time, one
/// must keep leadership while the other is replaced.
fn first_to_go<'a>(
    round: &Round<'_>,
    mut olds: impl Iterator<Item = &'a Old<'a>> + Clone,
) -> Option<Ordinal> {
    let has_replacement = |old: &&Old<'_>| replacement_of(round, old.server).is_some();
    olds.clone().find(has_replacement).or_else(|| olds.next()).map(|old| old.ordinal)
}

/// A replacement whose old one is well again, or whose word was taken back, never gets a vote (K15). Where it is one more
/// than asked for rule 13 takes it; where it is not, it leaves all the same, and the member that is missing is made anew.
fn give_up_needless(round: &mut Round<'_>) {
    if members_counted(round) > round.replicas() || broken(Mutant::R15Needless) {
        return;
    }
    let needless = round.wanted().find(|(ordinal, _, claim)| {
        let Intent::ReplacementFor { raft_id, .. } = &claim.record.intent else { return false };
        let stays = round.wanted().any(|(ordinal, slot, old)| {
            let server = round.server(ordinal, old).filter(|server| server.raft_id == *raft_id);
            server
                .is_some_and(|server| server.is_healthy && cause(round, ordinal, slot, old, server).is_none())
        });
        stays && round.server(*ordinal, claim).is_none_or(|server| !server.is_voter)
    });
    if let Some((ordinal, _, claim)) = needless {
        let member = round.pod_name(ordinal);
        let text =
            format!("{member} was to take the place of a member that stays: it leaves, and another joins");
        round.wait("15", Reason::ReplacingMember, &member, text);
        note_leaving(round, claim, LeavesBecause::ScaleIn);
    }
}

/// Whether another is to take this member's place.
pub(crate) fn is_to_be_replaced(round: &Round<'_>, ordinal: Ordinal, slot: &Slot, claim: &Claim) -> bool {
    let server = round.server(ordinal, claim);
    server.is_some_and(|server| cause(round, ordinal, slot, claim, server).is_some())
}

/// Whether this claim's member takes the place of one that is still there and on its way out: it is no member too many.
pub(crate) fn takes_a_place(round: &Round<'_>, claim: &Claim) -> bool {
    let Intent::ReplacementFor { raft_id, .. } = &claim.record.intent else { return false };
    let old = round.wanted().find(|(ordinal, _, old)| round.raft_id(*ordinal, old) == *raft_id);
    old.is_some_and(|(ordinal, slot, old)| {
        let server = round.server(ordinal, old);
        server.is_some_and(|server| !server.is_healthy || cause(round, ordinal, slot, old, server).is_some())
    })
}

fn cause(
    round: &Round<'_>,
    ordinal: Ordinal,
    slot: &Slot,
    claim: &Claim,
    server: &ServerView,
) -> Option<Cause> {
    if is_fenced(round, ordinal) {
        return None;
    }
    if is_asked(round, ordinal, server) {
        return Some(Cause::Asked);
    }
    let is_served = slot.pod.as_ref().is_some_and(|pod| !pod.deleting);
    if claim.deleting && is_served {
        return Some(Cause::ClaimDeleted);
    }
    let is_unheard = |for_so_long: Duration| {
        !server.is_healthy && server.last_contact.is_none_or(|age| age >= for_so_long)
    };
    if slot.is_out_of_service() && is_unheard(HEARD_RECENTLY) {
        return Some(Cause::OutOfService);
    }
    if claim.is_stranded && is_unheard(NO_NODE_AFTER) {
        return Some(Cause::NoNode);
    }
    let has_place = server.is_voter || server.stands_by;
    (server.is_dead && has_place && !server.is_healthy).then_some(Cause::Silent)
}

/// `quorate.dev/replace: "<member>@<raft id>"` (K49): the ID says which of the members of this name is meant.
fn is_asked(round: &Round<'_>, ordinal: Ordinal, server: &ServerView) -> bool {
    let asked = round.observed.annotation(label_keys::REPLACE).and_then(|text| text.split_once('@'));
    asked.is_some_and(|(member, raft_id)| member == round.pod_name(ordinal) && raft_id == server.raft_id)
}

/// What is wrong with the annotation, if it cannot be meant for anybody.
pub(crate) fn malformed(round: &mut Round<'_>) -> Verdict {
    if let Some(text) = round.observed.annotation(label_keys::REPLACE)
        && text.split_once('@').is_none_or(|(member, raft_id)| member_of(raft_id) != member)
    {
        let text = format!(
            "annotation {} is \"{text}\" and must name a member and its Raft ID as status.raft shows them, such as db-1@db-1-3f2a91c4",
            label_keys::REPLACE
        );
        round.block("15", Reason::ReplacingMember, round.observed.name(), text);
    }
    Verdict::Next
}

/// K41: a person, or a script, deleted more than one: whatever was meant, it is not for us to carry it to its end.
fn several_claims(round: &mut Round<'_>, old: &Old<'_>) {
    let member = round.pod_name(old.ordinal);
    let text = format!(
        "the volume claims of several members are being deleted, {} among them; their Pods are kept, and with them the data: replace one at a time with annotation {}={member}@{}",
        old.claim.name,
        label_keys::REPLACE,
        old.server.raft_id
    );
    round.block("9", Reason::VolumeBeingDeleted, &member, text);
}

fn replacement_of<'a>(round: &Round<'a>, old: &ServerView) -> Option<(Ordinal, &'a Slot)> {
    let is_it = |claim: &Claim| matches!(&claim.record.intent, Intent::ReplacementFor { raft_id, .. } if *raft_id == old.raft_id);
    round.wanted().find(|(_, _, claim)| is_it(claim)).map(|(ordinal, slot, _)| (ordinal, slot))
}

fn replace(round: &mut Round<'_>, view: &RaftView, old: &Old<'_>, is_first: bool) {
    if old.cause.is_final() {
        round.facts.push(Fact {
            raft_id: old.server.raft_id.clone(),
            incarnation: old.server.incarnation.clone(),
            kind: FactKind::Left,
            observed: round.now,
        });
    }
    // The only voter hands its vote over itself: its successor is the one that joins.
    let is_alone = view.voter_count() == 1 && !broken(Mutant::R15Alone);
    if view.leader == old.server.raft_id && !is_alone && round.step.is_none() {
        // Whoever makes the swap is not one of the two.
        let stays = |ordinal: Ordinal, slot: &Slot, claim: &Claim| {
            !claim.deleting && !is_to_be_replaced(round, ordinal, slot, claim)
        };
        // With all of them going any other will do for the first; the others wait until one is there that stays.
        let any = || round.successor(&view.leader, |_, _, _| is_first);
        let successor = round.successor(&view.leader, stays).or_else(any);
        let checks = vec![configuration_check(view)];
        return hand_over(round, old.cause.rule(), old.server, successor, "be replaced", checks);
    }
    match replacement_of(round, old.server) {
        Some((ordinal, slot)) => under_way(round, view, old, ordinal, slot),
        None => begin(round, old),
    }
}

/// A replacement exists: it joins, or nowhere is room for it.
fn under_way(round: &mut Round<'_>, view: &RaftView, old: &Old<'_>, ordinal: Ordinal, slot: &Slot) {
    let (rule, cause) = (old.cause.rule(), old.cause);
    let (member, newcomer) = (round.pod_name(old.ordinal), round.pod_name(ordinal));
    let unplaced = slot.pod.as_ref().and_then(|pod| pod.obstacle.as_ref());
    let unplaced = unplaced.filter(|obstacle| obstacle.kind == ObstacleKind::Unschedulable);
    let cannot_run = unplaced.is_some_and(|obstacle| round.now.since(obstacle.since) >= UNPLACED_AFTER);
    if !cannot_run {
        let text = format!("{newcomer} takes the place of {member}: {}", cause.text());
        return round.wait(rule, cause.reason(), &member, text);
    }
    if raises_tolerance(view, old.server) {
        let text =
            format!("{member} is removed, because {} and no node has room for {newcomer}", cause.text());
        round.wait(rule, cause.reason(), &member, text);
        return note_leaving(round, old.claim, LeavesBecause::Replaced);
    }
    let text = format!(
        "{newcomer} was to take the place of {member}, and no node has room for it: make room; {member} alone is not removed, for that would not make the rest safer"
    );
    round.block(rule, Reason::DeadVoter, &member, text);
}

/// Whether the others would tolerate more without it: four voters with one dead do, three do not.
fn raises_tolerance(view: &RaftView, server: &ServerView) -> bool {
    let (voters, healthy) = (view.voter_count(), view.healthy_voter_count());
    let healthy_without = healthy - usize::from(server.is_healthy);
    healthy_without.saturating_sub(quorum(voters - 1)) > healthy.saturating_sub(quorum(voters))
}

fn begin(round: &mut Round<'_>, old: &Old<'_>) {
    let (rule, cause) = (old.cause.rule(), old.cause);
    let member = round.pod_name(old.ordinal);
    let what = format!("{member} is to be replaced, because {}", cause.text());
    if let Some(other) = unfinished(round, old).filter(|_| !broken(Mutant::R15One)) {
        return round.wait(rule, cause.reason(), &member, format!("{what}: it follows once {other}"));
    }
    if cause.is_automatic()
        && let Some((name, since)) = replaced_lately(round)
    {
        let text = format!(
            "{what}: {name} was replaced {} ago, and at most one is replaced an hour; annotation {} replaces it at once",
            age(since),
            label_keys::REPLACE
        );
        return round.block(rule, cause.reason(), &member, text);
    }
    let Some(ordinal) = lowest_free(round) else {
        return round.block(
            rule,
            cause.reason(),
            &member,
            format!("{what}: no slot is free; delete retired volume claims"),
        );
    };
    obstacle::report_refused_claim(round, ordinal);
    round.wait(
        rule,
        cause.reason(),
        &member,
        format!("{what}: {} is being created", round.pod_name(ordinal)),
    );
    let record = ClaimRecord {
        cluster_id: round.cluster_id.clone(),
        recovery_epoch: round.view().map_or(0, |view| view.recovery_epoch),
        state: Some(MemberState::Joining),
        intent: Intent::ReplacementFor {
            raft_id: old.server.raft_id.clone(),
            incarnation: old.server.incarnation.clone(),
        },
        ..ClaimRecord::default()
    };
    let made = claim(&round.observed.cluster, ordinal, &record, &round.observed.storage);
    round.ensures.push(Ensure::CreateClaim(Box::new(made)));
}

/// What has to be done first.
fn unfinished(round: &Round<'_>, old: &Old<'_>) -> Option<String> {
    if round.is_creating() {
        return Some("another was begun".to_owned());
    }
    let mut leaving = round.slots_in(&[MemberState::Leaving]);
    if let Some((ordinal, _, _)) = leaving.find(|(ordinal, _, claim)| can_leave(round, *ordinal, claim)) {
        return Some(format!("{} has left", round.pod_name(ordinal)));
    }
    let joins = round.wanted().find(|(ordinal, _, claim)| {
        *ordinal != old.ordinal && round.server(*ordinal, claim).is_none_or(ServerView::joins)
    });
    joins.map(|(ordinal, _, _)| format!("{} votes", round.pod_name(ordinal)))
}

/// Whether the rest may do without it (I2). Who cannot leave before another is well is not waited for by that other.
fn can_leave(round: &Round<'_>, ordinal: Ordinal, claim: &Claim) -> bool {
    let server = round.server(ordinal, claim).filter(|server| server.is_voter);
    let (Some(view), Some(server)) = (round.view(), server) else { return true };
    Majority::without(view, &server.raft_id).holds() || broken(Mutant::R15Leaving)
}

/// The last automatic replacement, if it was within the hour (K39).
pub(crate) fn replaced_lately(round: &Round<'_>) -> Option<(String, Duration)> {
    let retired = round.slots_in(&[MemberState::Retired]).filter_map(|(ordinal, _, claim)| {
        let is_automatic = match claim.record.leaves_because? {
            LeavesBecause::Lagging | LeavesBecause::Broken | LeavesBecause::Replaced => true,
            LeavesBecause::ScaleIn | LeavesBecause::VolumeLost | LeavesBecause::GivenUp => false,
        };
        let since = round.now.since(claim.record.retired_at?);
        (is_automatic && since < REPLACEMENT_EVERY).then(|| (round.pod_name(ordinal), since))
    });
    retired.min_by_key(|(_, since)| *since)
}
