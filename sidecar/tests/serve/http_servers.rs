//! `/v1/operator/raft/*` and `/v1/sys/storage/raft/*`: who is a member, listed and changed over HTTP.

use std::sync::Arc;

use quorate_raft::Settings;
use quorate_sidecar::autopilot::DefaultSettings;
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use quorate_sidecar::driver::View;
use quorate_store::ArchiveReader;
use serde_json::json;

use crate::http_client::{Answer, get, put, send};
use crate::{PATIENCE, cluster, follower};

const CONSULS: &str = "/v1/operator/raft/configuration";
const VAULTS: &str = "/v1/sys/storage/raft/configuration";
const PEER: &str = "/v1/operator/raft/peer";
const TRANSFER: &str = "/v1/operator/raft/transfer-leader";
const REMOVE: &str = "/v1/sys/storage/raft/remove-peer";
const SNAPSHOT: &str = "/v1/sys/storage/raft/snapshot";

async fn asked(cluster: &Cluster, member: usize, method: &str, target: &str, body: &[u8]) -> Answer {
    let token = ("X-Consul-Token", cluster.admin_token());
    send(cluster.ports(member).http, method, target, &[token], body).await
}

/// The Raft IDs, as the leader has them, asked through this member.
async fn listed(cluster: &Cluster, member: usize) -> Vec<String> {
    let configuration = get(cluster.ports(member).http, CONSULS).await.json();
    let ids = configuration["Servers"].as_array().unwrap().iter();
    ids.map(|server| server["ID"].as_str().unwrap().to_owned()).collect()
}

/// Vector 82: every member lists the leader's configuration, in both shapes.
#[tokio::test]
async fn every_member_lists_the_leader_s_configuration() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    put(cluster.ports(leader).http, "/v1/kv/a", b"1").await;
    for member in 0..3 {
        let port = cluster.ports(member).http;
        let consul = get(port, CONSULS).await.json();
        let vault = get(port, VAULTS).await.json();
        assert_eq!(vault["request_id"].as_str().unwrap().len(), 36);
        let config = &vault["data"]["config"];
        assert_eq!((&config["index"], consul["Index"].as_u64().unwrap() > 0), (&consul["Index"], true));
        let (servers, theirs) =
            (consul["Servers"].as_array().unwrap(), config["servers"].as_array().unwrap());
        assert_eq!((servers.len(), theirs.len()), (3, 3));
        for (number, (server, other)) in servers.iter().zip(theirs).enumerate() {
            let id = format!("dev-{number}");
            let address = format!("127.0.0.1:{}", cluster.ports(number).peer);
            // Only the leader knows how far the others are, so it was asked.
            let last = server["LastIndex"].as_u64().unwrap();
            assert!(last > 0, "asked of member {member}: {server}");
            let leads = number == leader;
            let expected = json!({
                "ID": id, "Node": id, "Address": address, "Leader": leads, "Voter": true, "ProtocolVersion": "3",
                "LastIndex": last
            });
            assert_eq!(*server, expected);
            let expected = json!({
                "node_id": id, "address": address, "leader": leads, "protocol_version": "3", "voter": true
            });
            assert_eq!(*other, expected);
        }
        assert_eq!(get(port, &format!("{CONSULS}?stale")).await.json()["Index"], consul["Index"]);
    }
    cluster.stop().await;
}

