//! A conclusion as `quorate.v1` has it: what gRPC, the HTTP views of it and other members are given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_api::v1;
use quorate_autopilot::{
    BlockedReason, NodeStatus, ServerRole, ServerState, UpgradeState, VersionServers, ZoneState,
};
use quorate_raft::{Now, ServerId};

use super::Conclusion;
use crate::serve::shape::{millis, wire_id, wire_intent};

/// The whole of it, all from one round (A22).
pub(crate) fn picture(conclusion: &Conclusion) -> v1::AutopilotState {
    let state = &conclusion.state;
    v1::AutopilotState {
        is_healthy: state.is_healthy,
        failure_tolerance: count(state.failure_tolerance),
        leader_raft_id: state.leader.as_ref().map(|leader| leader.raft_id.to_string()).unwrap_or_default(),
        servers: state.servers.iter().map(|server| server_state(conclusion, server)).collect(),
        is_quorum_lost: state.is_quorum_lost,
        blocked: state
            .blocked
            .iter()
            .map(|blocked| v1::BlockedAction {
                server: Some(wire_id(&blocked.server)),
                action: blocked.action.as_str().to_owned(),
                reason: blocked.reason.as_str().to_owned(),
                message: blocked.message(&name(conclusion, &blocked.server)),
                blocked_for_ms: millis(state.at.since(blocked.since)),
            })
            .collect(),
        configuration_index: state.configuration_index.0,
        term: state.term.0,
        voter_raft_ids: raft_ids(&state.voters),
        optimistic_failure_tolerance: count(state.optimistic_failure_tolerance),
        redundancy_zones: state.zones.iter().map(|(name, found)| (name.clone(), zone(found))).collect(),
        // Whoever asked for no migration hears nothing of one.
        upgrade: (!conclusion.settings.upgrade_version_tag.is_empty()).then(|| upgrade(&state.upgrade)),
        is_reconciling: conclusion.is_reconciling,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn raft_ids(ids: &[ServerId]) -> Vec<String> {
    ids.iter().map(|id| id.raft_id.to_string()).collect()
}

fn zone(zone: &ZoneState) -> v1::RedundancyZone {
    v1::RedundancyZone {
        servers: raft_ids(&zone.servers),
        voters: raft_ids(&zone.voters),
        failure_tolerance: count(zone.failure_tolerance),
    }
}

fn upgrade(upgrade: &UpgradeState) -> v1::UpgradeState {
    let zone = |(target, other): &(VersionServers, VersionServers)| v1::ZoneVersions {
        target_version_voters: raft_ids(&target.voters),
        target_version_non_voters: raft_ids(&target.non_voters),
        other_version_voters: raft_ids(&other.voters),
        other_version_non_voters: raft_ids(&other.non_voters),
    };
    v1::UpgradeState {
        status: upgrade.status.as_str().to_owned(),
        target_version: upgrade.target_version.clone().unwrap_or_default(),
        target_version_voters: raft_ids(&upgrade.target.voters),
        target_version_non_voters: raft_ids(&upgrade.target.non_voters),
        target_version_read_replicas: raft_ids(&upgrade.target.read_replicas),
        other_version_voters: raft_ids(&upgrade.other.voters),
        other_version_non_voters: raft_ids(&upgrade.other.non_voters),
        other_version_read_replicas: raft_ids(&upgrade.other.read_replicas),
        redundancy_zones: upgrade
            .zones
            .iter()
            .map(|(name, versions)| (name.clone(), zone(versions)))
            .collect(),
    }
}

/// What people call a server: its Pod, if the operator said.
pub(super) fn name(conclusion: &Conclusion, id: &ServerId) -> String {
    let fact = conclusion.facts.of(id).filter(|fact| !fact.name.is_empty());
    fact.map_or_else(|| id.raft_id.to_string(), |fact| fact.name.clone())
}

fn server_state(conclusion: &Conclusion, server: &ServerState) -> v1::ServerState {
    let state = &conclusion.state;
    let leader = state.servers.iter().find(|server| server.role == ServerRole::Leader);
    let leader_last = leader.map_or(0, |leader| leader.stats.last.index.0);
    let heard = conclusion.reports.get(&server.id).filter(|report| report.received.is_some());
    let suffrage = if server.role.has_vote() { v1::Suffrage::Voter } else { v1::Suffrage::NonVoter };
    let vote_in = state.blocked.iter().find(|blocked| blocked.server == server.id).and_then(|blocked| {
        match blocked.reason {
            BlockedReason::Stabilizing { missing, .. } => Some(missing),
            _ => None,
        }
    });
    v1::ServerState {
        server: Some(v1::Server {
            id: Some(wire_id(&server.id)),
            address: server.address.to_string(),
            suffrage: suffrage.into(),
            intent: Some(wire_intent(&server.intent)),
        }),
        is_leader: server.role == ServerRole::Leader,
        is_healthy: server.health.is_healthy,
        reason: server.health.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
        healthy_for_ms: server.health.healthy_for(state.at).map(millis),
        vote_in_ms: vote_in.map(millis),
        last_contact_ms: server.stats.last_contact.map(millis),
        last_index: server.stats.last.index.0,
        last_term: server.stats.last.term.0,
        trailing: leader_last.saturating_sub(server.stats.last.index.0),
        is_dead: server.is_dead,
        snapshot: server.stats.snapshot.map(|snapshot| v1::SnapshotProgress {
            bytes_sent: snapshot.sent_bytes,
            bytes_total: snapshot.total_bytes,
        }),
        name: name(conclusion, &server.id),
        node_status: node_status(server.status).to_owned(),
        node_type: server.node_type.as_str().to_owned(),
        stable_since_ms: wall_ms(conclusion.wall, state.at, server.health.stable_since),
        bad_sample: server.health.sample.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        version: server.build.clone().unwrap_or_default(),
        zone: server.zone.clone().unwrap_or_default(),
        upgrade_version: server.upgrade_version.clone().unwrap_or_default(),
        applied_index: heard.map(|report| report.applied.0),
        report_age_ms: heard
            .and_then(|report| report.received)
            .map(|received| millis(state.at.since(received))),
    }
}

/// In Consul's words for what Serf knows.
fn node_status(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Alive => "alive",
        NodeStatus::Failed => "failed",
        NodeStatus::Left => "left",
        NodeStatus::Unknown => "unknown",
    }
}

/// When `then` was, if it was `wall` at `now`. For people: nothing is decided by it.
fn wall_ms(wall: SystemTime, now: Now, then: Now) -> u64 {
    let moment = wall.checked_sub(now.since(then)).unwrap_or(UNIX_EPOCH);
    millis(moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_this_process_is_told_by_the_wall_clock() {
        let at = |seconds| Now(Duration::from_secs(seconds));
        let wall = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(wall_ms(wall, at(100), at(90)), 990_000);
        assert_eq!(wall_ms(wall, at(100), at(100)), 1_000_000);
        assert_eq!(wall_ms(UNIX_EPOCH, at(100), at(90)), 0, "a clock that was never set");
    }
}
