//! A member joins: it is added without a vote (17) and waits for one (16).
//!
//! The planner never gives votes (I5): autopilot does, after unbroken health. What is decided here is only when to
//! stop waiting: a member that makes no progress at all starts over on a new volume.

use quorate_mutants::{Mutant, broken};

use crate::children::names;
use crate::limits::{CATCH_UP_DEADLINE, NO_NODE_AFTER, PROGRESS_NOTE_EVERY};
use crate::observed::{Claim, ContainerState, ObstacleKind, Ordinal, Slot};
use crate::plan::{Ensure, Step};
use crate::raft_view::{Intent, RaftView, ServerView};
use crate::reason::Reason;
use crate::record::{LeavesBecause, MemberState, Progress, keys};
use crate::round::{Round, Verdict, configuration_check, why};
use crate::rules::bootstrap::note_incarnation;
use crate::rules::fence::is_fenced;
use crate::rules::replace::replaced_lately;
use crate::rules::shrink::note_leaving;
use crate::words::{about, age, unhealthy, wait_secs};

/// So many members in a row that never caught up are a matter for a person.
const LAGGARDS_MAX: usize = 2;

/// Rule 16: waits with numbers.
pub(crate) fn wait_for_vote(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    for (ordinal, slot, claim) in round.wanted().collect::<Vec<_>>() {
        let Some(server) = round.server(ordinal, claim) else { continue };
        if !server.joins() || server.intent == Intent::ReadReplica || is_fenced(round, ordinal) {
            continue;
        }
        let member = round.pod_name(ordinal);
        let is_behind = server.trailing > view.settings.max_trailing_logs;
        if is_behind {
            catch_up(round, view, slot, claim, server, &member);
        } else {
            stabilize(round, view, server, &member);
        }
    }
    Verdict::Next
}

fn stabilize(round: &mut Round<'_>, view: &RaftView, server: &ServerView, member: &str) {
    let needed = view.settings.server_stabilization_time;
    if server.stands_by {
        let text = format!("{member} stands by once it is healthy: {}", unhealthy(view, server));
        round.wait("16", Reason::Stabilizing, member, text);
    } else if server.is_healthy && !server.vote_held_because.is_empty() {
        round.wait("16", Reason::Stabilizing, member, server.vote_held_because.clone());
    } else if server.is_healthy {
        let missing = wait_secs(needed.saturating_sub(server.healthy_for));
        let text = format!("{member} needs {missing} s more of health ({} s), then votes", needed.as_secs());
        round.wait("16", Reason::Stabilizing, member, text);
    } else {
        let text = format!("{member} gets no vote while unhealthy: {}", unhealthy(view, server));
        round.wait("16", Reason::Stabilizing, member, text);
    }
}

fn catch_up(
    round: &mut Round<'_>,
    view: &RaftView,
    slot: &Slot,
    claim: &Claim,
    server: &ServerView,
    member: &str,
) {
    let now = Progress {
        match_index: server.match_index,
        snapshot_bytes: server.snapshot_offset_bytes.unwrap_or(0),
        at: round.now,
    };
    let noted = claim.record.progress;
    let has_moved = noted.is_none_or(|noted| {
        (noted.match_index, noted.snapshot_bytes) != (now.match_index, now.snapshot_bytes)
    });
    let what = if server.stands_by { "does not stand by" } else { "has no vote" };
    let text = format!("{member} is {} entries behind the leader and {what} yet", about(server.trailing));
    round.wait("16", Reason::MemberLagging, member, text);
    let is_running =
        slot.pod.as_ref().is_some_and(|pod| matches!(pod.sidecar, ContainerState::Running { .. }));
    if has_moved {
        // A note once a minute: it is what outlives the operator, and the deadline is ten minutes.
        if noted.is_none_or(|noted| round.now.since(noted.at) >= PROGRESS_NOTE_EVERY) {
            note_progress(round, claim, now);
        }
    } else if noted.is_some_and(|noted| round.now.since(noted.at) >= CATCH_UP_DEADLINE)
        && is_running
        && !view.short_of_space
    {
        start_over(round, claim, member);
    }
}

fn note_progress(round: &mut Round<'_>, claim: &Claim, progress: Progress) {
    let text = format!("{}/{}@{}", progress.match_index, progress.snapshot_bytes, progress.at.0);
    round.ensures.push(Ensure::NoteOnClaim {
        claim: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
        set: [(keys::PROGRESS.to_owned(), text)].into(),
    });
}

/// Its claim is set aside and another slot starts afresh: at most once an hour (K39), and twice in all.
fn start_over(round: &mut Round<'_>, claim: &Claim, member: &str) {
    let laggards: Vec<_> = round
        .slots_in(&[MemberState::Retired])
        .filter(|(_, _, claim)| claim.record.leaves_because == Some(LeavesBecause::Lagging))
        .map(|(_, _, claim)| claim.name.as_str())
        .collect();
    if laggards.len() >= LAGGARDS_MAX && !broken(Mutant::R16) {
        let text = format!(
            "{member} has made no progress for 10 min, as {} before: find out why (`kubectl logs {member} -c quorate-sidecar`), then delete those claims to let it start over",
            laggards.join(" and ")
        );
        return round.block("16", Reason::DeadlineExceeded, member, text);
    }
    if let Some((name, since)) = replaced_lately(round) {
        let text = format!(
            "{member} has made no progress for 10 min; {name} was replaced {} ago, and at most one is replaced an hour, so it waits",
            age(since)
        );
        return round.block("16", Reason::MemberLagging, member, text);
    }
    let text = format!("{member} has made no progress for 10 min: it starts over on a new volume");
    round.wait("16", Reason::DeadlineExceeded, member, text);
    note_leaving(round, claim, LeavesBecause::Lagging);
}

