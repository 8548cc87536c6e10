//! A1: the conformance vectors, read from `vectors.json`. What cannot be said in our terms is listed there with its
//! reason; where we deviate on purpose, the test named there shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::join::{JoinStep, add_server, carry_out, remove_server};
use quorate_autopilot::reconcile::{Changes, Step, steps};
use quorate_autopilot::{PodFact, ServerRole, failure_tolerance};
use quorate_raft::{Address, Intent, Server, Suffrage};
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
    counts: Cases<CountCase>,
    joins: Cases<JoinCase>,
    leaves: Cases<JoinCase>,
    rounds: Cases<RoundCase>,
    removals: Cases<RemovalCase>,
}

#[derive(Deserialize)]
struct CountCase {
    voters: String,
    non_voters: String,
    count: usize,
}

#[derive(Deserialize)]
struct JoinCase {
    vector: u32,
    servers: String,
    id: String,
    #[serde(default)]
    address: String,
    fails: Option<usize>,
    /// None: refused before anything is done.
    steps: Option<Vec<String>>,
    /// None: an error.
    triggers: Option<bool>,
}

#[derive(Deserialize)]
struct RoundCase {
    vector: u32,
    voters: String,
    non_voters: String,
    unhealthy: String,
    promote: String,
    demote: String,
    lead: Option<String>,
    steps: Vec<String>,
}

