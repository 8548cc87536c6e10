//! The top level of status (K31): conditions (K50), health, one summary, and the events of what changed.
//!
//! Status never claims more than this round's view: without one, health reads Unknown, the leader `<none>` and the
//! tolerance nothing (P6). A condition's time changes only with its status, so that a settled cluster writes
//! nothing (I7).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use quorate_crds::{RaftClusterStatus, Rollout};

use crate::children::{Rendering, member_selector};
use crate::conditions::{self, Verdicts};
use crate::events;
use crate::observed::{Claim, ContainerState, Now, Ordinal, Slot};
use crate::plan::Event;
use crate::raft_view::{RaftView, ServerView, quorum};
use crate::reason::Reason;
use crate::round::{Round, member_of};
use crate::words;

/// What the leader column reads without a leader.
pub(crate) const NO_LEADER: &str = "<none>";
/// What a column reads when nothing is known.
const UNKNOWN: &str = "Unknown";

/// The status of a round, the events against the last one, and whether the quorum was found missing.
pub(crate) fn conclude(round: &Round<'_>) -> (RaftClusterStatus, Vec<Event>, bool) {
    let quorum_missing = conditions::quorum_missing(round);
    let pending = outdated(round);
    let verdicts = conditions::judge(round, &pending, quorum_missing.as_deref());
    let old = round.observed.cluster.status.clone().unwrap_or_default();
    let status = RaftClusterStatus {
        blocked: round.blocked.clone(),
        cluster_id: round.cluster_id.clone(),
        conditions: stamp(round, &verdicts, &old.conditions),
        failure_tolerance: round.view().and_then(|view| i32::try_from(view.failure_tolerance).ok()),
        founder: round.founder.clone(),
        health: Some(health(round, &verdicts).to_owned()),
        leader: Some(round.view().map_or(NO_LEADER, |view| member_of(&view.leader)).to_owned()),
        observed_generation: round.observed.cluster.metadata.generation,
        raft: None,
        recovery: round.recovery.clone(),
        replicas: i32::try_from(round.observed.slots.values().filter(|slot| slot.pod.is_some()).count()).ok(),
        rollout: Some(Rollout { pending, ..Rendering::of(round.observed).pins() }),
        selector: Some(member_selector(round.observed.name())),
        summary: Some(summary(round, &verdicts)),
        voters: Some(round.view().map_or_else(|| UNKNOWN.to_owned(), voters)),
    };
    let events = events::of(round, &old, &status);
    (status, events, quorum_missing.is_some())
}

/// Members that do not run the current rendering yet: their Pod is of another, or was, and its successor does not run.
fn outdated(round: &Round<'_>) -> Vec<String> {
    let current = Rendering::of(round.observed).template_hash();
    let status = round.observed.cluster.status.as_ref();
    let before = status.and_then(|status| status.rollout.as_ref()).map(|rollout| &rollout.pending);
    let is_outdated = |(ordinal, slot, _): &(Ordinal, &Slot, &Claim)| {
        let was_outdated = before.is_some_and(|before| before.contains(&round.pod_name(*ordinal)));
        match &slot.pod {
            Some(pod) if pod.template_hash.as_deref() != Some(&current) => true,
            Some(pod) => was_outdated && !matches!(pod.sidecar, ContainerState::Running { .. }),
            None => was_outdated,
        }
    };
    round.live().filter(is_outdated).map(|(ordinal, _, _)| round.pod_name(ordinal)).collect()
}

fn voters(view: &RaftView) -> String {
    format!("{}/{}", view.healthy_voter_count(), view.voter_count())
}