/// Rule 17: a running member that is in no configuration is added without a vote.
pub(crate) fn add(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    for (ordinal, slot, claim) in round.slots_in(&[MemberState::Joining]).collect::<Vec<_>>() {
        let raft_id = round.raft_id(ordinal, claim);
        let is_marked = round.is_marked(claim) && !broken(Mutant::R17Marked);
        if view.holds(&raft_id) || is_marked || is_fenced(round, ordinal) {
            continue;
        }
        let member = round.pod_name(ordinal);
        if claim.deleting {
            give_up(round, slot, claim, &member);
            continue;
        }
        if is_stranded(round, slot, claim) {
            // Nothing is on its volume yet, and no node can ever mount it (K49).
            note_leaving(round, claim, LeavesBecause::VolumeLost);
            let text = format!("no node is left that could mount the volume of {member}; it starts over");
            round.wait("17", Reason::VolumeLost, &member, text);
            continue;
        }
        let Some(answer) = slot.answer.as_ref().filter(|answer| answer.raft_id == raft_id) else {
            round.wait(
                "17",
                Reason::AddingMember,
                &member,
                format!("{member} is to be added once its sidecar answers"),
            );
            continue;
        };
        if answer.is_removed {
            // It was added and removed by someone: its directory is past use (K19).
            note_leaving(round, claim, LeavesBecause::VolumeLost);
            round.wait(
                "17",
                Reason::ReplacingMember,
                &member,
                format!("{member} was removed before it voted; it starts over"),
            );
            continue;
        }
        match claim.record.incarnation.as_ref() {
            // Written before the irreversible call (K34).
            None if !broken(Mutant::K34) => {
                note_incarnation(round, claim, &answer.incarnation);
                round.wait(
                    "17",
                    Reason::AddingMember,
                    &member,
                    format!("{member}'s data directory is being recorded"),
                );
            }
            Some(recorded) if *recorded != answer.incarnation => {
                note_leaving(round, claim, LeavesBecause::VolumeLost);
                let text = format!("{member}'s volume was emptied before it was added; it starts over");
                round.wait("17", Reason::VolumeLost, &member, text);
            }
            recorded => {
                let intent = intent(view, claim);
                let incarnation = recorded.unwrap_or(&answer.incarnation).clone();
                let joiner = Joiner { ordinal, raft_id, incarnation, versions: answer.versions, intent };
                return add_non_voter(round, view, joiner, "its Pod runs and it is not in the configuration");
            }
        }
    }
    Verdict::Next
}

/// For so long has no node had room for it, and none of those that could mount its volume exists.
fn is_stranded(round: &Round<'_>, slot: &Slot, claim: &Claim) -> bool {
    let obstacle = slot.pod.as_ref().and_then(|pod| pod.obstacle.as_ref());
    let unplaced = obstacle.filter(|obstacle| obstacle.kind == ObstacleKind::Unschedulable);
    let is_stranded = claim.is_stranded && !broken(Mutant::R17Stranded);
    is_stranded && unplaced.is_some_and(|obstacle| round.now.since(obstacle.since) >= NO_NODE_AFTER)
}

/// Its claim is being deleted before it was added. While its Pod runs the claim stays, so the Pod goes by rule 12.
fn give_up(round: &mut Round<'_>, slot: &Slot, claim: &Claim, member: &str) {
    if slot.pod.as_ref().is_some_and(|pod| !pod.deleting) && !broken(Mutant::R17Deleted) {
        let text =
            format!("the volume claim of {member} is being deleted before it was added; it starts over");
        round.wait("9", Reason::VolumeBeingDeleted, member, text);
        note_leaving(round, claim, LeavesBecause::VolumeLost);
    }
}

/// A member that is to be added.
struct Joiner {
    ordinal: Ordinal,
    raft_id: String,
    incarnation: String,
    versions: (u32, u32),
    intent: Intent,
}

/// As its claim says; who was to replace one that is gone is simply a member.
fn intent(view: &RaftView, claim: &Claim) -> Intent {
    match &claim.record.intent {
        Intent::ReplacementFor { raft_id, .. } if !view.holds(raft_id) => Intent::Voter,
        other => other.clone(),
    }
}

fn add_non_voter(round: &mut Round<'_>, view: &RaftView, joiner: Joiner, text: &str) -> Verdict {
    let Joiner { ordinal, raft_id, incarnation, versions, intent } = joiner;
    let observed = round.observed;
    let domain = &round.spec().cluster_domain;
    let address = names::address(observed.name(), observed.namespace(), domain, ordinal);
    let why = why("17", Reason::AddingMember, &round.pod_name(ordinal), text);
    let step = Step::AddNonVoter { raft_id, incarnation, address, intent, versions };
    let checks = vec![configuration_check(view)];
    round.decide(step, checks, why)
}
