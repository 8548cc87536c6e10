//! The five conditions and when each is what (K50, K32).
//!
//! | type | True | False | Unknown |
//! |---|---|---|---|
//! | Ready | as asked for, all healthy, no Pod outdated | anything else that is known | no view |
//! | Available | a majority confirmed a leader | the quorum is lost, or there is no cluster yet or any more | nobody could be asked |
//! | Progressing | a step is pending or waited for | settled, held back or paused | |
//! | Degraded | a wanted member is unhealthy, lost or blocked for over a minute | none is | no view |
//! | Stalled | only a person can help | | |

use std::cmp::Ordering;
use std::time::Duration;

use crate::children::names;
use crate::limits::DEGRADED_AFTER;
use crate::observed::{ContainerState, Now, Pod, Slot};
use crate::plan::Why;
use crate::raft_view::{RaftView, ServerView, quorum};
use crate::reason::Reason;
use crate::round::{Round, member_of};
use crate::rules::fence::is_fenced;
use crate::rules::lost::lost_ids;
use crate::status::{failures, quorum_text, standing_by};
use crate::words::unhealthy;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// None = Unknown.
    pub(crate) status: Option<bool>,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

fn verdict(status: impl Into<Option<bool>>, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict { status: status.into(), reason, message: message.into() }
}

/// All five.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) ready: Verdict,
    pub(crate) available: Verdict,
    pub(crate) progressing: Verdict,
    pub(crate) degraded: Verdict,
    pub(crate) stalled: Verdict,
}

