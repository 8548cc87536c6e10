//! One round: from what is known to a state and what to do.

use std::collections::BTreeMap;

use quorate_raft::{LogId, ServerId, Suffrage};

use crate::action::Action;
use crate::health::{Reference, node_status, sample};
use crate::input::{Input, Stats};
use crate::observer::Observer;
use crate::promotion;
use crate::settings::Settings;
use crate::state::{NodeType, ServerRole, ServerState, State, failure_tolerance, order, quorum};
use crate::upgrade::UpgradeState;
use crate::version;

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
    let reference = reference(observer, input);
    let mut servers: Vec<ServerState> = Vec::new();
    for server in input.membership.configuration.servers() {
        let stats = stats(observer, input, &server.id);
        let status = node_status(input.now, stats.as_ref(), input.facts.get(&server.id), settings);
        let sample = sample(stats.as_ref(), status, reference, settings);
        servers.push(ServerState {
            id: server.id.clone(),
            address: server.address.clone(),
            role: role(input, &server.id, server.suffrage),
            intent: server.intent.clone(),
            node_type: NodeType::Voter,
            zone: input.reports.get(&server.id).and_then(|report| report.zone.clone()),
            build: input.reports.get(&server.id).and_then(|report| report.build.clone()),
            upgrade_version: input.reports.get(&server.id).and_then(|report| report.upgrade_version.clone()),
            status,
            is_dead: silence(observer, input, stats.as_ref()) > settings.dead_server_last_contact_threshold,
            stats: stats.unwrap_or(NEVER_HEARD),
            health: observer.judge(&server.id, input.now, sample),
        });
    }
    servers.sort_by(order);
    let mut state = picture(input, servers);
    let mut actions = Vec::new();
    if input.membership.is_leader(&input.own_id) {
        let raise = version::raise(observer, input);
        actions.extend(promotion::promote(observer, settings, input, &mut state));
        // A vote is more urgent than a version.
        if actions.is_empty() {
            actions.extend(raise);
        }
    }
    observer.end(|action, server| {
        state.blocked.iter().any(|blocked| blocked.action == action && blocked.server == *server)
    });
    Round { state, actions }
}

const NEVER_HEARD: Stats = Stats {
    last_contact: None,
    last: LogId::new(quorate_raft::Term(0), quorate_raft::Index(0)),
    snapshot: None,
};

fn picture(input: &Input, servers: Vec<ServerState>) -> State {
    let voters: Vec<&ServerState> = servers.iter().filter(|server| server.role.has_vote()).collect();
    let healthy = voters.iter().filter(|server| server.health.is_healthy).count();
    State {
        at: input.now,
        term: input.membership.term,
        configuration_index: input.membership.configuration_index,
        is_healthy: servers.iter().all(|server| server.health.is_healthy),
        failure_tolerance: failure_tolerance(voters.len(), healthy),
        is_quorum_lost: healthy < quorum(voters.len()),
        optimistic_failure_tolerance: failure_tolerance(voters.len(), healthy),
        leader: input.membership.leader.clone(),
        voters: voters.into_iter().map(|server| server.id.clone()).collect(),
        read_replicas: Vec::new(),
        zones: BTreeMap::new(),
        upgrade: UpgradeState::default(),
        blocked: Vec::new(),
        servers,
    }
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

/// For how long nothing was heard, as far as this leader can know (K55).
fn silence(observer: &Observer, input: &Input, stats: Option<&Stats>) -> std::time::Duration {
    stats.and_then(|stats| stats.last_contact).unwrap_or_else(|| observer.age(input.now))
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
