//! Port 7402, and the pictures of port 8500: probes, metrics, status, health.

use std::collections::BTreeSet;

use tokio::net::TcpStream;

use crate::grpc_log::log_cluster;
use crate::http_client::{get, send};
use crate::{PATIENCE, cluster};

/// K38: all three probes say yes on a member that works.
#[tokio::test]
async fn probes_metrics_and_status_describe_a_member_that_works() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    for member in 0..3 {
        let ops = cluster.ports(member).ops;
        for probe in ["/livez", "/readyz", "/startupz"] {
            let answer = get(ops, probe).await;
            assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{probe}");
        }
        let metrics = get(ops, "/metrics").await;
        let leads = u8::from(member == leader);
        assert!(metrics.text().contains(&format!("\nquorate_is_leader {leads}\n")), "{}", metrics.text());
        assert!(metrics.text().contains("\nquorate_applied_index "), "{}", metrics.text());
        assert!(metrics.text().ends_with("# EOF\n"), "{}", metrics.text());

        let status = get(ops, "/status").await.json();
        assert_eq!(status["raftId"], format!("dev-{member}"));
        assert_eq!((&status["memberState"], &status["ready"]), (&"voter".into(), &true.into()));
        assert_eq!(status["leader"], format!("dev-{leader}"));
        assert_eq!(status["configuration"]["servers"].as_array().unwrap().len(), 3);
        let page = send(ops, "GET", "/status", &[("Accept", "text/html,*/*")], b"").await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().contains(&format!("<h1>dev-{member}</h1>")), "{}", page.text());
        assert_eq!(get(ops, "/v1/kv/a").await.status, 404, "the ops port serves no data");
    }
    cluster.stop().await;
}

/// raft.md §7, 31: what is exported is documented and what is documented is exported, all of it by leaders, one of each
/// mode, of which one has answered a call; peers are labels.
#[tokio::test]
async fn every_metric_is_in_the_documents_and_every_documented_one_is_exported() {
    let (mut cluster, _directory) = cluster(3).await;
    let (mut of_log, _other) = log_cluster(1).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let ports = cluster.ports(leader);
    assert_eq!(send(ports.http, "PUT", "/v1/kv/a", &[], b"1").await.status, 200);
    let text = get(ports.ops, "/metrics").await.text().to_owned();
    let text_of_log = get(of_log.ports(0).ops, "/metrics").await.text().to_owned();
    assert!(!text.contains("quorate_application_"), "it has keys");
    let exported: BTreeSet<&str> = text
        .lines()
        .chain(text_of_log.lines())
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| name.trim_end_matches("_total"))
        .collect();
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let pages = std::fs::read_to_string(pages).unwrap();
    let documented: BTreeSet<&str> = pages
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|names| names.split("`, `"))
        .map(|name| name.trim_end_matches('`').trim_end_matches("_total"))
        // The operator's are looked at by a test of its own.
        .filter(|name| !name.starts_with("quorate_operator_") && !name.starts_with("quorate_cluster_"))
        .collect();
    assert_eq!(exported, documented);
    for peer in (0..3).filter(|peer| *peer != leader) {
        let sent = format!("quorate_raft_replication_heartbeat_total{{raft_id=\"dev-{peer}\"}} ");
        assert!(text.contains(&sent), "{sent} is not in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    // One write was proposed here, and at least that was applied and timed.
    for name in
        ["apply_total", "commitTime_seconds_count", "leader_dispatchLog_seconds_count", "fsm_apply_total"]
    {
        assert!(value(&format!("quorate_raft_{name}")) >= 1.0, "{name} in\n{text}");
    }
    assert!(value("quorate_raft_state_leader_total") >= 1.0, "{text}");
    cluster.stop().await;
    of_log.stop().await;
}

/// Acceptance 11: whoever opens connections and says nothing keeps nobody out for longer than they may be idle.
#[tokio::test]
async fn silent_connections_do_not_keep_the_probes_out() {
    let (mut cluster, _directory) = cluster(1).await;
    let ops = cluster.ports(0).ops;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(("127.0.0.1", ops)).await.unwrap());
    }
    let answer = tokio::time::timeout(PATIENCE, get(ops, "/livez")).await.unwrap();
    assert_eq!(answer.status, 200);
    cluster.stop().await;
}

/// Vectors 80, 82 and 84: 429 with the same shape when a server is down.
#[tokio::test]
async fn health_is_200_when_all_are_well_and_429_when_one_is_down() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let port = cluster.ports(leader).http;
    // The last vote may be younger than autopilot's last round.
    let healthy = until(port, 200, 1).await;
    assert_eq!(healthy["Healthy"], true);
    let down = (leader + 1) % 3;
    cluster.abort_member(down).await;
    let sick = until(port, 429, 0).await;
    assert_eq!(sick["Healthy"], false);
    let servers = sick["Servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3);
    for server in servers {
        assert_eq!(server["Healthy"] == true, server["ID"] != format!("dev-{down}"), "{server}");
        let keys: Vec<_> = server.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 12, "the shape Consul's clients decode: {keys:?}");
    }

    // A22: the leader's gauges are the same picture, and nobody else has any.
    let metrics = get(cluster.ports(leader).ops, "/metrics").await;
    let has =
        |line: &str| assert!(metrics.text().contains(&format!("\n{line}\n")), "{line}: {}", metrics.text());
    has("quorate_autopilot_healthy 0");
    has("quorate_autopilot_failure_tolerance 0");
    has("quorate_autopilot_quorum_lost 0");
    for server in servers {
        let is_healthy = u8::from(server["Healthy"] == true);
        has(&format!("quorate_autopilot_server_healthy{{raft_id={}}} {is_healthy}", server["ID"]));
    }
    let others = get(cluster.ports((leader + 2) % 3).ops, "/metrics").await;
    assert!(!others.text().contains("quorate_autopilot_"), "{}", others.text());

    let address = get(port, "/v1/status/leader").await.json();
    let peers = get(port, "/v1/status/peers").await.json();
    assert!(peers.as_array().unwrap().contains(&address), "{address} {peers}");
    let configuration = get(port, "/v1/operator/raft/configuration").await.json();
    let leaders =
        configuration["Servers"].as_array().unwrap().iter().filter(|server| server["Leader"] == true);
    assert_eq!(leaders.count(), 1);
    // Any member answers for the leader.
    let other = cluster.ports((leader + 2) % 3).http;
    assert_eq!(until(other, 429, 0).await["Healthy"], false);
    cluster.stop().await;
}

/// Asks until health is answered with this status and this failure tolerance.
async fn until(port: u16, status: u16, tolerance: u64) -> serde_json::Value {
    let asked = async {
        loop {
            let answer = get(port, "/v1/operator/autopilot/health").await;
            if answer.status == status && answer.json()["FailureTolerance"] == tolerance {
                return answer.json();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("autopilot judges every second")
}