/// Vector 82, K23, K13: through a member that does not lead; nobody without the token, one server at a time, and never one
/// that the others need.
#[tokio::test]
async fn a_server_is_removed_as_consul_s_clients_do_it() {
    let (mut cluster, _directory) = cluster(4).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let others: Vec<usize> = (0..4).filter(|member| *member != leader).collect();
    let asked_of = others[0];
    let before = get(cluster.ports(asked_of).http, CONSULS).await.json()["Index"].clone();
    let by_id = |member: usize| format!("{PEER}?id=dev-{member}");
    for headers in [vec![], vec![("X-Consul-Token", "guess")]] {
        let target = by_id(others[2]);
        let answer = send(cluster.ports(asked_of).http, "DELETE", &target, &headers, b"").await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().starts_with("Permission denied: "), "{}", answer.text());
        assert!(answer.text().contains("send the admin token; nothing was changed"), "{}", answer.text());
    }
    for (query, status, text) in [
        ("", 400, "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"),
        ("?id=dev-1&address=127.0.0.1:1", 400, "Must specify only one of ?id or ?address"),
        ("?id=nope", 500, "id \"nope\" was not found in the Raft configuration"),
        ("?id=", 500, "id \"\" was not found in the Raft configuration"),
        ("?address=nope", 500, "address \"nope\" was not found in the Raft configuration"),
    ] {
        for member in [leader, asked_of] {
            let answer = asked(&cluster, member, "DELETE", &format!("{PEER}{query}"), b"").await;
            assert_eq!((answer.status, answer.text()), (status, text), "{query}");
        }
    }
    assert_eq!(
        get(cluster.ports(asked_of).http, CONSULS).await.json()["Index"],
        before,
        "nothing was changed"
    );

    let address = format!("{PEER}?address=127.0.0.1:{}", cluster.ports(others[2]).peer);
    let answer = asked(&cluster, asked_of, "DELETE", &address, b"").await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    let left = listed(&cluster, asked_of).await;
    assert!(left.len() == 3 && !left.contains(&format!("dev-{}", others[2])), "{left:?}");
    // The same again finds nobody: it is out.
    assert_eq!(asked(&cluster, asked_of, "DELETE", &address, b"").await.status, 500);

    // K13: of three one is down; without another one a write would wait for it.
    let down = cluster.handle(others[1]).view().identity.server.clone();
    cluster.abort_member(others[1]).await;
    let is_silent = |view: &Arc<View>| {
        let silence = view.status.peers.iter().find(|peer| peer.id == down).and_then(|peer| peer.last_ack);
        silence.is_some_and(|silence| silence > Settings::default().election_timeout)
    };
    let mut view = cluster.handle(leader).watch_view();
    tokio::time::timeout(PATIENCE, view.wait_for(is_silent)).await.unwrap().unwrap();
    let answer = asked(&cluster, leader, "DELETE", &by_id(asked_of), b"").await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    for words in ["this change would risk the quorum", "nothing was changed"] {
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    assert_eq!(listed(&cluster, leader).await, left);
    // The one that is down may go.
    assert_eq!(asked(&cluster, asked_of, "DELETE", &by_id(others[1]), b"").await.status, 200);
    assert_eq!(listed(&cluster, leader).await.len(), 2);
    cluster.stop().await;
}

/// Vector 82: leadership goes to whom it names, from whatever member it is asked, or to any other; else nothing moves.
#[tokio::test]
async fn leadership_is_handed_over_as_consul_s_clients_do_it() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let denied = send(cluster.ports(other).http, "POST", TRANSFER, &[], b"").await;
    assert_eq!(denied.status, 403);
    assert!(denied.text().contains("Permission denied"), "{}", denied.text());
    for (query, text) in [
        ("?id=nope", "nope is not another voter of this cluster"),
        ("?id=no%20name", "id \"no name\" was not found in the Raft configuration"),
    ] {
        let answer = asked(&cluster, other, "POST", &format!("{TRANSFER}{query}"), b"").await;
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains(text), "{}", answer.text());
    }
    assert_eq!(cluster.leader(PATIENCE).await.unwrap(), leader);
    let answer = asked(&cluster, other, "POST", &format!("{TRANSFER}?id=dev-{third}"), b"").await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"Success":true}"#));
    assert_eq!(cluster.leader(PATIENCE).await.unwrap(), third);
    let answer = asked(&cluster, third, "PUT", TRANSFER, b"").await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"Success":true}"#));
    assert_ne!(cluster.leader(PATIENCE).await.unwrap(), third);
    cluster.stop().await;
}

/// api.md, K13: the removal of the leader itself moves leadership, and the one that is out says so.
#[tokio::test]
async fn the_leader_may_be_removed_and_the_others_go_on() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let other = (leader + 1) % 3;
    let body = json!({ "server_id": format!("dev-{leader}") }).to_string();
    let answer = asked(&cluster, other, "POST", REMOVE, body.as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (204, ""));
    let left = listed(&cluster, other).await;
    assert!(left.len() == 2 && !left.contains(&format!("dev-{leader}")), "{left:?}");
    assert_eq!(put(cluster.ports(other).http, "/v1/kv/a", b"after").await.text(), "true");
    cluster.stop().await;
}