impl Verdicts {
    pub(crate) fn each(&self) -> [(&'static str, &Verdict); 5] {
        [
            ("Ready", &self.ready),
            ("Available", &self.available),
            ("Progressing", &self.progressing),
            ("Degraded", &self.degraded),
            ("Stalled", &self.stalled),
        ]
    }
}

/// All five, from one round.
pub(crate) fn judge(round: &Round<'_>, outdated: &[String], quorum_missing: Option<&str>) -> Verdicts {
    let available = available(round, quorum_missing);
    let stalled = stalled(round);
    let degraded = degraded(round);
    let progressing = progressing(round);
    let ready = ready(round, outdated, &available, &stalled, &degraded);
    Verdicts { ready, available, progressing, degraded, stalled }
}

fn ready(
    round: &Round<'_>,
    outdated: &[String],
    available: &Verdict,
    stalled: &Verdict,
    degraded: &Verdict,
) -> Verdict {
    if stalled.status == Some(true) {
        return verdict(false, stalled.reason, stalled.message.clone());
    }
    if let Some(why) = hibernation(round) {
        return verdict(why.reason == Reason::Hibernated, why.reason, why.text.clone());
    }
    let Some(view) = round.view().filter(|_| available.status == Some(true)) else {
        let status = if round.view().is_none() && available.status.is_none() { None } else { Some(false) };
        return verdict(status, available.reason, available.message.clone());
    };
    if let Some(why) = round.stopped.as_ref().filter(|why| why.reason == Reason::Paused) {
        return verdict(false, why.reason, why.text.clone());
    }
    let is_ill = |server: &&ServerView| server.is_voter && !server.is_healthy || server.is_silent_standby();
    if let Some(server) = view.servers.iter().find(is_ill) {
        let member = member_of(&server.raft_id);
        let (reason, what) = if is_fenced_server(round, server) {
            (Reason::Fenced, "is fenced")
        } else if is_restarting(round, server) {
            (Reason::StartingMember, "is being restarted")
        } else {
            (Reason::MemberUnhealthy, "is unhealthy")
        };
        let text = format!(
            "{member} {what}: {}; {}: tolerates {}",
            unhealthy(view, server),
            quorum_text(view),
            failures(view.failure_tolerance)
        );
        return verdict(false, reason, text);
    }
    if let Some(why) = round.pending.first() {
        return verdict(false, why.reason, why.text.clone());
    }
    if degraded.status == Some(true) {
        return verdict(false, degraded.reason, degraded.message.clone());
    }
    if let Some(other_size) = other_size(round, view) {
        return other_size;
    }
    if !outdated.is_empty() {
        let held_back = round.blocked.iter().find(|entry| ["14", "19"].contains(&entry.rule.as_str()));
        return match held_back {
            Some(entry) => verdict(false, Reason::named(&entry.reason), entry.message.clone()),
            None => verdict(
                false,
                Reason::RollingOut,
                format!("an older template is run by {}", outdated.join(", ")),
            ),
        };
    }
    // These hold back nobody's writes: a leader that cannot write to the API server serves all the same.
    let harmless = [Reason::PublishingBlocked.as_str(), Reason::AuthorityChanging.as_str()];
    let held_back = round.blocked.iter().find(|entry| !harmless.contains(&entry.reason.as_str()));
    if let Some(entry) = held_back {
        return verdict(false, Reason::named(&entry.reason), entry.message.clone());
    }
    let voters = view.voter_count();
    let who = if voters == 1 { "the only voter is".to_owned() } else { format!("all {voters} voters are") };
    let even = if voters.is_multiple_of(2) {
        let fewer = if voters == 2 { "1 voter".to_owned() } else { format!("{} voters", voters - 1) };
        format!(", the same as {fewer} would: an odd number is better")
    } else {
        String::new()
    };
    let text =
        format!("{who} healthy{}, tolerates {}{even}", standing_by(view), failures(view.failure_tolerance));
    verdict(true, Reason::QuorumHealthy, text)
}

/// Not as many members in their places as asked for: with a vote, or standing by.
fn other_size(round: &Round<'_>, view: &RaftView) -> Option<Verdict> {
    let (members, asked) = (view.voter_count() + view.standby_count(), round.replicas());
    let what = if view.standby_count() == 0 { "voters" } else { "members" };
    let reason = match members.cmp(&asked) {
        Ordering::Less => Reason::ScalingUp,
        Ordering::Equal => return None,
        Ordering::Greater => Reason::ScalingDown,
    };
    Some(verdict(false, reason, format!("{members} {what}, {asked} asked for")))
}

/// Whether a person keeps it from running.
fn is_fenced_server(round: &Round<'_>, server: &ServerView) -> bool {
    names::ordinal_of_pod(round.observed.name(), member_of(&server.raft_id))
        .is_some_and(|ordinal| is_fenced(round, ordinal))
}

/// Whether a server is away because its Pod is being replaced, by whomever.
fn is_restarting(round: &Round<'_>, server: &ServerView) -> bool {
    let ordinal = names::ordinal_of_pod(round.observed.name(), member_of(&server.raft_id));
    let Some(slot) = ordinal.and_then(|ordinal| round.observed.slots.get(&ordinal)) else { return false };
    let is_reported = slot.node.as_ref().is_none_or(|node| node.ready);
    let is_young = |pod: &Pod| pod.deleting || round.now.since(pod.created) < DEGRADED_AFTER;
    slot.claim.is_some() && is_reported && slot.pod.as_ref().is_none_or(is_young)
}

/// That Pods are stopped on purpose, or being stopped.
fn hibernation<'a>(round: &'a Round<'_>) -> Option<&'a Why> {
    let is_it = |why: &&Why| matches!(why.reason, Reason::Hibernated | Reason::Hibernating);
    round.stopped.as_ref().filter(is_it).or_else(|| round.pending.first().filter(is_it))
}

fn available(round: &Round<'_>, quorum_missing: Option<&str>) -> Verdict {
    if let Some(why) = hibernation(round) {
        return verdict(false, why.reason, why.text.clone());
    }
    if let Some(why) = &round.stopped {
        match why.reason {
            Reason::AllMembersLost
            | Reason::Bootstrapping
            | Reason::BootstrapVolumeLost
            | Reason::ForeignVolumes => return verdict(false, why.reason, why.text.clone()),
            _ => {}
        }
    }
    if let Some(view) = round.view() {
        let text =
            format!("{} leads in term {} and a majority confirmed it", member_of(&view.leader), view.term);
        return verdict(true, Reason::LeaderConfirmed, text);
    }
    match quorum_missing {
        // Seen twice, so that a brief election is not called a loss (K32).
        Some(text) if round.observed.quorum_missing_before => verdict(false, Reason::QuorumLost, text),
        _ if !round.is_bootstrapped() => {
            verdict(false, Reason::Bootstrapping, "the cluster has not begun yet")
        }
        _ => {
            let lease = match round.observed.leader_heard {
                Some(age) if age < Duration::from_secs(20) => {
                    "; a leader renewed its lease within the last 20 s"
                }
                _ => "",
            };
            verdict(
                None,
                Reason::MembersUnreachable,
                format!("no member confirmed a leader this round{lease}"),
            )
        }
    }
}

/// The voters that deny a leader or are known not to run, if the rest is no quorum (K32).
pub(crate) fn quorum_missing(round: &Round<'_>) -> Option<String> {
    if round.view().is_some() || !round.is_bootstrapped() || hibernation(round).is_some() {
        return None;
    }
    let voters = known_voters(round);
    let against: Vec<&str> = voters.iter().filter(|name| is_out(round, name)).map(String::as_str).collect();
    let needed = quorum(voters.len());
    (!voters.is_empty() && voters.len() - against.len() < needed).then(|| {
        format!(
            "{} of {} voters are down or hear no leader ({}), and a write needs {needed}: bring them back",
            against.len(),
            voters.len(),
            against.join(", ")
        )
    })
}

/// The voters of the leader's last report, else all members on record.
fn known_voters(round: &Round<'_>) -> Vec<String> {
    let raft = round.observed.cluster.status.as_ref().and_then(|status| status.raft.as_ref());
    let votes = |role: &str| role == "Leader" || role == "Voter";
    let reported: Vec<_> = raft
        .into_iter()
        .flat_map(|raft| raft.members.iter())
        .filter(|member| member.role.as_deref().is_some_and(votes))
        .map(|member| member.name.clone())
        .collect();
    if reported.is_empty() {
        round.live().map(|(ordinal, _, _)| round.pod_name(ordinal)).collect()
    } else {
        reported
    }
}

/// Answered "no leader", or known not to run.
fn is_out(round: &Round<'_>, member: &str) -> bool {
    let slot =
        names::ordinal_of_pod(round.observed.name(), member).and_then(|o| round.observed.slots.get(&o));
    let Some(Slot { pod: Some(pod), answer, node, .. }) = slot else { return true };
    if let Some(answer) = answer {
        return answer.leader.is_none();
    }
    // A silent node may still run its Pods: only a Ready one's report counts.
    let is_reported = pod.node.is_none() || node.as_ref().is_some_and(|node| node.ready);
    is_reported && !matches!(pod.sidecar, ContainerState::Running { .. })
}

fn progressing(round: &Round<'_>) -> Verdict {
    if let Some(why) = round.stopped.as_ref().filter(|why| is_final(why.reason)) {
        return verdict(false, why.reason, why.text.clone());
    }
    match round.pending.first() {
        Some(why) => verdict(true, why.reason, why.text.clone()),
        None => verdict(false, Reason::Settled, "nothing is pending"),
    }
}

/// Nothing goes on by itself after these.
fn is_final(reason: Reason) -> bool {
    matches!(reason, Reason::Paused | Reason::Deleting | Reason::Hibernated) || needs_a_person(reason)
}

fn needs_a_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AllMembersLost
            | Reason::BootstrapVolumeLost
            | Reason::ForeignVolumes
            | Reason::NameConflict
            | Reason::CreationRefused
            | Reason::DeadlineExceeded
            | Reason::VolumeBeingDeleted
    )
}