#[derive(Deserialize)]
struct RemovalCase {
    vector: u32,
    voters: String,
    non_voters: String,
    stale: String,
    failed: String,
    min_quorum: u32,
    removed: Vec<String>,
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

/// `names`, split; `with_non_voters` would take an empty text for a name.
fn with_non_voters(voters: &str, names: &str) -> Group {
    let mut group = group(voters);
    for name in names.split_whitespace() {
        group.add(name, Suffrage::NonVoter, Intent::Voter);
    }
    group
}

/// A1, vector 21.
#[test]
fn voters_are_counted() {
    for case in vectors().counts.cases {
        let mut group = with_non_voters(&case.voters, &case.non_voters);
        assert_eq!(group.round().state.voters.len(), case.count, "{}", case.voters);
    }
}

fn address(text: &str) -> Address {
    Address::new(&format!("host:{text}")).unwrap()
}

/// `a@1 :n@4`: a votes at address 1, n does not at 4.
fn servers(text: &str) -> Vec<Server> {
    let server = |word: &str| {
        let suffrage = if word.starts_with(':') { Suffrage::NonVoter } else { Suffrage::Voter };
        let (name, at) = word.trim_start_matches(':').split_once('@').unwrap();
        Server { id: id(name), address: address(at), suffrage, intent: Intent::Voter }
    };
    text.split(' ').map(server).collect()
}

fn join_words(step: &JoinStep) -> String {
    let port = |address: &Address| address.as_str().trim_start_matches("host:").to_owned();
    match step {
        JoinStep::Remove(id) => format!("remove {}", id.raft_id),
        JoinStep::AddVoter(id, at) => format!("vote {}@{}", id.raft_id, port(at)),
        JoinStep::AddNonVoter(id, at) => format!("add {}@{}", id.raft_id, port(at)),
    }
}

fn check_join(case: &JoinCase, planned: Option<Vec<JoinStep>>) {
    let about = format!("vector {}: {} into {}", case.vector, case.id, case.servers);
    let Some(planned) = planned else {
        assert_eq!((&case.steps, case.triggers), (&None, None), "{about}: refused");
        return;
    };
    let mut done = Vec::new();
    let triggers = carry_out(&planned, |step| {
        if case.fails == Some(done.len()) {
            return Err("the step failed");
        }
        done.push(join_words(step));
        Ok(())
    });
    assert_eq!(Some(done), case.steps, "{about}");
    assert_eq!(triggers.ok(), case.triggers, "{about}");
}

/// A1, A19, vectors 22-32: a library function that no call of ours reaches (K16); an address that changes passes
/// through no removal.
#[test]
fn servers_are_added_as_in_the_vectors() {
    for case in vectors().joins.cases {
        let planned = add_server(&servers(&case.servers), &id(&case.id), &address(&case.address));
        if let Err(refused) = &planned {
            assert!(refused.to_string().starts_with("Preventing server addition"));
        }
        let moves = servers(&case.servers).iter().any(|server| server.id == id(&case.id));
        let removes_it = planned.iter().flatten().any(|step| *step == JoinStep::Remove(id(&case.id)));
        assert!(!(moves && removes_it), "vector {}", case.vector);
        check_join(&case, planned.ok());
    }
}

/// A1, vector 34.
#[test]
fn servers_are_removed_as_in_the_vector() {
    for case in vectors().leaves.cases {
        check_join(&case, Some(remove_server(&servers(&case.servers), &id(&case.id))));
    }
}

/// A1, A10, A11, vectors 35-41.
#[test]
fn the_steps_of_a_round_are_those_of_the_vectors() {
    let ids = |names: &str| names.split_whitespace().map(id).collect::<Vec<_>>();
    let words = |step: &Step| match step {
        Step::Promote(id) => format!("promote {}", id.raft_id),
        Step::Demote(id) => format!("demote {}", id.raft_id),
        Step::Transfer(id) => format!("lead {}", id.raft_id),
    };
    for case in vectors().rounds.cases {
        let mut group = with_non_voters(&case.voters, &case.non_voters);
        for name in case.unhealthy.split_whitespace() {
            group.report(name, stats(Duration::ZERO, log_id(1, 5)));
        }
        let mut changes = Changes {
            promotions: ids(&case.promote),
            demotions: ids(&case.demote),
            leader: case.lead.as_deref().map(id),
        };
        let state = group.round().state;
        let done: Vec<String> = steps(&state.servers, &changes).iter().map(words).collect();
        assert_eq!(done, case.steps, "vector {}", case.vector);
        changes.promotions.push(id("stranger"));
        changes.demotions.push(id("stranger"));
        let done: Vec<String> = steps(&state.servers, &changes).iter().map(words).collect();
        assert_eq!(done, case.steps, "vector {}: whoever is not in it is left out", case.vector);
    }
}

/// A1, A13, A14, vectors 42-50.
#[test]
fn dead_servers_are_removed_as_in_the_vectors() {
    for case in vectors().removals.cases {
        let mut group = with_non_voters(&case.voters, &case.non_voters);
        group.settings.min_quorum = case.min_quorum;
        // Nobody is promoted, so nobody is swapped either.
        group.settings.server_stabilization_time = Duration::from_hours(99);
        group.never_heard(&case.stale);
        group.round();
        group.mute(&case.failed);
        let expected: Vec<String> = case.removed.iter().map(|name| format!("remove {name}")).collect();
        assert_eq!(group.live_past_the_dead_threshold(), expected, "vector {}", case.vector);
    }
}

/// A1: every vector from 1 to 52 is run, or listed with the reason why not.
#[test]
fn every_vector_is_run_or_excused() {
    let vectors = vectors();
    let mut seen: BTreeSet<u32> = [18, 19, 21].into();
    seen.extend(vectors.states.iter().map(|case| case.vector));
    seen.extend(vectors.health.cases.iter().map(|case| case.vector));
    seen.extend(vectors.stability.cases.iter().map(|case| case.vector));
    seen.extend(vectors.joins.cases.iter().chain(&vectors.leaves.cases).map(|case| case.vector));
    seen.extend(vectors.rounds.cases.iter().map(|case| case.vector));
    seen.extend(vectors.removals.cases.iter().map(|case| case.vector));
    for exception in vectors.not_expressible.iter().chain(&vectors.deviations) {
        assert!(exception.why.len() > 20, "vector {} needs a reason", exception.vector);
        seen.insert(exception.vector);
    }
    let exist = (1..=52).filter(|vector| ![33, 49, 51].contains(vector));
    assert_eq!(seen, exist.collect());
}
