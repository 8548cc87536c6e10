//! Without a quorum: what still works, what does not, and how it says so (vector 78, P6).

use std::time::Duration;

use quorate_client::{Client, Consistency, Error};

use crate::http_client::{get, put};
use crate::{PATIENCE, cluster};

/// Two of three are gone: stale reads are answered and marked, all else is `No cluster leader` or an honest error.
#[tokio::test]
async fn without_a_quorum_only_stale_reads_are_answered() {
    let (mut cluster, _directory) = cluster(3).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"x").await;
    cluster.abort_member(1).await;
    cluster.abort_member(2).await;
    cluster.wait_until("no leader is known", PATIENCE, |view| view.status.leader.is_none()).await.unwrap();

    let stale = get(port, "/v1/kv/a?stale").await;
    assert_eq!(stale.status, 200);
    assert_eq!(stale.header("x-consul-knownleader"), Some("false"));
    let (written, read) = tokio::join!(put(port, "/v1/kv/a", b"y"), get(port, "/v1/kv/a?consistent"));
    for answer in [written, read] {
        assert_eq!((answer.status, answer.text()), (500, "No cluster leader"));
    }
    let leader = get(port, "/v1/status/leader").await;
    assert_eq!((leader.status, leader.text()), (200, "\"\""));
    assert_eq!(get(port, "/v1/operator/autopilot/health").await.status, 500);
    // Consul's way to look at a cluster in this state.
    let servers = get(port, "/v1/operator/raft/configuration?stale").await;
    assert_eq!((servers.status, servers.json()["Servers"].as_array().unwrap().len()), (200, 3));

    let address = format!("127.0.0.1:{}", cluster.ports(0).grpc);
    let client = Client::new(&address).unwrap().with_timeout(Duration::from_secs(2));
    let error = client.put("a", "z").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let read = client.get_with("a", Consistency::Stale).await.unwrap();
    assert!(read.is_stale && !read.leader_known);
    assert_eq!(read.value.unwrap().value, "x");

    // P6: probes do not follow the leader; readiness would empty every Service at once.
    let ops = cluster.ports(0).ops;
    for probe in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(get(ops, probe).await.status, 200, "{probe}");
    }
    cluster.stop().await;
}

/// K20, vector 79: what was held while there was no leader is applied once when there is one again.
#[tokio::test]
async fn a_held_write_is_applied_when_a_leader_is_back() {
    let (mut cluster, _directory) = cluster(3).await;
    let address = format!("127.0.0.1:{}", cluster.ports(0).grpc);
    let client = Client::new(&address).unwrap().with_timeout(PATIENCE);
    client.put("a", "before").await.unwrap();
    cluster.abort_member(1).await;
    cluster.abort_member(2).await;
    cluster.wait_until("no leader is known", PATIENCE, |view| view.status.leader.is_none()).await.unwrap();
    let held = tokio::spawn({
        let client = client.clone();
        async move { client.compare_and_set("counter", None, "1").await }
    });
    cluster.start_again(1).await.unwrap();
    let outcome = held.await.unwrap().unwrap();
    let entry = client.get("counter").await.unwrap().unwrap();
    assert_eq!(outcome, quorate_client::CasOutcome::Written(entry.modify_index));
    assert_eq!(entry.create_index, entry.modify_index.0, "written once");
    cluster.stop().await;
}