fn stalled(round: &Round<'_>) -> Verdict {
    if let Some(why) = round.stopped.as_ref().filter(|why| needs_a_person(why.reason)) {
        return verdict(true, why.reason, why.text.clone());
    }
    for entry in &round.blocked {
        let Some(reason) = Reason::ALL.iter().map(|(reason, _)| *reason).find(|r| r.as_str() == entry.reason)
        else {
            continue;
        };
        let is_old = obstacle_age(round, &entry.member).is_some_and(|age| age >= DEGRADED_AFTER);
        let lasts =
            matches!(reason, Reason::ImagePull | Reason::Unschedulable | Reason::NotStarting) && is_old;
        let no_class = reason == Reason::VolumePending && round.observed.storage.default_class == Some(false);
        if needs_a_person(reason) || lasts || no_class {
            return verdict(true, reason, entry.message.clone());
        }
    }
    verdict(false, Reason::Settled, "nothing waits for a person")
}

fn degraded(round: &Round<'_>) -> Verdict {
    if let Some(why) = hibernation(round) {
        return verdict(false, why.reason, "no Pod runs on purpose");
    }
    if let Some(why) = round.stopped.as_ref().filter(|why| why.reason == Reason::AllMembersLost) {
        return verdict(true, why.reason, why.text.clone());
    }
    if let Some(lost) = lost_ids(round).first() {
        return verdict(
            true,
            Reason::VolumeLost,
            format!("the volume of {lost} is lost; it leaves and another joins"),
        );
    }
    if let Some((ordinal, _, claim)) = round.wanted().find(|(_, _, claim)| claim.deleting) {
        let text = format!("the volume claim {} of {} is being deleted", claim.name, round.pod_name(ordinal));
        return verdict(true, Reason::VolumeBeingDeleted, text);
    }
    let Some(view) = round.view() else {
        return if round.is_bootstrapped() {
            verdict(None, Reason::MembersUnreachable, "no view of the members")
        } else {
            blocked_long(round)
                .unwrap_or_else(|| verdict(false, Reason::Bootstrapping, "the cluster has not begun yet"))
        };
    };
    if let Some(long) = unhealthy_long(round, view) {
        return long;
    }
    blocked_long(round)
        .unwrap_or_else(|| verdict(false, Reason::QuorumHealthy, "no member is in trouble for over a minute"))
}

