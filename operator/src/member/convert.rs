//! From the wire to the planner's words, and back.

use std::time::Duration;

use quorate_api::v1;
use quorate_plan::raft_view::{AutopilotSettings, Intent, MemberAnswer, RaftView, ServerView};

pub(super) fn answer(status: v1::StatusResponse) -> MemberAnswer {
    let id = status.id.unwrap_or_default();
    let is_empty = status.member_state == v1::MemberState::Empty as i32;
    MemberAnswer {
        raft_id: id.raft_id,
        incarnation: id.incarnation,
        cluster_id: (!is_empty && !status.cluster_id.is_empty()).then_some(status.cluster_id),
        is_removed: status.member_state == v1::MemberState::Removed as i32,
        leader: (!status.leader_raft_id.is_empty()).then_some(status.leader_raft_id),
        term: status.term,
        recovery_epoch: status.recovery_epoch,
        voters: status.voter_raft_ids,
        last: (status.last_term, status.last_index),
        versions: (status.version_min, status.version_max),
        trouble: status.publishing_error,
        credentials: status.credentials,
    }
}

/// `None` if the answer lacks what a leader's answer must have.
pub(super) fn view(view: v1::ViewResponse, settings: &v1::AutopilotConfiguration) -> Option<RaftView> {
    let latest = view.latest?;
    let autopilot = view.autopilot?;
    let committed = view.committed.map(|configuration| raft_ids(&configuration)).unwrap_or_default();
    let servers = latest.servers.into_iter().filter_map(|server| {
        let id = server.id.clone()?;
        let state = autopilot
            .servers
            .iter()
            .find(|state| state.server.as_ref().and_then(|server| server.id.as_ref()) == Some(&id));
        let held = autopilot
            .blocked
            .iter()
            .find(|blocked| blocked.action == "Promote" && blocked.server.as_ref() == Some(&id));
        Some(server_view(server, id, state, held))
    });
    let servers: Vec<ServerView> = servers.collect();
    Some(RaftView {
        failure_tolerance: tolerance(&servers),
        leader: view.leader?.raft_id,
        recovery_epoch: view.recovery_epoch,
        term: view.term,
        configuration_index: latest.index,
        // A leader that has not committed in its term takes no change either.
        change_in_flight: view.is_change_in_flight || !view.is_ready,
        committed,
        servers,
        settings: AutopilotSettings {
            last_contact_threshold: Duration::from_millis(settings.last_contact_threshold_ms),
            dead_server_last_contact_threshold: Duration::from_millis(
                settings.dead_server_last_contact_threshold_ms,
            ),
            max_trailing_logs: settings.max_trailing_logs,
            server_stabilization_time: Duration::from_millis(settings.server_stabilization_time_ms),
            min_quorum: settings.min_quorum,
            redundancy_zone_tag: settings.redundancy_zone_tag.clone(),
            upgrade_version_tag: settings.upgrade_version_tag.clone(),
            disable_upgrade_migration: settings.disable_upgrade_migration,
        },
        short_of_space: view.is_space_low,
    })
}

/// Healthy voters less the quorum, floored at zero: autopilot's own formula, over the configuration of this answer.
/// Its number is a round older than a configuration that has just changed: it would say "tolerates none" of a third
/// voter's first second.
fn tolerance(servers: &[ServerView]) -> u32 {
    let voters = servers.iter().filter(|server| server.is_voter);
    let (all, healthy) =
        voters.fold((0, 0), |(all, healthy), server| (all + 1, healthy + u32::from(server.is_healthy)));
    if all == 0 { 0 } else { u32::saturating_sub(healthy, all / 2 + 1) }
}

fn raft_ids(configuration: &v1::Configuration) -> Vec<String> {
    configuration.servers.iter().filter_map(|server| Some(server.id.as_ref()?.raft_id.clone())).collect()
}

/// An upgrade holds the vote back: nothing is wrong with the server, and nothing is to be waited for on its account.
const HELD_BY_UPGRADE: [&str; 3] = ["AwaitNewVoters", "UpgradeFirst", "OlderVersion"];
/// It has not said what its vote depends on.
const HELD_BY_SILENCE: [&str; 2] = ["ZoneUnknown", "VersionUnknown"];

