//! One state of autopilot, told four ways: health and state over HTTP in two spellings, and gauges (A21, A22).

use std::collections::BTreeMap;

use quorate_autopilot::SettingsChange;
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::http_client::{Answer, get};
use crate::{PATIENCE, cluster};

const HEALTH: &str = "/v1/operator/autopilot/health";
const STATE: &str = "/v1/operator/autopilot/state";
const VAULTS: &str = "/v1/sys/storage/raft/autopilot/state";

/// Which fields there are and of what kind: the values do not matter, nor how long a list is.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.dedup();
            shapes.into()
        }
        Value::Null => "null".into(),
        Value::Bool(_) => "flag".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
    }
}

async fn until(port: u16, target: &str, is_wanted: impl Fn(&Answer) -> bool) -> Answer {
    let asked = async {
        loop {
            let answer = get(port, target).await;
            if is_wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.expect("autopilot judges every second")
}

/// A21: health says 200 or 429 and the same body either way, state always 200; fields are spelled as their clients decode
/// them, and a tolerance of zero is printed.
#[tokio::test]
async fn health_has_one_body_and_two_statuses_and_zeros_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    let options = ClusterOptions { zone: |number| format!("z{number}"), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(3, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let zones = SettingsChange { redundancy_zone_tag: Some("zone".to_owned()), ..SettingsChange::default() };
    let autopilot = cluster.member(leader).autopilot();
    autopilot.set_configuration(|_| zones.clone(), None, Instant::now() + PATIENCE).await.unwrap();
    let port = cluster.ports(leader).http;
    let well =
        until(port, HEALTH, |answer| answer.status == 200 && answer.json()["FailureTolerance"] == 1).await;
    let is_zoned =
        |answer: &Answer| answer.json()["RedundancyZones"].as_object().is_some_and(|all| all.len() == 3);
    let before = until(port, STATE, is_zoned).await;
    cluster.abort_member((leader + 1) % 3).await;
    let ill = until(port, HEALTH, |answer| answer.status == 429).await;
    let (well, ill) = (well.json(), ill.json());
    assert_eq!((&well["Healthy"], &ill["Healthy"]), (&true.into(), &false.into()));
    assert_eq!(shape(&well), shape(&ill), "one body");
    let server = json!({
        "ID": "text", "Name": "text", "Address": "text", "SerfStatus": "text", "Version": "text", "Leader": "flag",
        "LastContact": "text", "LastTerm": "number", "LastIndex": "number", "Healthy": "flag", "Voter": "flag",
        "StableSince": "text"
    });
    assert_eq!(shape(&ill), json!({ "Healthy": "flag", "FailureTolerance": "number", "Servers": [server] }));
    assert_eq!(ill["FailureTolerance"], 0, "printed");

    let is_ill = |answer: &Answer| answer.json()["Healthy"] == false;
    let after = until(port, STATE, is_ill).await;
    let vault = get(port, VAULTS).await;
    assert_eq!((before.status, after.status, vault.status), (200, 200, 200));
    let (before, after, vault) = (before.json(), after.json(), vault.json()["data"].clone());
    assert_eq!(shape(&before), shape(&after), "one body");
    assert_eq!((&after["FailureTolerance"], &after["OptimisticFailureTolerance"]), (&0.into(), &0.into()));
    assert_eq!((&vault["failure_tolerance"], &vault["optimistic_failure_tolerance"]), (&0.into(), &0.into()));
    for zone in ["z0", "z1", "z2"] {
        assert_eq!(after["RedundancyZones"][zone]["FailureTolerance"], 0, "{after}");
        assert_eq!(vault["redundancy_zones"][zone]["failure_tolerance"], 0, "{vault}");
    }
    cluster.stop().await;
}

/// The values of autopilot's gauges, by name and labels.
fn gauges(text: &str) -> BTreeMap<String, String> {
    let values = text.lines().filter(|line| line.starts_with("quorate_autopilot_"));
    values
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Gauges between two equal states: of the same round as both.
async fn at_one_instant(
    cluster: &Cluster,
    member: usize,
    is_wanted: impl Fn(&Value) -> bool,
) -> (Value, BTreeMap<String, String>) {
    let ports = cluster.ports(member);
    let found = async {
        loop {
            let before = get(ports.http, STATE).await.json();
            let metrics = get(ports.ops, "/metrics").await;
            let after = get(ports.http, STATE).await.json();
            if before == after && is_wanted(&before) {
                return (before, gauges(metrics.text()));
            }
        }
    };
    timeout(PATIENCE, found).await.expect("rounds are a second apart")
}

fn check(state: &Value, gauges: &BTreeMap<String, String>) {
    let flag = |value: &Value| u8::from(*value == true).to_string();
    assert_eq!(gauges["quorate_autopilot_healthy"], flag(&state["Healthy"]));
    for (gauge, field) in [
        ("failure_tolerance", "FailureTolerance"),
        ("optimistic_failure_tolerance", "OptimisticFailureTolerance"),
    ] {
        assert_eq!(gauges[&format!("quorate_autopilot_{gauge}")], state[field].to_string());
    }
    let servers = state["Servers"].as_object().unwrap();
    for (id, server) in servers {
        let gauge = format!("quorate_autopilot_server_healthy{{raft_id=\"{id}\"}}");
        assert_eq!(gauges[&gauge], flag(&server["Healthy"]), "{id}");
    }
    let of_servers = gauges.keys().filter(|name| name.starts_with("quorate_autopilot_server_healthy"));
    assert_eq!(of_servers.count(), servers.len(), "no server that is not there");
}

/// A22: what the gauges say is what the state said at the same instant, in health and out of it; and whoever does not lead, or
/// does not lead any more, has none of them.
#[tokio::test]
async fn gauges_are_those_of_the_state_and_the_leaders_alone() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let (state, values) = at_one_instant(&cluster, leader, |state| state["FailureTolerance"] == 1).await;
    check(&state, &values);
    for follower in [other, third] {
        let metrics = get(cluster.ports(follower).ops, "/metrics").await;
        assert_eq!(gauges(metrics.text()), BTreeMap::new());
        assert!(!metrics.text().contains("\nquorate_peer_match_index{"), "what only a leader knows");
    }

    let target = cluster.handle(other).view().identity.server.raft_id.clone();
    cluster.handle(leader).transfer_leadership(Some(target), Instant::now() + PATIENCE).await.unwrap();
    let follows = |answer: &Answer| answer.text().contains("\nquorate_is_leader 0\n");
    for _ in 0..20 {
        let metrics = until(cluster.ports(leader).ops, "/metrics", follows).await;
        assert_eq!(gauges(metrics.text()), BTreeMap::new(), "of a leadership that is over");
    }

    cluster.abort_member(third).await;
    let gone = format!("dev-{third}");
    let (state, values) =
        at_one_instant(&cluster, other, |state| state["Servers"][&gone]["Healthy"] == false).await;
    assert_eq!(state["FailureTolerance"], 0);
    check(&state, &values);
    cluster.stop().await;
}