fn health(round: &Round<'_>, verdicts: &Verdicts) -> &'static str {
    match (round.view(), verdicts.available.reason) {
        (_, Reason::QuorumLost | Reason::AllMembersLost) => "Unavailable",
        (_, Reason::Bootstrapping) => "Starting",
        (_, Reason::Hibernated | Reason::Hibernating) => "Hibernated",
        (None, _) => UNKNOWN,
        (Some(view), _) if view.healthy_voter_count() < view.voter_count() => "Degraded",
        (Some(_), _) if verdicts.degraded.status == Some(true) => "Degraded",
        (Some(_), _) => "Healthy",
    }
}

/// One line for `kubectl get -o wide` and the end of `describe`.
fn summary(round: &Round<'_>, verdicts: &Verdicts) -> String {
    let Some(view) = round.view() else {
        let mut line = match verdicts.available.reason {
            Reason::MembersUnreachable => silence(round),
            _ => verdicts.available.message.clone(),
        };
        if let Some(entry) = round.blocked.first() {
            line.push_str("; ");
            line.push_str(&entry.message);
        }
        return line;
    };
    let mut line = format!(
        "{} voters healthy{}, leader {} (term {}), tolerates {}",
        voters(view),
        standing_by(view),
        member_of(&view.leader),
        view.term,
        failures(view.failure_tolerance)
    );
    let is_ill = |server: &&ServerView| server.is_voter && !server.is_healthy || server.is_silent_standby();
    let unhealthy: Vec<_> =
        view.servers.iter().filter(is_ill).map(|server| member_of(&server.raft_id)).collect();
    let unhealthy = (!unhealthy.is_empty()).then(|| format!("unhealthy: {}", unhealthy.join(", ")));
    for more in unhealthy.into_iter().chain(next_thing(round, verdicts)) {
        line.push_str("; ");
        line.push_str(&more);
    }
    line
}

/// What is under way, else what is held back, else what a person has to do.
fn next_thing(round: &Round<'_>, verdicts: &Verdicts) -> Option<String> {
    let pending = round.pending.first().map(|why| why.text.clone());
    let blocked = round.blocked.first().map(|entry| entry.message.clone());
    let is_for_people = verdicts.ready.reason == Reason::Paused;
    pending.or(blocked).or_else(|| is_for_people.then(|| verdicts.ready.message.clone()))
}

/// Healthy members without a vote that need none, for messages; nothing if there are none.
pub(crate) fn standing_by(view: &RaftView) -> String {
    match view.servers.iter().filter(|server| server.stands_by && server.is_healthy).count() {
        0 => String::new(),
        1 => ", 1 stands by".to_owned(),
        more => format!(", {more} stand by"),
    }
}

/// A count of failures in words that fit after "tolerates".
pub(crate) fn failures(count: u32) -> String {
    match count {
        0 => "no failure".to_owned(),
        1 => "1 failure".to_owned(),
        more => format!("{more} failures"),
    }
}

/// Nobody confirmed a leader, and not enough said there is none.
fn silence(round: &Round<'_>) -> String {
    let last = round.observed.cluster.status.as_ref().and_then(|status| status.raft.as_ref());
    let known = last.and_then(|raft| raft.leader.as_deref()).unwrap_or(NO_LEADER);
    match round.observed.leader_heard {
        Some(silence) if silence.as_secs() >= 10 => {
            format!("no leader heard for {}; last known {known}", words::age(silence))
        }
        Some(_) => format!("no member reached; {known} renewed its lease less than 10 s ago"),
        None => format!("no leader heard; last known {known}"),
    }
}

/// Voters, a quorum of them, and what a write needs, for messages.
pub(crate) fn quorum_text(view: &RaftView) -> String {
    let voters = view.voter_count();
    format!("{} of {voters} voters are healthy, a write needs {}", view.healthy_voter_count(), quorum(voters))
}

/// The five conditions, with the old times where the status did not flip.
fn stamp(round: &Round<'_>, verdicts: &Verdicts, old: &[Condition]) -> Vec<Condition> {
    verdicts
        .each()
        .into_iter()
        .map(|(type_, verdict)| {
            let status = match verdict.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let before = old.iter().find(|condition| condition.type_ == type_ && condition.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.as_str().to_owned(),
                message: verdict.message.clone(),
                observed_generation: round.observed.cluster.metadata.generation,
                last_transition_time: before
                    .map_or_else(|| time(round.now), |before| before.last_transition_time.clone()),
            }
        })
        .collect()
}

fn time(now: Now) -> Time {
    let seconds = i64::try_from(now.0).unwrap_or(i64::MAX);
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}
