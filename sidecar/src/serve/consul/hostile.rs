//! Requests of clients over HTTP: each is understood or refused in words, never a panic (B6, P10; raft.md §7, 21). There is
//! no JSON among them: what Consul reads as such is not there yet.

use axum::http::HeaderMap;
use quorate_fuzz::Samples;

use super::duration::parse_duration;
use super::key::parse_key;
use super::params::Params;
use super::question::Question;

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
