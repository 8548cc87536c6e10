//! Requests of clients over HTTP: each is understood or refused in words, never a panic (B6, P10; raft.md §7, 21).

use axum::http::HeaderMap;
use quorate_fuzz::Samples;
use quorate_machine::SessionId;

use super::key::parse_key;
use super::params::Params;
use super::question::Question;
use super::{autopilot, session_body, txn_body, vault};
use crate::serve::duration::parse_duration;

#[test]
fn paths_and_queries_never_panic() {
    let samples = Samples::new([
        "state-env:one%20two?recurse&separator=%2F&index=42&wait=5m",
        "a//b/qmsl%C3%A7?raw&stale&max_stale=10s",
        "k?cas=18446744073709551615&flags=7&acquire=x",
        "k?keys=&seperator=/&consistent&dc=dc1&ns=&wait=9.98765s",
    ]);
    quorate_fuzz::bytes("paths_and_queries_never_panic", &samples, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (path, query) = text.split_once('?').unwrap_or((&text, ""));
        let key = parse_key(path);
        let Ok(params) = Params::parse(query) else { return };
        let _ = (params.read(), params.check(&HeaderMap::new()), params.at_most_one_of(&["cas", "acquire"]));
        let _ = (params.number("cas"), params.number("flags"));
        let _ = key.map(|key| Question::parse(key, &params));
    });
}

#[test]
fn durations_never_panic() {
    let samples =
        Samples::new(["0", "15.0s", "9.98765s", "1h30m", "-1.5s", ".5s", "3us", "7µs", "1m2.000000001s"]);
    quorate_fuzz::bytes("durations_never_panic", &samples, |bytes| {
        let _ = parse_duration(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn bodies_never_panic() {
    let samples = Samples::new([
        r#"{"Name":"n","TTL":"15.0s","LockDelay":"0.001s","Behavior":"delete","Checks":[],"NodeChecks":["serfHealth"]}"#,
        r#"{"name":"n","lockdelay":15,"ttl":"10s","servicechecks":[{"ID":"a"}]}"#,
        r#"[{"KV":{"Verb":"cas","Key":"k","Value":"eA==","Flags":7,"Index":3}},{"KV":{"Verb":"check-session","Key":"k","Session":"s"}}]"#,
        r#"[{"KV":{"Verb":"get-or-empty","Key":"/k","Value":null},"Node":null}]"#,
        r#"{"CleanupDeadServers":false,"LastContactThreshold":"1.5s","MaxTrailingLogs":250,"MinQuorum":3,"RedundancyZoneTag":""}"#,
        r#"{"cleanup_dead_servers":"true","dead_server_last_contact_threshold":"24h","max_trailing_logs":"9","min_quorum":3}"#,
    ]);
    quorate_fuzz::bytes("bodies_never_panic", &samples, |bytes| {
        let _ = session_body::parse(bytes, SessionId(1), &|node| node);
        let _ = txn_body::parse(bytes);
        let _ = (autopilot::parse(bytes), vault::parse(bytes));
    });
}
