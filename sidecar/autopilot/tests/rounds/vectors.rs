//! A1: the conformance vectors, read from `vectors.json`. What cannot be said in our terms is listed there with its
//! reason; where we deviate on purpose, the test named there shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::{PodFact, ServerRole, failure_tolerance};
use quorate_raft::{Address, Intent, Suffrage};
use serde::Deserialize;

use super::group::{Group, SECOND, STABILIZATION, group, id, is_healthy, log_id, promoted, stats};

#[derive(Deserialize)]
struct Vectors {
    not_expressible: Vec<Exception>,
    deviations: Vec<Exception>,
    states: Vec<StateCase>,
    health: Cases<HealthCase>,
    stability: Cases<StabilityCase>,
    grace: Cases<GraceCase>,
    promotions: Promotions,
    failure_tolerance: Cases<(usize, usize, usize)>,
}

#[derive(Deserialize)]
struct Exception {
    vector: u32,
    why: String,
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct StateCase {
    vector: u32,
    name: String,
    leader: Option<String>,
    is_leader: bool,
    last_index: u64,
    servers: BTreeMap<String, String>,
    stats: BTreeMap<String, StatsCase>,
    unhealthy: BTreeSet<String>,
    failure_tolerance: usize,
    voters: Vec<String>,
    roles: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct StatsCase {
    contact_ns: u64,
    term: u64,
    index: u64,
}

#[derive(Deserialize)]
struct HealthCase {
    vector: u32,
    contact: u64,
    term: u64,
    index: u64,
    is_failed: bool,
    leader: bool,
    healthy: bool,
}

#[derive(Deserialize)]
struct StabilityCase {
    vector: u32,
    is_healthy: bool,
    for_s: u64,
    stable: bool,
}

#[derive(Deserialize)]
struct GraceCase {
    age: u64,
    at_once: bool,
}

#[derive(Deserialize)]
struct Promotions {
    servers: Vec<PromotionCase>,
}

#[derive(Deserialize)]
struct PromotionCase {
    name: String,
    role: String,
    healthy_s: u64,
    promoted: bool,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn suffrage(text: &str) -> Suffrage {
    match text {
        "voter" => Suffrage::Voter,
        "non-voter" => Suffrage::NonVoter,
        other => panic!("{other} is no suffrage"),
    }
}

fn role(role: ServerRole) -> &'static str {
    match role {
        ServerRole::Leader => "leader",
        ServerRole::Voter => "voter",
        ServerRole::NonVoter => "non-voter",
    }
}

/// A1, vectors 1-5 and 7.
#[test]
fn states_are_those_of_the_golden_vectors() {
    for case in vectors().states {
        let about = format!("vector {} ({})", case.vector, case.name);
        let mut group = group("1-n1");
        group.servers.clear();
        for (name, text) in &case.servers {
            group.add(name, suffrage(text), Intent::Voter);
        }
        group.well.clear();
        group.settings.last_contact_threshold = Duration::from_millis(200);
        group.settings.max_trailing_logs = 200;
        group.leader = case.leader.as_deref().map(id);
        // Whoever computes it is n1 if it leads, else a follower; its statistics are given like the others'.
        group.own_id = if case.is_leader { id("1-n1") } else { id("9-observer") };
        group.last = log_id(3, case.last_index);
        for (name, known) in &case.stats {
            let known = stats(Duration::from_nanos(known.contact_ns), log_id(known.term, known.index));
            group.report(name, known);
        }
        let state = group.round().state;
        let unhealthy: BTreeSet<String> = state
            .servers
            .iter()
            .filter(|server| !server.health.is_healthy)
            .map(|server| server.id.raft_id.to_string())
            .collect();
        assert_eq!(unhealthy, case.unhealthy, "{about}");
        assert_eq!(state.is_healthy, case.unhealthy.is_empty(), "{about}");
        assert_eq!(state.failure_tolerance, case.failure_tolerance, "{about}");
        assert_eq!(state.leader, group.leader, "{about}");
        let voters: Vec<String> = state.voters.iter().map(|voter| voter.raft_id.to_string()).collect();
        assert_eq!(voters, case.voters, "{about}");
        for server in &state.servers {
            assert_eq!(role(server.role), case.roles[server.id.raft_id.as_str()], "{about}: {}", server.id);
            assert_eq!(server.health.stable_since, group.now, "{about}: first seen now");
            let expected = Address::new(&format!("{}.members:7400", server.id.raft_id)).unwrap();
            assert_eq!(server.address, expected, "{about}: addresses are the configuration's");
        }
    }
}

/// A1, vectors 8-13.
#[test]
fn health_is_that_of_the_vectors() {
    for case in vectors().health.cases {
        let mut group = group("a b");
        group.settings.last_contact_threshold = Duration::from_millis(100);
        group.settings.max_trailing_logs = 200;
        group.last = log_id(5, 1_000);
        if !case.leader {
            group.leader = None;
        }
        group.report("b", stats(Duration::from_millis(case.contact), log_id(case.term, case.index)));
        if case.is_failed {
            group.fact("b", PodFact::Gone, false);
        }
        let state = group.round().state;
        assert_eq!(is_healthy(&state, "b"), case.healthy, "vector {}, index {}", case.vector, case.index);
    }
}

/// A1, vectors 15-17.
#[test]
fn a_server_is_stable_after_exactly_the_stabilization_time_of_health() {
    for case in vectors().stability.cases {
        let mut group = group("a").with_non_voters("n");
        assert_eq!(group.settings.server_stabilization_time, STABILIZATION);
        if !case.is_healthy {
            group.silence("n");
        }
        group.round();
        let last = group.after(SECOND * u32::try_from(case.for_s).unwrap());
        assert_eq!(!promoted(&last).is_empty(), case.stable, "vector {}", case.vector);
    }
}

/// A1, vector 18.
#[test]
fn the_grace_ends_once_the_first_state_is_older_than_the_stabilization_time() {
    for case in vectors().grace.cases {
        let mut group = group("a");
        group.is_first_leadership = true;
        group.settings.server_stabilization_time = Duration::from_millis(350);
        let join = |group: &mut Group| group.add("n", Suffrage::NonVoter, Intent::Voter);
        if case.age == 0 {
            join(&mut group);
        }
        let mut last = group.round();
        if case.age > 0 {
            join(&mut group);
            last = group.after(Duration::from_millis(case.age));
        }
        assert_eq!(!promoted(&last).is_empty(), case.at_once, "{} ms after the first state", case.age);
    }
}

/// A1, vector 19.
#[test]
fn only_stable_healthy_non_voters_are_promoted() {
    let servers = vectors().promotions.servers;
    let mut group = group(&servers[0].name);
    for server in &servers[1..] {
        group.add(&server.name, suffrage(&server.role), Intent::Voter);
    }
    let mut last = None;
    for second in 0..=30 {
        for server in &servers {
            let is_well = server.healthy_s > 0 && second + server.healthy_s >= 30;
            // A wrong term flips at once, so that health begins exactly when it should.
            let term = if is_well { 3 } else { 2 };
            group.report(&server.name, stats(Duration::ZERO, log_id(term, 1_000)));
        }
        last = Some(group.after(SECOND));
    }
    let expected: Vec<String> =
        servers.iter().filter(|server| server.promoted).map(|server| server.name.clone()).collect();
    assert_eq!(promoted(&last.unwrap()), expected);
}

/// A3: the table, and every size it leaves out by the formula it stands for.
#[test]
fn failure_tolerance_is_that_of_the_table() {
    for (voters, healthy, expected) in vectors().failure_tolerance.cases {
        assert_eq!(failure_tolerance(voters, healthy), expected, "{voters} voters, {healthy} healthy");
    }
}

/// A1: every vector from 1 to 20 is run, or listed with the reason why not.
#[test]
fn every_vector_is_run_or_excused() {
    let vectors = vectors();
    let mut seen: BTreeSet<u32> = [18, 19].into();
    seen.extend(vectors.states.iter().map(|case| case.vector));
    seen.extend(vectors.health.cases.iter().map(|case| case.vector));
    seen.extend(vectors.stability.cases.iter().map(|case| case.vector));
    for exception in vectors.not_expressible.iter().chain(&vectors.deviations) {
        assert!(exception.why.len() > 20, "vector {} needs a reason", exception.vector);
        seen.insert(exception.vector);
    }
    assert_eq!(seen, (1..=20).collect());
}