fn unhealthy_long(round: &Round<'_>, view: &RaftView) -> Option<Verdict> {
    // One that is heard and lags has no age of its own: Ready says since when, and for this reason.
    let old = round.observed.cluster.status.iter().flat_map(|status| &status.conditions);
    let was_unhealthy_long = old.filter(|it| it.type_ == "Ready" && it.status == "False").any(|it| {
        let since = Now(u64::try_from(it.last_transition_time.0.as_second()).unwrap_or(0));
        it.reason == Reason::MemberUnhealthy.as_str() && round.now.since(since) >= DEGRADED_AFTER
    });
    let server = view.servers.iter().filter(|server| !server.is_healthy).find(|server| {
        let is_wanted =
            round.wanted().any(|(ordinal, _, claim)| round.raft_id(ordinal, claim) == server.raft_id);
        // Never heard in this term: how long is not known, and it is not a mere restart.
        let is_silent = server.last_contact.is_none_or(|age| age >= DEGRADED_AFTER);
        let is_ill = (server.is_voter || server.is_silent_standby()) && !is_fenced_server(round, server);
        is_wanted && is_ill && (is_silent || was_unhealthy_long)
    })?;
    let text = format!(
        "{} is unhealthy: {}; {}",
        member_of(&server.raft_id),
        unhealthy(view, server),
        quorum_text(view)
    );
    Some(verdict(true, Reason::MemberUnhealthy, text))
}

fn blocked_long(round: &Round<'_>) -> Option<Verdict> {
    // These two are said after ten minutes only.
    let is_late = |reason: &str| {
        [Reason::MemberLagging, Reason::DeadlineExceeded].iter().any(|it| it.as_str() == reason)
    };
    let is_old = |member: &str| obstacle_age(round, member).is_some_and(|age| age >= DEGRADED_AFTER);
    let entry = round.blocked.iter().find(|entry| is_late(&entry.reason) || is_old(&entry.member))?;
    Some(verdict(true, Reason::named(&entry.reason), entry.message.clone()))
}

/// How long a member's Pod has been in the trouble Kubernetes reports.
fn obstacle_age(round: &Round<'_>, member: &str) -> Option<Duration> {
    let ordinal = names::ordinal_of_pod(round.observed.name(), member)?;
    let obstacle = round.observed.slots.get(&ordinal)?.pod.as_ref()?.obstacle.as_ref()?;
    Some(round.now.since(obstacle.since))
}
