//! Who gets a vote: a non-voter that is meant to vote and was healthy without a break for the stabilization time (P5).
//!
//! One a round, and none while a change is in flight. Everyone else who is meant to vote is told why not yet.
//! A promotion never costs a quorum: with h of n voters healthy, h >= n/2 + 1 gives h + 1 >= (n + 1)/2 + 1.

use std::time::Duration;

use quorate_raft::{Intent, ServerId};

use crate::action::{Action, ActionKind, Blocked, BlockedReason};
use crate::input::Input;
use crate::observer::Observer;
use crate::settings::Settings;
use crate::state::{NodeStatus, ServerRole, ServerState, State, quorum};

/// What may be done now; what is held back goes into the state.
pub(crate) fn promote(
    observer: &mut Observer,
    settings: &Settings,
    input: &Input,
    state: &mut State,
) -> Option<Action> {
    let membership = &input.membership;
    let mut promoted: Option<ServerId> = None;
    let mut blocked = Vec::new();
    for server in state.servers.iter().filter(|server| is_wanted(server)) {
        let needed = stabilization(observer, settings, input, server);
        let obstacle =
            own_obstacle(server, input, needed).or_else(|| group_obstacle(input, state, promoted.as_ref()));
        match obstacle {
            Some(reason) => blocked.push((server.id.clone(), reason)),
            None => promoted = Some(server.id.clone()),
        }
    }
    for (server, reason) in blocked {
        let since = observer.blocked_since(ActionKind::Promote, &server, &reason, input.now);
        state.blocked.push(Blocked { action: ActionKind::Promote, server, reason, since });
    }
    promoted.map(|server| Action::Promote {
        server,
        expected: membership.configuration_index,
        term: membership.term,
    })
}

/// Read replicas never vote (A31).
fn is_wanted(server: &ServerState) -> bool {
    server.role == ServerRole::NonVoter
        && match server.intent {
            Intent::Voter | Intent::ReplacementFor(_) => true,
            Intent::ReadReplica => false,
        }
}

/// How long the server must have been healthy. Under the first leader after bootstrap nobody has a history to prove
/// yet, and members that join within the first stabilization time need none (A8, K55).
fn stabilization(observer: &Observer, settings: &Settings, input: &Input, server: &ServerState) -> Duration {
    let time = settings.server_stabilization_time;
    let is_grace = input.membership.is_first_leadership && observer.age(input.now) <= time;
    if is_grace && server.intent == Intent::Voter { Duration::ZERO } else { time }
}

/// What keeps this server from its vote.
fn own_obstacle(server: &ServerState, input: &Input, needed: Duration) -> Option<BlockedReason> {
    if server.status == NodeStatus::Left {
        return Some(BlockedReason::Leaving);
    }
    // Once the old one is out of the configuration the intent reads as Voter; a demoted one has nothing left to hand over
    // but stays until the operator removes it (K15).
    if let Intent::ReplacementFor(old) = &server.intent
        && input.membership.configuration.contains(old)
    {
        return Some(BlockedReason::WaitsForReplaced { old: old.clone() });
    }
    // A late sample does not make it unhealthy yet, but nobody gets a vote in such a moment.
    if let Err(reason) = &server.health.sample {
        return Some(BlockedReason::Unhealthy(reason.clone()));
    }
    let healthy_for = server.health.healthy_for(input.now).unwrap_or_default();
    let missing = needed.saturating_sub(healthy_for);
    (!missing.is_zero()).then_some(BlockedReason::Stabilizing { missing, needed })
}

/// What keeps anybody from a vote.
fn group_obstacle(input: &Input, state: &State, promoted: Option<&ServerId>) -> Option<BlockedReason> {
    if input.membership.is_changing {
        return Some(BlockedReason::ConfigurationChanging);
    }
    if let Some(server) = promoted {
        return Some(BlockedReason::AnotherFirst { server: server.clone() });
    }
    let is_healthy_voter = |server: &&ServerState| server.role.has_vote() && server.health.is_healthy;
    let healthy = state.servers.iter().filter(is_healthy_voter).count();
    let (voters, needed) = (state.voters.len(), quorum(state.voters.len()));
    (healthy < needed).then_some(BlockedReason::QuorumLost { healthy, voters, needed })
}
