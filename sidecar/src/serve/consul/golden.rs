//! States whose JSON is known, for tests of both views.

use quorate_api::v1;

/// A server as a state has it.
fn server(raft_id: &str, name: &str, has_vote: bool) -> v1::ServerState {
    let suffrage = if has_vote { v1::Suffrage::Voter } else { v1::Suffrage::NonVoter };
    v1::ServerState {
        server: Some(v1::Server {
            id: Some(v1::ServerId { raft_id: raft_id.to_owned(), incarnation: "01".to_owned() }),
            address: format!("{name}:7400"),
            suffrage: suffrage.into(),
            intent: None,
        }),
        name: name.to_owned(),
        node_type: "voter".to_owned(),
        node_status: "alive".to_owned(),
        is_healthy: true,
        // 2020-11-19T12:00:00Z
        stable_since_ms: 1_605_787_200_000,
        last_contact_ms: Some(0),
        ..v1::ServerState::default()
    }
}

/// A leader, and a voter that was never heard.
pub(super) fn two_voters() -> v1::AutopilotState {
    let leader = v1::ServerState {
        is_leader: true,
        version: "0.1.0".to_owned(),
        last_index: 1_024,
        last_term: 3,
        ..server("db-0-a", "db-0", true)
    };
    let silent = v1::ServerState {
        is_healthy: false,
        node_status: "unknown".to_owned(),
        stable_since_ms: 1_605_787_209_999,
        last_contact_ms: None,
        ..server("db-1-b", "db-1", true)
    };
    v1::AutopilotState {
        leader_raft_id: "db-0-a".to_owned(),
        voter_raft_ids: vec!["db-0-a".to_owned(), "db-1-b".to_owned()],
        servers: vec![leader, silent],
        ..v1::AutopilotState::default()
    }
}

/// Golden A of autopilot.md §4: three zones of an old voter, an old standby and two new standbys each; an old read replica.
pub(super) fn upgrade_of_three_zones() -> v1::AutopilotState {
    let mut state = v1::AutopilotState {
        is_healthy: true,
        failure_tolerance: 1,
        optimistic_failure_tolerance: 10,
        leader_raft_id: "old-v-a".to_owned(),
        ..v1::AutopilotState::default()
    };
    let mut upgrade = v1::UpgradeState {
        status: "promoting".to_owned(),
        target_version: "2.0.0".to_owned(),
        other_version_read_replicas: vec!["old-r".to_owned()],
        ..v1::UpgradeState::default()
    };
    for zone in ["a", "b", "c"] {
        let names = ["old-v", "old-s", "new-1", "new-2"].map(|name| format!("{name}-{zone}"));
        for (number, name) in names.iter().enumerate() {
            let is_old = number < 2;
            state.servers.push(v1::ServerState {
                is_leader: name == "old-v-a",
                zone: zone.to_owned(),
                upgrade_version: if is_old { "1.0.0".to_owned() } else { "2.0.0".to_owned() },
                node_type: if number == 0 { "zone-voter".to_owned() } else { "zone-standby".to_owned() },
                ..server(name, name, number == 0)
            });
        }
        let [voter, standby, new @ ..] = names.clone();
        state.voter_raft_ids.push(voter.clone());
        let servers =
            v1::RedundancyZone { servers: names.to_vec(), voters: vec![voter.clone()], failure_tolerance: 3 };
        state.redundancy_zones.insert(zone.to_owned(), servers);
        upgrade.other_version_voters.push(voter.clone());
        upgrade.other_version_non_voters.push(standby.clone());
        upgrade.target_version_non_voters.extend(new.clone());
        let versions = v1::ZoneVersions {
            target_version_voters: Vec::new(),
            target_version_non_voters: new.to_vec(),
            other_version_voters: vec![voter],
            other_version_non_voters: vec![standby],
        };
        upgrade.redundancy_zones.insert(zone.to_owned(), versions);
    }
    let replica = v1::ServerState {
        node_type: "read-replica".to_owned(),
        upgrade_version: "1.0.0".to_owned(),
        ..server("old-r", "old-r", false)
    };
    state.servers.push(replica);
    v1::AutopilotState { upgrade: Some(upgrade), ..state }
}

/// Golden B of autopilot.md §4: in zone a an old voter, an old and a new non-voter, in zone b an old voter and an old
/// non-voter. The upgrade waits for a second new server.
pub(super) fn upgrade_that_waits() -> v1::AutopilotState {
    let zones = [("a", vec!["old-v-a", "old-n-a", "new-n-a"]), ("b", vec!["old-v-b", "old-n-b"])];
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut state = v1::AutopilotState {
        is_healthy: true,
        optimistic_failure_tolerance: 3,
        leader_raft_id: "old-v-a".to_owned(),
        voter_raft_ids: owned(&["old-v-a", "old-v-b"]),
        upgrade: Some(v1::UpgradeState {
            status: "await-new-voters".to_owned(),
            target_version: "1.17.5".to_owned(),
            target_version_non_voters: owned(&["new-n-a"]),
            other_version_voters: owned(&["old-v-a", "old-v-b"]),
            other_version_non_voters: owned(&["old-n-a", "old-n-b"]),
            ..v1::UpgradeState::default()
        }),
        ..v1::AutopilotState::default()
    };
    for (zone, names) in zones {
        state.servers.extend(names.iter().map(|name| v1::ServerState {
            zone: zone.to_owned(),
            is_leader: *name == "old-v-a",
            ..server(name, name, name.starts_with("old-v"))
        }));
        let servers = v1::RedundancyZone {
            voters: owned(&names[..1]),
            failure_tolerance: u32::try_from(names.len() - 1).unwrap(),
            servers: owned(&names),
        };
        state.redundancy_zones.insert(zone.to_owned(), servers);
    }
    state
}