/// autopilot.md §3, api.md: Vault's spelling and errors; an unknown server is no success.
#[tokio::test]
async fn a_server_is_removed_as_vault_s_clients_do_it() {
    let (mut cluster, _directory) = cluster(3).await;
    let member = follower(&cluster).await;
    let port = cluster.ports(member).http;
    let error = |answer: &Answer| answer.json()["errors"][0].as_str().unwrap().to_owned();
    let body = json!({ "server_id": format!("dev-{member}") }).to_string();
    let denied = send(port, "POST", REMOVE, &[("X-Vault-Token", "guess")], body.as_bytes()).await;
    assert_eq!(denied.status, 403);
    assert!(error(&denied).starts_with("permission denied: "), "{}", denied.text());
    for (body, text) in [
        (r#"{"server_id":""}"#, "no server id provided"),
        ("{}", "no server id provided"),
        ("{", "error parsing JSON"),
        (r#"{"server_id":"nope"}"#, "id \"nope\" was not found in the Raft configuration"),
    ] {
        let answer = asked(&cluster, member, "POST", REMOVE, body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(error(&answer).starts_with(text), "{}", answer.text());
    }
    assert_eq!(listed(&cluster, member).await.len(), 3);
    let token = [("X-Vault-Token", cluster.admin_token())];
    let answer = send(port, "PUT", REMOVE, &token, body.as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (204, ""));
    let leader = cluster.leader(PATIENCE).await.unwrap();
    assert!(!listed(&cluster, leader).await.contains(&format!("dev-{member}")));
    cluster.stop().await;
}

/// K17, api.md: the archive that Vault's clients save and restore is the one of `/v1/snapshot`.
#[tokio::test]
async fn an_archive_is_saved_and_restored_as_vault_s_clients_do_it() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"kept").await;
    let saved = get(port, SNAPSHOT).await;
    assert_eq!((saved.status, saved.header("content-type")), (200, Some("application/gzip")));
    assert_eq!(saved.header("content-disposition"), Some("attachment"));
    let mut reader = ArchiveReader::open(saved.body.as_slice()).unwrap();
    while reader.read(&mut [0; 4_096]).unwrap() > 0 {}
    reader.finish().unwrap();
    put(port, "/v1/kv/a", b"changed").await;
    let denied = send(port, "POST", SNAPSHOT, &[], &saved.body).await;
    assert_eq!(denied.status, 403);
    let bad = asked(&cluster, 0, "POST", SNAPSHOT, b"no archive").await;
    assert_eq!(bad.status, 400);
    let why = bad.json()["errors"][0].as_str().unwrap().to_owned();
    assert!(why.contains("no archive of quorate"), "{why}");
    assert_eq!(get(port, "/v1/kv/a?raw").await.text(), "changed");
    let token = [("X-Vault-Token", cluster.admin_token())];
    let answer = send(port, "POST", SNAPSHOT, &token, &saved.body).await;
    assert_eq!((answer.status, answer.text()), (204, ""));
    assert_eq!(get(port, "/v1/kv/a?raw").await.text(), "kept");
    cluster.stop().await;
}

/// K15, K23: on Kubernetes members come and go by the operator; whoever else tries is told how, the admin token or not.
/// Leadership may still be moved by hand.
#[tokio::test]
async fn on_kubernetes_members_are_the_operator_s() {
    let directory = tempfile::tempdir().unwrap();
    let options = ClusterOptions { defaults: DefaultSettings::Kubernetes, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(2, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let other = format!("dev-{}", 1 - leader);
    let body = json!({ "server_id": other }).to_string();
    for (method, target, body) in
        [("DELETE", format!("{PEER}?id={other}"), ""), ("POST", REMOVE.to_owned(), body.as_str())]
    {
        let answer = asked(&cluster, leader, method, &target, body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        let text = answer.text();
        assert!(text.contains("change spec.replicas of the RaftCluster"), "{text}");
        assert!(text.contains("nothing was changed"), "{text}");
    }
    assert_eq!(listed(&cluster, leader).await.len(), 2);
    let answer = asked(&cluster, leader, "POST", &format!("{TRANSFER}?id={other}"), b"").await;
    assert_eq!(answer.json(), json!({ "Success": true }));
    assert_eq!(cluster.leader(PATIENCE).await.unwrap(), 1 - leader);
    cluster.stop().await;
}