fn server_view(
    server: v1::Server,
    id: v1::ServerId,
    state: Option<&v1::ServerState>,
    held: Option<&v1::BlockedAction>,
) -> ServerView {
    // While a replacement is under way a vote in one half is a vote: whoever has it must not be taken down.
    let is_voter = match server.suffrage() {
        v1::Suffrage::Voter | v1::Suffrage::Incoming | v1::Suffrage::Outgoing => true,
        v1::Suffrage::NonVoter | v1::Suffrage::Unspecified => false,
    };
    let intent = server.intent.map(intent_from).unwrap_or_default();
    let is_held_by = |reasons: &[&str]| held.is_some_and(|held| reasons.contains(&held.reason.as_str()));
    let is_held = is_held_by(&HELD_BY_UPGRADE) || is_held_by(&HELD_BY_SILENCE);
    let unknown = || "autopilot has not looked at it yet".to_owned();
    ServerView {
        raft_id: id.raft_id,
        incarnation: id.incarnation,
        address: server.address,
        is_voter,
        intent,
        is_healthy: state.is_some_and(|state| state.is_healthy),
        unhealthy_because: state.map_or_else(unknown, |state| state.reason.clone()),
        is_dead: state.is_some_and(|state| state.is_dead),
        last_contact: state.and_then(|state| state.last_contact_ms).map(Duration::from_millis),
        match_index: state.map_or(0, |state| state.last_index),
        trailing: state.map_or(0, |state| state.trailing),
        snapshot_offset_bytes: state.and_then(|state| Some(state.snapshot.as_ref()?.bytes_sent)),
        healthy_for: state
            .and_then(|state| state.healthy_for_ms)
            .map(Duration::from_millis)
            .unwrap_or_default(),
        stands_by: !is_voter
            && (state.is_some_and(|state| state.node_type == "zone-standby") || is_held_by(&HELD_BY_UPGRADE)),
        vote_held_because: held.filter(|_| is_held).map(|held| held.message.clone()).unwrap_or_default(),
        is_volume_lost: false,
    }
}

fn intent_from(intent: v1::Intent) -> Intent {
    match intent.kind {
        Some(v1::intent::Kind::ReplacementFor(old)) => {
            Intent::ReplacementFor { raft_id: old.raft_id, incarnation: old.incarnation }
        }
        Some(v1::intent::Kind::ReadReplica(_)) => Intent::ReadReplica,
        Some(v1::intent::Kind::Voter(_)) | None => Intent::Voter,
    }
}

