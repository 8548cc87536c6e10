//! Events: a pure difference of the old status and the new, and what this round did that status does not show.

use quorate_crds::RaftClusterStatus;

use crate::plan::Event;
use crate::reason::Reason;
use crate::round::Round;
use crate::status::NO_LEADER;

/// Reasons of Ready that a person is told of when they begin.
const TOLD_AT_ONCE: [Reason; 1] = [Reason::MemberUnhealthy];

/// What a person would want to be told, once.
pub(crate) fn of(round: &Round<'_>, old: &RaftClusterStatus, new: &RaftClusterStatus) -> Vec<Event> {
    let mut events = round.events.clone();
    let was_founded = old.founder.as_ref().is_some_and(|founder| founder.bootstrapped);
    if !was_founded && round.is_bootstrapped() {
        let id = new.cluster_id.as_deref().unwrap_or_default();
        // Whoever began it is on record before; an adopted cluster began under another resource (K34).
        if old.founder.as_ref().is_some_and(|founder| founder.raft_id.is_some()) {
            push(&mut events, false, "Bootstrapped", format!("the cluster has begun; its ID is {id}"));
        } else {
            push(&mut events, false, "Adopted", format!("the volumes of cluster {id} are adopted"));
        }
    }
    leadership(&mut events, old, new);
    rollout(&mut events, old, new);
    conditions(round, &mut events, old, new);
    for entry in &new.blocked {
        let is_new = !old.blocked.iter().any(|old| old.member == entry.member && old.reason == entry.reason);
        // These two tell of themselves.
        let tells =
            [Reason::AuthorityChanging, Reason::RoundFailed].iter().any(|it| it.as_str() == entry.reason);
        if is_new && !tells {
            push(&mut events, true, "ActionDeferred", format!("{}: {}", entry.reason, entry.message));
        }
    }
    events
}

fn push(events: &mut Vec<Event>, is_warning: bool, reason: &str, message: String) {
    events.push(Event { is_warning, reason: reason.to_owned(), message });
}

fn leadership(events: &mut Vec<Event>, old: &RaftClusterStatus, new: &RaftClusterStatus) {
    let Some(leader) = new.leader.as_deref().filter(|leader| *leader != NO_LEADER) else { return };
    if old.leader.as_deref() != Some(leader) {
        push(events, false, "LeaderElected", format!("{leader} leads"));
    }
}

/// Begun with the first Pod that is outdated, over with the last.
fn rollout(events: &mut Vec<Event>, old: &RaftClusterStatus, new: &RaftClusterStatus) {
    let pending = |status: &RaftClusterStatus| {
        status.rollout.as_ref().map(|rollout| rollout.pending.clone()).unwrap_or_default()
    };
    let (before, now) = (pending(old), pending(new));
    if before.is_empty() && !now.is_empty() {
        push(events, false, "RolloutStarted", format!("an older template is run by {}", now.join(", ")));
    } else if !before.is_empty() && now.is_empty() {
        push(events, false, "RolloutCompleted", "every Pod runs the current template".to_owned());
    }
}

fn conditions(round: &Round<'_>, events: &mut Vec<Event>, old: &RaftClusterStatus, new: &RaftClusterStatus) {
    for condition in &new.conditions {
        let before = old.conditions.iter().find(|old| old.type_ == condition.type_);
        let flipped = before.is_none_or(|before| before.status != condition.status);
        let message = &condition.message;
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Available", "False") if flipped && condition.reason == Reason::QuorumLost.as_str() => {
                push(events, true, "QuorumLost", message.clone());
            }
            // The first leader is not a restoration.
            ("Available", "True")
                if before.is_some_and(|before| before.reason == Reason::QuorumLost.as_str()) =>
            {
                push(events, false, "QuorumRestored", message.clone());
            }
            // It stays True from Ready to Hibernated and back: the reason tells.
            ("Ready", "True") if condition.reason == Reason::Hibernated.as_str() => {
                let is_new = before.is_none_or(|before| before.reason != condition.reason);
                events.extend(is_new.then(|| Event {
                    is_warning: false,
                    reason: "Hibernated".to_owned(),
                    message: message.clone(),
                }));
            }
            ("Ready", "True")
                if flipped || before.is_some_and(|it| it.reason == Reason::Hibernated.as_str()) =>
            {
                push(events, false, "Ready", message.clone());
                if round.view().is_some_and(|view| view.voter_count().is_multiple_of(2)) {
                    push(events, true, Reason::EvenVoters.as_str(), message.clone());
                }
            }
            ("Ready", "False")
                if TOLD_AT_ONCE.iter().any(|reason| reason.as_str() == condition.reason)
                    && before.is_none_or(|before| before.reason != condition.reason) =>
            {
                push(events, true, &condition.reason, message.clone());
            }
            // What is held back has its own event, below.
            ("Stalled", "True") if flipped && !new.blocked.iter().any(|entry| entry.message == *message) => {
                push(events, true, &condition.reason, message.clone());
            }
            _ => {}
        }
    }
}
