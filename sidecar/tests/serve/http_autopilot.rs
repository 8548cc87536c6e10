//! Autopilot over HTTP: Consul's view and Vault's of one state and one set of settings.

use quorate_api::v1;
use quorate_api::v1::autopilot_client::AutopilotClient;
use quorate_sidecar::dev::Cluster;
use serde_json::{Value, json};
use tonic::Request;

use crate::http_client::{Answer, get, send};
use crate::{PATIENCE, cluster, follower};

const CONSULS: &str = "/v1/operator/autopilot/configuration";
const VAULTS: &str = "/v1/sys/storage/raft/autopilot/configuration";

async fn write(cluster: &Cluster, member: usize, method: &str, target: &str, body: &str) -> Answer {
    let token = ("X-Consul-Token", cluster.admin_token());
    send(cluster.ports(member).http, method, target, &[token], body.as_bytes()).await
}

/// Vector 83 and A20, through a member that does not lead: partial, compare-and-set, and whole or not at all.
#[tokio::test]
async fn settings_are_read_and_changed_as_consul_s_clients_do_it() {
    let (mut cluster, _directory) = cluster(3).await;
    let member = follower(&cluster).await;
    let port = cluster.ports(member).http;
    let first = get(port, CONSULS).await.json();
    assert_eq!(
        first,
        json!({
            "CleanupDeadServers": true, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250, "MinQuorum": 3,
            "ServerStabilizationTime": "10s", "RedundancyZoneTag": "", "DisableUpgradeMigration": false,
            "UpgradeVersionTag": "", "CreateIndex": 0, "ModifyIndex": 0
        })
    );
    for headers in [vec![], vec![("X-Consul-Token", "guess")], vec![("Authorization", "Bearer guess")]] {
        let answer = send(port, "PUT", CONSULS, &headers, br#"{"CleanupDeadServers":false}"#).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("Permission denied"), "{}", answer.text());
    }
    // What its command line does without a flag: read all, write all.
    let answer = write(&cluster, member, "PUT", CONSULS, &first.to_string()).await;
    assert_eq!((answer.status, answer.text()), (200, "true"));
    assert_eq!(get(port, CONSULS).await.json(), first, "K27: a computed value is nobody's");

    let body =
        r#"{"CleanupDeadServers":false,"LastContactThreshold":null,"MaxTrailingLogs":0,"MinQuorum":0}"#;
    assert_eq!(write(&cluster, member, "PUT", CONSULS, body).await.text(), "true");
    let body = r#"{"LastContactThreshold":"1.5s","ServerStabilizationTime":20000000000}"#;
    assert_eq!(write(&cluster, member, "PUT", CONSULS, body).await.text(), "true");
    let second = get(port, CONSULS).await.json();
    let (created, modified) =
        (second["CreateIndex"].as_u64().unwrap(), second["ModifyIndex"].as_u64().unwrap());
    assert!(0 < created && created < modified);
    let expected = json!({
        "CleanupDeadServers": false, "LastContactThreshold": "1.5s", "MaxTrailingLogs": 250, "MinQuorum": 3,
        "ServerStabilizationTime": "20s", "RedundancyZoneTag": "", "DisableUpgradeMigration": false,
        "UpgradeVersionTag": "", "CreateIndex": created, "ModifyIndex": modified
    });
    assert_eq!(second, expected, "what was not named is kept");

    for (query, status, text) in [
        ("?cas=1", 200, "false"),
        ("?cas=zz", 400, "Error parsing cas value: strconv.ParseUint"),
        ("?cas=", 400, "Error parsing cas value"),
    ] {
        let answer =
            write(&cluster, member, "PUT", &format!("{CONSULS}{query}"), r#"{"MaxTrailingLogs":9}"#).await;
        assert_eq!(answer.status, status);
        assert!(answer.text().starts_with(text), "{}", answer.text());
    }
    let long = json!({ "RedundancyZoneTag": "z".repeat(129) }).to_string();
    for (body, field) in [
        (r#"{"CleanupDeadServers":true,"MinQuorum":2}"#, "MinQuorum"),
        (r#"{"LastContactThreshold":"0s","MaxTrailingLogs":9}"#, "LastContactThreshold"),
        (r#"{"LastContactThreshold":"25h"}"#, "LastContactThreshold"),
        (r#"{"MaxTrailingLogs":"9"}"#, "MaxTrailingLogs"),
        ("{", "EOF"),
        (long.as_str(), "redundancy_zone_tag is 129 bytes"),
    ] {
        let answer = write(&cluster, member, "PUT", CONSULS, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert!(answer.text().contains(field), "{body}: {}", answer.text());
    }
    assert_eq!(get(port, CONSULS).await.json(), expected, "A20: unchanged");
    let target = format!("{CONSULS}?cas={modified}");
    assert_eq!(write(&cluster, member, "PUT", &target, r#"{"MaxTrailingLogs":9}"#).await.text(), "true");
    assert_eq!(get(port, &format!("{CONSULS}?stale")).await.json()["LastContactThreshold"], "1.5s");
    assert_eq!(get(port, CONSULS).await.json()["MaxTrailingLogs"], 9);
    cluster.stop().await;
}

/// autopilot.md §3: the vectors of Vault's own test, in its envelope and with its errors.
#[tokio::test]
async fn settings_are_read_and_changed_as_vault_s_clients_do_it() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let data = async || {
        let answer = get(port, VAULTS).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    };
    let settings = |cleanup: bool, dead: &str, contact: &str, trailing: u64, quorum: u64, stable: &str| {
        json!({
            "cleanup_dead_servers": cleanup, "dead_server_last_contact_threshold": dead,
            "disable_upgrade_migration": false, "last_contact_threshold": contact, "max_trailing_logs": trailing,
            "min_quorum": quorum, "server_stabilization_time": stable
        })
    };
    assert_eq!(data().await, settings(true, "24h0m0s", "200ms", 250, 1, "10s"));
    let body = r#"{"cleanup_dead_servers":true,"dead_server_last_contact_threshold":"100h","last_contact_threshold":"100s",
        "max_trailing_logs":100,"min_quorum":100,"server_stabilization_time":100}"#;
    let answer = write(&cluster, 0, "POST", VAULTS, body).await;
    assert_eq!((answer.status, answer.text()), (204, ""));
    assert_eq!(data().await, settings(true, "100h0m0s", "1m40s", 100, 100, "1m40s"));
    let body =
        r#"{"dead_server_last_contact_threshold":"50h","min_quorum":50,"server_stabilization_time":"50s"}"#;
    let vaults_token = ("X-Vault-Token", cluster.admin_token());
    assert_eq!(send(port, "PUT", VAULTS, &[vaults_token], body.as_bytes()).await.status, 204);
    let expected = settings(true, "50h0m0s", "1m40s", 100, 50, "50s");
    assert_eq!(data().await, expected);
    for (body, words) in [
        (r#"{"min_quorum":2}"#, "min_quorum must be set when cleanup_dead_servers is set"),
        (
            r#"{"cleanup_dead_servers":true,"dead_server_last_contact_threshold":"5s"}"#,
            "should not be set to less than 1m",
        ),
        (r#"{"last_contact_threshold":"soon"}"#, "last_contact_threshold"),
        ("", "error parsing JSON"),
    ] {
        let answer = write(&cluster, 0, "POST", VAULTS, body).await;
        let errors = answer.json()["errors"].clone();
        assert_eq!(answer.status, 400, "{errors}");
        assert!(errors[0].as_str().unwrap().contains(words), "{errors}");
    }
    let denied = send(port, "POST", VAULTS, &[], br#"{"min_quorum":9}"#).await;
    assert_eq!(denied.status, 403);
    assert!(
        denied.json()["errors"][0].as_str().unwrap().starts_with("permission denied"),
        "{}",
        denied.text()
    );
    assert_eq!(data().await, expected, "A20: unchanged");
    cluster.stop().await;
}

/// A9, A21: every member gives the leader's state, in both spellings and over gRPC the same one.
#[tokio::test]
async fn every_member_gives_the_leader_s_state() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    for member in 0..3 {
        let port = cluster.ports(member).http;
        // The last vote may be younger than autopilot's last round.
        let is_well = |json: &Value| json["Healthy"] == true && json["FailureTolerance"] == 1;
        until(port, "/v1/operator/autopilot/health", is_well).await;
        let consul = until(port, "/v1/operator/autopilot/state", is_well).await;
        let vault = get(port, "/v1/sys/storage/raft/autopilot/state").await.json();
        let grpc = format!("http://127.0.0.1:{}", cluster.ports(member).grpc);
        let mut client = AutopilotClient::connect(grpc).await.unwrap();
        let state = client.get_state(v1::GetAutopilotStateRequest {}).await.unwrap().into_inner();
        assert_eq!(state.leader_raft_id, format!("dev-{leader}"));
        assert_eq!((state.voter_raft_ids.len(), state.term > 0, state.is_reconciling), (3, true, true));
        assert_eq!(consul["Leader"], state.leader_raft_id);
        assert_eq!(consul["Voters"], json!(state.voter_raft_ids));
        assert_eq!(
            (&consul["FailureTolerance"], &consul["OptimisticFailureTolerance"]),
            (&1.into(), &1.into())
        );
        assert_eq!(
            (&vault["data"]["leader"], &vault["data"]["voters"]),
            (&consul["Leader"], &consul["Voters"])
        );
        assert_eq!(vault["data"]["failure_tolerance"], 1);
        assert_eq!(vault["request_id"].as_str().unwrap().len(), 36);
        for (id, server) in consul["Servers"].as_object().unwrap() {
            let is_leader = *id == state.leader_raft_id;
            assert_eq!(server["Status"], if is_leader { "leader" } else { "voter" }, "{server}");
            assert_eq!(server["NodeType"], "voter");
            assert_eq!(server["StableSince"], vault["data"]["servers"][id]["stable_since"]);
            assert_eq!(server.as_object().unwrap().len(), 14, "the shape Consul's clients decode: {server}");
        }
    }
    cluster.stop().await;
}

/// Asks until the answer is as wanted.
async fn until(port: u16, target: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let asked = async {
        loop {
            let answer = get(port, target).await.json();
            if is_wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("autopilot judges every second")
}

/// api.md: the leader's rounds as a stream, which ends with a word when leadership does; a follower names the leader.
#[tokio::test]
async fn rounds_are_watched_until_leadership_ends() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let connect = async |member: usize| {
        AutopilotClient::connect(format!("http://127.0.0.1:{}", cluster.ports(member).grpc)).await.unwrap()
    };
    let other = follower(&cluster).await;
    let status = connect(other).await.watch_state(v1::WatchAutopilotStateRequest {}).await.unwrap_err();
    assert!(status.message().contains("known to the leader only"), "{status}");
    let mut watching = connect(leader).await;
    let request = Request::new(v1::WatchAutopilotStateRequest {});
    let mut states = watching.watch_state(request).await.unwrap().into_inner();
    for _ in 0..2 {
        let state = tokio::time::timeout(PATIENCE, states.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(state.leader_raft_id, format!("dev-{leader}"));
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    cluster.handle(leader).transfer_leadership(None, deadline).await.unwrap();
    let ended = async {
        loop {
            match states.message().await {
                Ok(Some(state)) => assert_eq!(state.leader_raft_id, format!("dev-{leader}")),
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    cluster.stop().await;
}