pub(super) fn intent_into(intent: &Intent) -> v1::Intent {
    let kind = match intent {
        Intent::Voter => v1::intent::Kind::Voter(v1::VoterIntent {}),
        Intent::ReplacementFor { raft_id, incarnation } => v1::intent::Kind::ReplacementFor(v1::ServerId {
            raft_id: raft_id.clone(),
            incarnation: incarnation.clone(),
        }),
        Intent::ReadReplica => v1::intent::Kind::ReadReplica(v1::ReadReplicaIntent {}),
    };
    v1::Intent { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(raft_id: &str) -> v1::ServerId {
        v1::ServerId { raft_id: raft_id.to_owned(), incarnation: "aa".to_owned() }
    }

    fn response() -> v1::ViewResponse {
        let server = v1::Server {
            id: Some(id("db-0-3f2a91c4")),
            suffrage: v1::Suffrage::Voter as i32,
            ..Default::default()
        };
        let configuration = v1::Configuration { index: 41, servers: vec![server.clone()] };
        let state = v1::ServerState {
            server: Some(server),
            is_healthy: true,
            healthy_for_ms: Some(1_500),
            ..Default::default()
        };
        v1::ViewResponse {
            leader: Some(id("db-0-3f2a91c4")),
            term: 7,
            latest: Some(configuration.clone()),
            committed: Some(configuration),
            is_ready: true,
            autopilot: Some(v1::AutopilotState { servers: vec![state], ..Default::default() }),
            ..Default::default()
        }
    }

    /// I3: what a step is decided on is the configuration's index and whether a change is under way.
    #[test]
    fn a_view_carries_the_index_and_health_of_the_latest_configuration() {
        let view = view(response(), &v1::AutopilotConfiguration::default()).unwrap();
        assert_eq!((view.configuration_index, view.term, view.change_in_flight), (41, 7, false));
        assert_eq!(view.committed, ["db-0-3f2a91c4"]);
        let server = &view.servers[0];
        assert!(server.is_voter && server.is_healthy);
        assert_eq!(server.healthy_for, Duration::from_millis(1_500));
    }

    /// Acceptance 36 of operator.md: (healthy voters - quorum), floored at 0, over all states of up to seven voters.
    #[test]
    fn the_tolerance_is_what_healthy_voters_leave_above_a_quorum() {
        for voters in 1..=7u32 {
            for healthy in 0..=voters {
                let server =
                    |n: u32| ServerView { is_voter: true, is_healthy: n < healthy, ..ServerView::default() };
                let mut servers: Vec<ServerView> = (0..voters).map(server).collect();
                servers.push(ServerView { is_healthy: true, ..ServerView::default() });
                let expected = i64::from(healthy) - i64::from(voters / 2 + 1);
                assert_eq!(i64::from(tolerance(&servers)), expected.max(0), "{healthy} of {voters}");
            }
        }
    }

    /// Who stands by is in its place; who only has not said its zone or version is still waited for, and says why
    /// (docs/decisions/0010).
    #[test]
    fn a_server_stands_by_in_its_zone_or_while_an_upgrade_holds_its_vote_back() {
        let seen = |node_type: &str, reason: &str| {
            let mut response = response();
            let state = response.autopilot.as_mut().unwrap();
            node_type.clone_into(&mut state.servers[0].node_type);
            state.blocked = vec![v1::BlockedAction {
                server: Some(id("db-0-3f2a91c4")),
                action: "Promote".to_owned(),
                reason: reason.to_owned(),
                message: "it waits".to_owned(),
                ..Default::default()
            }];
            let latest = response.latest.as_mut().unwrap();
            latest.servers[0].suffrage = v1::Suffrage::NonVoter as i32;
            let view = view(response, &v1::AutopilotConfiguration::default()).unwrap();
            (view.servers[0].stands_by, view.servers[0].vote_held_because.clone())
        };
        assert_eq!(seen("zone-standby", "Stabilizing"), (true, String::new()));
        assert_eq!(seen("voter", "Stabilizing"), (false, String::new()));
        for reason in ["AwaitNewVoters", "UpgradeFirst", "OlderVersion"] {
            assert_eq!(seen("voter", reason), (true, "it waits".to_owned()), "{reason}");
        }
        for reason in ["ZoneUnknown", "VersionUnknown"] {
            assert_eq!(seen("zone-voter", reason), (false, "it waits".to_owned()), "{reason}");
        }
    }

    /// K13: a leader that has not committed in its own term takes no change, so the planner must not plan one.
    #[test]
    fn a_leader_that_is_not_ready_counts_as_changing() {
        let settings = v1::AutopilotConfiguration::default();
        let not_ready = v1::ViewResponse { is_ready: false, ..response() };
        assert!(view(not_ready, &settings).unwrap().change_in_flight);
        let no_autopilot = v1::ViewResponse { autopilot: None, ..response() };
        assert_eq!(view(no_autopilot, &settings), None);
    }

    /// K2: an empty directory has no cluster ID, whatever cluster the process was started for.
    #[test]
    fn an_empty_directory_answers_without_a_cluster_id() {
        let status = |state: v1::MemberState| v1::StatusResponse {
            id: Some(id("db-0-3f2a91c4")),
            cluster_id: "5f".repeat(16),
            member_state: state as i32,
            ..Default::default()
        };
        assert_eq!(answer(status(v1::MemberState::Empty)).cluster_id, None);
        assert!(answer(status(v1::MemberState::Voter)).cluster_id.is_some());
        assert!(answer(status(v1::MemberState::Removed)).is_removed);
    }
}
