//! Rules 14 and 19: Pods of an older rendering make way for the current one, a member at a time.
//!
//! ```text
//!   non-voters ─► unhealthy voters ─► followers, highest ordinal first ─► the leader, after it handed over
//! ```
//! Invariant: nobody is taken down while another member is not back, by the leader's view, by its own answer, and as a
//! whole Pod if it has the current rendering: an application that does not start stops the rollout at the first member. A
//! second edit supersedes the first by itself: what is outdated is asked anew each round.
//! Not here: a Pod that its own template keeps from starting (E2), which needs no leader.

use quorate_crds::UpdateStrategy;
use quorate_mutants::{Mutant, broken};

use crate::children::Rendering;
use crate::limits::DEGRADED_AFTER;
use crate::observed::{Claim, ContainerState, Ordinal, Pod, Slot};
use crate::plan::{Check, Event, Step};
use crate::raft_view::{RaftView, ServerView, quorum};
use crate::reason::Reason;
use crate::round::{Round, Verdict, configuration_check, pod_check, why};
use crate::rules::fence::is_fenced;
use crate::rules::leave::hand_over;
use crate::rules::replace::is_to_be_replaced;
use crate::rules::shrink::members_counted;
use crate::words::{age, unhealthy};

/// With so few voters nobody can be taken down without an outage: it is announced (I2).
const VOTERS_WITHOUT_TOLERANCE_MAX: usize = 2;

/// A wanted slot and what runs in it.
#[derive(Clone, Copy)]
struct Member<'a> {
    ordinal: Ordinal,
    slot: &'a Slot,
    claim: &'a Claim,
    server: Option<&'a ServerView>,
}

impl<'a> Member<'a> {
    /// Its Pod, unless that is going already.
    fn pod(&self) -> Option<&'a Pod> {
        self.slot.pod.as_ref().filter(|pod| !pod.deleting)
    }

    fn is_outdated(&self, current: &str) -> bool {
        self.pod().is_some_and(|pod| pod.template_hash.as_deref() != Some(current))
    }

    /// The member and what runs beside it.
    fn is_well(&self) -> bool {
        self.server.is_some_and(|server| server.is_healthy) && self.pod().is_some_and(|pod| pod.ready)
    }

    /// Its node is there to stop a container and to start another.
    fn is_on_a_living_node(&self) -> bool {
        self.slot.node.as_ref().is_none_or(|node| node.ready)
    }
}

/// Rule 14: those without a vote. One that has not joined yet is replaced before it does.
pub(crate) fn non_voters(round: &mut Round<'_>) -> Verdict {
    replace(round, "14", |server| !server.is_some_and(|server| server.is_voter))
}

/// Rule 19: voters.
pub(crate) fn voters(round: &mut Round<'_>) -> Verdict {
    replace(round, "19", |server| server.is_some_and(|server| server.is_voter))
}

fn replace(round: &mut Round<'_>, rule: &'static str, is_ours: fn(Option<&ServerView>) -> bool) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    let current = Rendering::of(round.observed).template_hash();
    // A voter waits for stand-bys as well: its vote may be theirs while it is away.
    let is_waited_for = |server: Option<&ServerView>| {
        is_ours(server) || rule == "19" && server.is_some_and(|server| server.stands_by)
    };
    let members: Vec<Member<'_>> = round
        .wanted()
        .map(|(ordinal, slot, claim)| Member { ordinal, slot, claim, server: round.server(ordinal, claim) })
        .filter(|member| is_waited_for(member.server) && !is_fenced(round, member.ordinal))
        .collect();
    let mut outdated: Vec<_> = members
        .iter()
        .copied()
        .filter(|member| is_ours(member.server) && member.is_outdated(&current))
        .collect();
    // Those that are more than asked for leave first: one may have been marked in this very round.
    if outdated.is_empty() || members_counted(round) > round.replicas() {
        return Verdict::Next;
    }
    if round.spec().update.strategy == UpdateStrategy::OnDelete {
        on_delete(round, rule, &outdated);
        return Verdict::Next;
    }
    outdated.sort_by_key(|member| {
        let leads = member.server.is_some_and(|server| server.raft_id == view.leader);
        (leads, member.is_well(), std::cmp::Reverse(member.ordinal))
    });
    for member in &members {
        let is_candidate = member.is_outdated(&current) && member.is_on_a_living_node();
        if let Some(text) = absence(round, view, member, &current)
            && (!is_candidate || member.is_well())
            && !broken(Mutant::R19)
            && !broken(Mutant::I2Restart)
        {
            wait_for(round, rule, member, &text, &current);
            return Verdict::Next;
        }
    }
    for member in outdated {
        take_down(round, view, rule, &member, &current);
        if round.step.is_some() {
            return Verdict::End;
        }
    }
    Verdict::Next
}

