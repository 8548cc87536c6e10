//! One round: from what is known to a state and what to do.

use std::collections::BTreeMap;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Intent, LogId, Server, ServerId, Suffrage};

use crate::action::Action;
use crate::blocked::Blocked;
use crate::decision::decide;
use crate::health::{Reference, node_status, sample};
use crate::input::{Input, Stats};
use crate::observer::Observer;
use crate::promotion::Held;
use crate::report::{DesiredSuffrage, Report};
use crate::scene::Scene;
use crate::settings::Settings;
use crate::state::{NodeStatus, NodeType, ServerRole, ServerState, State, failure_tolerance, order, quorum};
use crate::{upgrade, version, zone};

/// What a round gives.
#[derive(Clone, Debug)]
pub struct Round {
    /// The picture.
    pub state: State,
    /// What to do; empty unless the own server leads. At most one change of membership a round.
    pub actions: Vec<Action>,
}

/// Compute a round. Call it every [`ROUND_INTERVAL`](crate::limits::ROUND_INTERVAL) with the same observer: the
/// number of bad samples in a row is counted in calls. The first call gives a full state (A4).
pub fn round(observer: &mut Observer, settings: &Settings, input: &Input) -> Round {
    observer.begin(input);
    let mut state = picture(input, settings, servers(observer, settings, input));
    let leads = input.membership.is_leader(&input.own_id) || broken(Mutant::A12Leader);
    if !leads || !input.is_reconciling && !broken(Mutant::P7Off) {
        observer.end(|_, _| false);
        return Round { state, actions: Vec::new() };
    }
    let raise = version::raise(observer, input);
    let decision = decide(Scene { observer, settings, input, state: &state });
    if let Some(Action::Remove { server, .. }) = &decision.action {
        let has_vote = state.voters.contains(server);
        observer.removes(server, has_vote, input.now);
    }
    for Held { action, server, reason } in decision.held.into_iter().filter(|_| !broken(Mutant::A23)) {
        let since = observer.blocked_since(action, &server, &reason, input.now);
        state.blocked.push(Blocked { action, server, reason, since });
    }
    observer.end(|action, server| {
        state.blocked.iter().any(|blocked| blocked.action == action && blocked.server == *server)
    });
    // A change of membership is more urgent than a version.
    Round { state, actions: decision.action.or(raise).into_iter().collect() }
}

fn servers(observer: &mut Observer, settings: &Settings, input: &Input) -> Vec<ServerState> {
    let reference = reference(observer, input);
    let mut servers: Vec<ServerState> = Vec::new();
    for server in input.membership.configuration.servers() {
        let stats = stats(observer, input, &server.id);
        let status = node_status(input.now, stats.as_ref(), input.facts.get(&server.id), settings);
        let sample = sample(stats.as_ref(), status, reference, settings);
        let report = observer.report(&server.id).cloned().unwrap_or_default();
        let silence = silence(observer, input, &server.id, stats.as_ref());
        servers.push(ServerState {
            id: server.id.clone(),
            address: server.address.clone(),
            role: role(input, &server.id, server.suffrage),
            intent: server.intent.clone(),
            node_type: node_type(server, &report),
            zone: report.zone,
            build: report.build,
            upgrade_version: report.upgrade_version,
            status,
            is_dead: silence > settings.dead_server_last_contact_threshold
                || broken(Mutant::A16) && status == NodeStatus::Unknown,
            stats: stats.unwrap_or(NEVER_HEARD),
            health: observer.judge(&server.id, input.now, sample),
        });
    }
    servers.sort_by(order);
    servers
}

/// Without zones. A voter's vote is never taken by its own word alone.
fn node_type(server: &Server, report: &Report) -> NodeType {
    let wants_none =
        server.intent == Intent::Voter && report.desired_suffrage == Some(DesiredSuffrage::NonVoter);
    let is_replica = server.intent == Intent::ReadReplica || wants_none;
    if is_replica && server.suffrage == Suffrage::NonVoter { NodeType::ReadReplica } else { NodeType::Voter }
}

