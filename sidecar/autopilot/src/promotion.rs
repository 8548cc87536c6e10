//! Who gets a vote: a non-voter that is meant to vote and was healthy without a break for the stabilization time (P5).
//!
//! One a round, and none while a change is in flight. Everyone else who is meant to vote is told why not yet.
//! A promotion never costs a quorum: with h of n voters healthy, h >= n/2 + 1 gives h + 1 >= (n + 1)/2 + 1.
//! A replacement takes the vote of a voter that is gone, dead or leaving (K15): n stays and h does not fall, for the
//! newcomer is healthy.

use std::time::Duration;

use quorate_raft::Intent;

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
    let mut promoted: Option<&ServerState> = None;
    let mut blocked = Vec::new();
    for server in state.servers.iter().filter(|server| is_wanted(server)) {
        let needed = stabilization(observer, settings, input, server);
        let obstacle = own_obstacle(server, input, needed).or_else(|| group_obstacle(input, state, promoted));
        let replaced = replaced(server, state);
        let waits = replaced
            .filter(|old| !may_be_replaced(old))
            .map(|old| BlockedReason::WaitsForReplaced { old: old.id.clone() });
        match waits.or(obstacle) {
            Some(reason) => blocked.push((server.id.clone(), reason)),
            None => promoted = Some(server),
        }
    }
    let action = promoted.map(|server| action(server, replaced(server, state), input));
    for (server, reason) in blocked {
        let since = observer.blocked_since(ActionKind::Promote, &server, &reason, input.now);
        state.blocked.push(Blocked { action: ActionKind::Promote, server, reason, since });
    }
    action
}

fn action(server: &ServerState, replaced: Option<&ServerState>, input: &Input) -> Action {
    let (server, expected, term) =
        (server.id.clone(), input.membership.configuration_index, input.membership.term);
    match replaced {
        Some(old) => {
            let old_has_left = old.status == NodeStatus::Left;
            Action::Replace { old: old.id.clone(), server, old_has_left, expected, term }
        }
        None => Action::Promote { server, expected, term },
    }
}

/// The server of the configuration that this one is to replace. Once that one is out of it the intent reads as Voter.
fn replaced<'a>(server: &ServerState, state: &'a State) -> Option<&'a ServerState> {
    match &server.intent {
        Intent::ReplacementFor(old) => state.server(old),
        Intent::Voter | Intent::ReadReplica => None,
    }
}

/// Whether its vote may go to its replacement: it is declared to go, gone, or dead, that is silent for the whole
/// threshold as this leader knows (K15). A demoted one has no vote to hand over and stays until the operator removes it.
fn may_be_replaced(old: &ServerState) -> bool {
    old.role.has_vote() && (matches!(old.status, NodeStatus::Left | NodeStatus::Failed) || old.is_dead)
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
    // A late sample does not make it unhealthy yet, but nobody gets a vote in such a moment.
    if let Err(reason) = &server.health.sample {
        return Some(BlockedReason::Unhealthy(reason.clone()));
    }
    let healthy_for = server.health.healthy_for(input.now).unwrap_or_default();
    let missing = needed.saturating_sub(healthy_for);
    (!missing.is_zero()).then_some(BlockedReason::Stabilizing { missing, needed })
}

/// What keeps anybody from a vote.
fn group_obstacle(input: &Input, state: &State, promoted: Option<&ServerState>) -> Option<BlockedReason> {
    if input.membership.is_changing {
        return Some(BlockedReason::ConfigurationChanging);
    }
    if let Some(server) = promoted {
        return Some(BlockedReason::AnotherFirst { server: server.id.clone() });
    }
    let is_healthy_voter = |server: &&ServerState| server.role.has_vote() && server.health.is_healthy;
    let healthy = state.servers.iter().filter(is_healthy_voter).count();
    let (voters, needed) = (state.voters.len(), quorum(state.voters.len()));
    (healthy < needed).then_some(BlockedReason::QuorumLost { healthy, voters, needed })
}