/// Nobody is taken down: that is a person's, or new members take the places of the old ones.
fn on_delete(round: &mut Round<'_>, rule: &'static str, outdated: &[Member<'_>]) {
    let Some(first) = outdated.first().map(|member| round.pod_name(member.ordinal)) else { return };
    let mut names: Vec<String> = outdated.iter().map(|member| round.pod_name(member.ordinal)).collect();
    names.sort();
    let text = format!(
        "an older template is run by {}, and spec.update.strategy is OnDelete: delete these Pods one at a time, or raise spec.replicas until new members vote and lower it again",
        names.join(", ")
    );
    round.block(rule, Reason::RolloutPaused, &first, text);
}

/// Why a member does not count as being there; `None` if it does.
fn absence(round: &Round<'_>, view: &RaftView, member: &Member<'_>, current: &str) -> Option<String> {
    let Some(pod) = member.pod() else { return Some("its Pod is being replaced".to_owned()) };
    if !matches!(pod.sidecar, ContainerState::Running { .. }) {
        return Some("its sidecar does not run".to_owned());
    }
    if !pod.ready && !member.is_outdated(current) {
        return Some("its Pod is not ready".to_owned());
    }
    // One that is still to be added has nothing to be back to.
    let server = member.server?;
    if !server.is_healthy {
        return Some(unhealthy(view, server));
    }
    let raft_id = round.raft_id(member.ordinal, member.claim);
    let answer = member.slot.answer.as_ref().filter(|answer| answer.raft_id == raft_id);
    match answer {
        None => Some("it did not answer this round".to_owned()),
        Some(answer) if answer.leader.as_ref() != Some(&view.leader) => {
            Some("it does not follow the leader yet".to_owned())
        }
        // The budget must count it before it may let another go (K37).
        Some(_) if server.is_voter && !pod.voter_label => Some("the budget does not count it yet".to_owned()),
        Some(_) => None,
    }
}

/// Somebody is not back: a moment is normal, longer is a pause.
fn wait_for(round: &mut Round<'_>, rule: &'static str, member: &Member<'_>, text: &str, current: &str) {
    let name = round.pod_name(member.ordinal);
    let since = member.slot.pod.as_ref().map(|pod| pod.created);
    let waited = since.map(|since| round.now.since(since)).filter(|waited| *waited >= DEGRADED_AFTER);
    match waited {
        Some(waited) if member.pod().is_some() => {
            let way_out = if member.is_outdated(current) {
                "bring it back"
            } else {
                "correct the template or bring it back"
            };
            let text = format!(
                "the rollout waits for {name}, whose Pod was made {} ago: {text}; {way_out}",
                age(waited)
            );
            round.block(rule, Reason::RolloutPaused, &name, text);
        }
        _ => {
            round.wait(
                rule,
                Reason::RollingOut,
                &name,
                format!("the rollout goes on when {name} is back: {text}"),
            );
        }
    }
}

fn take_down(round: &mut Round<'_>, view: &RaftView, rule: &'static str, member: &Member<'_>, current: &str) {
    let (name, claim) = (round.pod_name(member.ordinal), member.claim);
    let Some(pod) = member.pod() else { return };
    if let Some((reason, text)) = held_back(round, view, member, &name) {
        return round.block(rule, reason, &name, text);
    }
    let Some(step) = removal(round, view, rule, member, pod) else { return };
    let mut checks = vec![configuration_check(view)];
    if let Some(leader) =
        member.server.filter(|server| server.raft_id == view.leader && view.voter_count() > 1)
    {
        // To one that is through with it, or from an ill Pod to a well one: leadership never goes back and forth.
        // Nor to one that rule 15 would take it from again.
        let is_fit = |ordinal: Ordinal, slot: &Slot, claim: &Claim| {
            let is_better =
                |other: &Pod| other.template_hash.as_deref() == Some(current) || !pod.ready && other.ready;
            slot.pod.as_ref().is_some_and(is_better)
                && (!is_to_be_replaced(round, ordinal, slot, claim) || broken(Mutant::R19Successor))
        };
        let successor = round.successor(&leader.raft_id, is_fit);
        return hand_over(round, rule, leader, successor, "restart", checks);
    }
    checks.push(pod_check(pod));
    checks.push(Check::ClaimStays { name: claim.name.clone(), uid: claim.uid.clone() });
    match member.server.filter(|server| server.is_voter).map(|server| restart(round, view, server)) {
        Some(Restart::Outage(text)) => {
            let reason = Reason::RestartingWithoutTolerance;
            round.decide(step, checks, why(rule, reason, &name, text.clone()));
            let message = format!("{name} is restarted with the current template: {text}");
            round.tell_when_done(Event { is_warning: true, reason: reason.as_str().to_owned(), message });
        }
        _ => {
            round.decide(step, checks, why(rule, Reason::RollingOut, &name, "it runs an older template"));
        }
    }
}

/// Why a member keeps its Pod for now.
fn held_back(
    round: &Round<'_>,
    view: &RaftView,
    member: &Member<'_>,
    name: &str,
) -> Option<(Reason, String)> {
    if member.claim.deleting {
        let text = format!(
            "{name} keeps its older template: its volume claim is being deleted, so its Pod must stay"
        );
        return Some((Reason::VolumeBeingDeleted, text));
    }
    if let Some(text) = held_by_node(member, name) {
        return Some((Reason::RolloutPaused, text));
    }
    let server = member.server.filter(|server| server.is_voter)?;
    if let Restart::Refused(text) = restart(round, view, server) {
        return Some((Reason::WaitingForQuorum, format!("{name} cannot be restarted: {text}")));
    }
    let is_supervised = round.spec().update.strategy == UpdateStrategy::Supervised;
    (is_supervised && server.raft_id == view.leader).then(|| {
        let text = format!(
            "the leader {name} runs an older template, and spec.update.strategy is Supervised: delete Pod {name} when it suits, or set Automatic"
        );
        (Reason::RolloutPaused, text)
    })
}

/// Where a new Pod could not start again.
fn held_by_node(member: &Member<'_>, name: &str) -> Option<String> {
    let node = member.slot.node.as_ref()?;
    if !node.ready {
        return Some(format!("{name} keeps its older template: its node {} does not report", node.name));
    }
    let is_pinned =
        member.claim.nodes.as_ref().is_some_and(|nodes| nodes.iter().all(|only| *only == node.name));
    (is_pinned && node.unschedulable).then(|| {
        format!(
            "{name} keeps its older template: its volume is on node {} only, which takes no Pods now; uncordon it",
            node.name
        )
    })
}

/// What taking a voter down for a moment comes to (I2).
enum Restart {
    Harmless,
    Outage(String),
    Refused(String),
}

fn restart(round: &Round<'_>, view: &RaftView, server: &ServerView) -> Restart {
    let (voters, needed) = (view.voter_count(), quorum(view.voter_count()));
    let healthy = view.voters().filter(|other| other.raft_id != server.raft_id && other.is_healthy).count();
    if healthy >= needed || broken(Mutant::I2Restart) {
        return Restart::Harmless;
    }
    if voters <= VOTERS_WITHOUT_TOLERANCE_MAX && no_more_to_come(round, view) {
        let who = if voters == 1 { "the only voter".to_owned() } else { format!("one of {voters} voters") };
        return Restart::Outage(format!("it is {who}, so nothing is written until it is back"));
    }
    Restart::Refused(format!(
        "{healthy} of {voters} voters would be healthy and a write needs {needed}; bring the others back"
    ))
}

/// Whether these are all the voters there will be: as many members were asked for, or the others stand by.
fn no_more_to_come(round: &Round<'_>, view: &RaftView) -> bool {
    let is_there = |server: &ServerView| !server.joins();
    let all_there = view.servers.iter().all(is_there) && view.servers.len() >= round.replicas();
    round.replicas() <= VOTERS_WITHOUT_TOLERANCE_MAX || view.standby_count() > 0 && all_there
}

/// By eviction, so that no drain takes another at the same time (K36).
fn removal(
    round: &mut Round<'_>,
    view: &RaftView,
    rule: &'static str,
    member: &Member<'_>,
    pod: &Pod,
) -> Option<Step> {
    let name = round.pod_name(member.ordinal);
    let Some(counted) = round.observed.children.budget_counts.filter(|_| pod.voter_label) else {
        return Some(Step::EvictPod { pod: pod.name.clone() });
    };
    if counted.current_healthy < counted.desired_healthy && view.healthy_voter_count() == view.voter_count() {
        // The budget counts Pods that are not ready, though every voter is well: no drain gets past it now, and it would
        // hold back the very rollout that makes the application ready again.
        return Some(Step::DeletePod { pod: pod.name.clone() });
    }
    let ready = round.live().filter_map(|(_, slot, _)| slot.pod.as_ref());
    let ready = ready.filter(|pod| pod.voter_label && pod.ready && !pod.deleting).count();
    if counted.disruptions_allowed < 1 && usize::try_from(counted.current_healthy).unwrap_or(0) < ready {
        round.wait(
            rule,
            Reason::RollingOut,
            &name,
            format!("{name} follows when the disruption budget has counted anew"),
        );
        return None;
    }
    // One that is not ready may go all the same: the API server decides.
    if counted.disruptions_allowed < 1 && pod.ready && !broken(Mutant::K36) {
        let text = format!(
            "{name} cannot be evicted: PodDisruptionBudget {} keeps {} Pods, and {} are ready",
            crate::children::names::budget(round.observed.name()),
            counted.desired_healthy,
            counted.current_healthy
        );
        round.block(rule, Reason::BlockedByDisruptionBudget, &name, text);
        return None;
    }
    Some(Step::EvictPod { pod: pod.name.clone() })
}