const NEVER_HEARD: Stats = Stats {
    last_contact: None,
    last: LogId::new(quorate_raft::Term(0), quorate_raft::Index(0)),
    snapshot: None,
};

fn picture(input: &Input, settings: &Settings, mut servers: Vec<ServerState>) -> State {
    let zones = if settings.has_zones() { zone::group(&mut servers) } else { BTreeMap::new() };
    let upgrade = upgrade::state(&servers, settings);
    let voters: Vec<&ServerState> = servers.iter().filter(|server| server.role.has_vote()).collect();
    let healthy = voters.iter().filter(|server| server.health.is_healthy).count();
    State {
        at: input.now,
        term: input.membership.term,
        configuration_index: input.membership.configuration_index,
        is_healthy: servers.iter().all(|server| server.health.is_healthy),
        failure_tolerance: failure_tolerance(voters.len(), healthy),
        is_quorum_lost: healthy < quorum(voters.len()) && !broken(Mutant::A3),
        optimistic_failure_tolerance: optimistic(&servers, voters.len(), healthy),
        leader: input.membership.leader.clone(),
        voters: voters.into_iter().map(|server| server.id.clone()).collect(),
        read_replicas: servers
            .iter()
            .filter(|server| server.node_type == NodeType::ReadReplica)
            .map(|server| server.id.clone())
            .collect(),
        zones,
        upgrade,
        blocked: Vec::new(),
        servers,
    }
}

/// Each healthy stand-by makes up for one more failure, once it has its vote (A26). Not if the quorum is lost: then nobody
/// gets one any more.
fn optimistic(servers: &[ServerState], voters: usize, healthy: usize) -> usize {
    if healthy < quorum(voters) {
        return 0;
    }
    let stands_by = |server: &&ServerState| {
        server.node_type == NodeType::ZoneStandby && (server.health.is_healthy || broken(Mutant::A26))
    };
    failure_tolerance(voters, healthy) + servers.iter().filter(stands_by).count()
}

fn role(input: &Input, id: &ServerId, suffrage: Suffrage) -> ServerRole {
    match suffrage {
        Suffrage::NonVoter => ServerRole::NonVoter,
        // While joint a vote in one half is a vote: whoever has it must not fail now.
        Suffrage::Voter | Suffrage::Incoming | Suffrage::Outgoing if input.membership.is_leader(id) => {
            ServerRole::Leader
        }
        Suffrage::Voter | Suffrage::Incoming | Suffrage::Outgoing => ServerRole::Voter,
    }
}

/// For how long nothing was heard, as far as this leader can know (K55). A snapshot of which more arrives is a sign of
/// life (A18; raft-autopilot #17).
fn silence(observer: &Observer, input: &Input, id: &ServerId, stats: Option<&Stats>) -> std::time::Duration {
    let heard =
        stats.and_then(|stats| stats.last_contact).unwrap_or_else(|| observer.listened(id, input.now));
    let advanced = observer.snapshot_advanced(id).filter(|_| !broken(Mutant::A18));
    advanced.map_or(heard, |at| heard.min(input.now.since(at)))
}

/// The own server always hears itself.
fn stats(observer: &Observer, input: &Input, id: &ServerId) -> Option<Stats> {
    let heard = observer.stats(id, input.now);
    let itself =
        || Stats { last_contact: Some(std::time::Duration::ZERO), last: input.own_last, snapshot: None };
    if *id == input.own_id { Some(heard.unwrap_or_else(itself)) } else { heard }
}

/// The leader's log: the own one if this server leads, else what is known of the leader's.
fn reference(observer: &mut Observer, input: &Input) -> Reference {
    let last = match &input.membership.leader {
        Some(leader) if *leader == input.own_id => input.own_last,
        Some(leader) => observer.stats(leader, input.now).map_or(LogId::default(), |stats| stats.last),
        None => LogId::default(),
    };
    Reference { last, last_before: observer.last_before(input.now, last.index) }
}
