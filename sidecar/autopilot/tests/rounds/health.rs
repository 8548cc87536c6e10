//! Health: its boundaries, its clock, and what silence does to it (A2-A5, A7, D1, D2, K27).

use std::time::Duration;

use quorate_autopilot::limits::{BAD_SAMPLES_TO_FLIP, FACT_AGE_MAX, ROUND_INTERVAL};
use quorate_autopilot::{NodeStatus, PodFact, Unhealthy, failure_tolerance, quorum};
use quorate_raft::{Index, LogId};

use super::group::{Group, SECOND, group, id, is_healthy, log_id, stable_since, stats};

const NANOSECOND: Duration = Duration::from_nanos(1);

fn reason(group: &mut Group, name: &str) -> Option<Unhealthy> {
    group.round().state.server(&id(name)).unwrap().health.reason.clone()
}

/// A2: equal to the threshold is healthy, a nanosecond more is not. (A negative age cannot be said.)
#[test]
fn contact_is_good_up_to_and_including_the_threshold() {
    let threshold = group("a b").settings.last_contact_threshold;
    for (age, expected) in [(threshold, true), (threshold + NANOSECOND, false)] {
        let mut group = group("a b");
        group.report("b", stats(age, group.last));
        assert_eq!(is_healthy(&group.round().state, "b"), expected, "{age:?}");
    }
}

/// A2: trailing by the limit is healthy, by one more is not; the term must be equal, neither lower nor higher.
#[test]
fn the_log_must_be_of_the_leaders_term_and_within_the_limit() {
    let cases = [(3, 750, true), (3, 749, false), (3, 1_001, true), (2, 1_000, false), (4, 1_000, false)];
    for (term, index, expected) in cases {
        let mut group = group("a b");
        assert_eq!(group.settings.max_trailing_logs, 250);
        group.report("b", stats(Duration::ZERO, log_id(term, index)));
        assert_eq!(is_healthy(&group.round().state, "b"), expected, "term {term}, index {index}");
    }
}

/// A2, K27: under a heavy load a server that has what the leader had two seconds ago does not lag.
#[test]
fn a_server_that_keeps_pace_is_healthy_however_fast_the_log_grows() {
    let mut group = group("a keeps-pace falls-behind");
    let mut last = group.round();
    for second in 1..=20 {
        let before = group.last.index.0;
        group.last = log_id(3, 1_000 + second * 50_000);
        group.report("keeps-pace", stats(Duration::ZERO, log_id(3, before)));
        group.report("falls-behind", stats(Duration::ZERO, log_id(3, 1_000 + second * 20_000)));
        last = group.after(SECOND);
    }
    assert!(is_healthy(&last.state, "keeps-pace"));
    assert!(!is_healthy(&last.state, "falls-behind"));
    let health = &last.state.server(&id("falls-behind")).unwrap().health;
    assert!(matches!(health.reason, Some(Unhealthy::Trailing { entries: 600_000, entries_max: 250 })));
}

/// A3: the formula for every group of up to nine voters, and a lost quorum is said apart from a tolerance of zero.
#[test]
fn failure_tolerance_and_a_lost_quorum_are_two_things() {
    for voters in 1..=9 {
        for healthy in 0..=voters {
            let expected = usize::saturating_sub(healthy, voters / 2 + 1);
            assert_eq!(failure_tolerance(voters, healthy), expected);
            let names: Vec<String> = (0..voters).map(|at| format!("v{at}")).collect();
            let mut group = group(&names.join(" "));
            for name in &names[healthy..] {
                group.report(name, stats(Duration::ZERO, log_id(2, 1_000)));
            }
            let state = group.round().state;
            assert_eq!(state.failure_tolerance, expected, "{voters} voters, {healthy} healthy");
            assert_eq!(state.is_quorum_lost, healthy < quorum(voters), "{voters} voters, {healthy} healthy");
        }
    }
}

/// A4: the first round gives a full state; a new term knows nothing of the one before.
#[test]
fn a_new_term_starts_every_clock_anew() {
    let mut group = group("a b c");
    assert_eq!(group.round().state.servers.len(), 3);
    let first = group.now;
    assert_eq!(stable_since(&group.seconds(30).state, "b"), first);
    group.term = 4;
    group.last = log_id(4, 1_001);
    let state = group.after(SECOND).state;
    assert_eq!(stable_since(&state, "b"), group.now);
}

/// A5, D1: each flip restarts the clock, in both directions.
#[test]
fn stable_since_is_the_time_of_the_last_flip() {
    let mut group = group("a b");
    let born = group.now;
    assert_eq!(stable_since(&group.round().state, "b"), born);
    assert_eq!(stable_since(&group.seconds(5).state, "b"), born);
    group.report("b", stats(Duration::ZERO, log_id(2, 1_000)));
    let state = group.after(SECOND).state;
    let fell = group.now;
    assert!(!is_healthy(&state, "b"));
    assert_eq!(stable_since(&state, "b"), fell);
    assert_eq!(stable_since(&group.seconds(5).state, "b"), fell);
    group.report("b", stats(Duration::ZERO, group.last));
    let state = group.after(SECOND).state;
    let rose = group.now;
    assert!(is_healthy(&state, "b"));
    assert_eq!(stable_since(&state, "b"), rose);
    assert_eq!(stable_since(&group.seconds(5).state, "b"), rose);
}

/// A7, D2: silence is not health. At most threshold + 3 intervals after the last statistics it shows.
#[test]
fn a_server_that_is_not_heard_of_ages_and_turns_unhealthy() {
    let mut group = group("a b c");
    group.report("b", stats(Duration::from_millis(15), group.last));
    group.round();
    group.silence("b");
    let heard = group.now;
    let allowed = group.settings.last_contact_threshold + ROUND_INTERVAL * 3;
    loop {
        let state = group.after(ROUND_INTERVAL).state;
        let server = state.server(&id("b")).unwrap();
        let silence = group.now.since(heard);
        assert_eq!(server.stats.last_contact, Some(silence + Duration::from_millis(15)), "it ages");
        if !server.health.is_healthy {
            assert!(silence <= allowed, "it took {silence:?}");
            break;
        }
        assert!(silence < allowed, "still healthy after {silence:?} of silence");
    }
}

/// autopilot.md §6b, consul #7348: two late samples are a pause, three in a row are a failure; the sample shows at once.
#[test]
fn a_late_contact_must_be_seen_three_times_in_a_row() {
    let mut group = group("a b");
    group.round();
    let late = stats(Duration::from_secs(5), group.last);
    for _ in 0..3 {
        group.report("b", late);
        for _ in 1..BAD_SAMPLES_TO_FLIP {
            let state = group.after(SECOND).state;
            assert!(is_healthy(&state, "b"));
            assert!(state.server(&id("b")).unwrap().health.sample.is_err(), "the raw sample is shown");
        }
        group.hear("b");
        group.stats.clear();
        assert!(is_healthy(&group.after(SECOND).state, "b"), "a good sample ends the row");
    }
    group.report("b", late);
    let verdicts: Vec<bool> =
        (0..BAD_SAMPLES_TO_FLIP).map(|_| is_healthy(&group.after(SECOND).state, "b")).collect();
    assert_eq!(verdicts, [true, true, false]);
}

/// autopilot.md §6b: a wrong term and a Pod that is gone flip at once.
#[test]
fn a_wrong_term_and_a_pod_that_is_gone_flip_at_once() {
    let mut wrong_term = group("a b");
    wrong_term.round();
    wrong_term.report("b", stats(Duration::ZERO, log_id(2, 1_000)));
    assert!(matches!(reason(&mut wrong_term, "b"), Some(Unhealthy::Term { .. })));

    let mut gone = group("a b");
    gone.round();
    gone.report("b", stats(Duration::from_millis(500), gone.last));
    gone.fact("b", PodFact::Gone, false);
    assert_eq!(reason(&mut gone, "b"), Some(Unhealthy::Failed));
    assert_eq!(gone.round().state.server(&id("b")).unwrap().status, NodeStatus::Failed);
}

/// autopilot.md §6b: the leader's own ears are trusted before the platform, and an old fact says nothing.
#[test]
fn an_acknowledgement_after_the_fact_refutes_it_and_facts_grow_old() {
    let mut group = group("a b");
    group.fact("b", PodFact::Gone, false);
    group.now = group.now.plus(SECOND);
    let state = group.round().state;
    assert!(is_healthy(&state, "b"), "heard 10 ms ago, the fact is a second old");
    assert_eq!(state.server(&id("b")).unwrap().status, NodeStatus::Alive);

    group.silence("b");
    group.observer = quorate_autopilot::Observer::default();
    group.fact("b", PodFact::Gone, false);
    assert_eq!(reason(&mut group, "b"), Some(Unhealthy::Failed));
    group.now = group.now.plus(FACT_AGE_MAX + SECOND);
    let state = group.round().state;
    assert_eq!(state.server(&id("b")).unwrap().status, NodeStatus::Unknown, "nobody repeats it");
}

/// A15, A16: without facts and statistics a server is unknown, never failed.
#[test]
fn absence_of_knowledge_is_unknown() {
    let mut group = group("a b");
    group.silence("b");
    let state = group.round().state;
    let server = state.server(&id("b")).unwrap();
    assert_eq!(server.status, NodeStatus::Unknown);
    assert_eq!(server.health.reason, Some(Unhealthy::NeverHeard));
    assert_eq!((server.stats.last_contact, server.stats.last), (None, LogId::default()));
    assert_eq!(server.stats.last.index, Index(0));
}

/// The leader hears itself.
#[test]
fn the_leader_needs_no_statistics_of_its_own() {
    let mut group = group("a");
    group.silence("a");
    let state = group.round().state;
    assert!(is_healthy(&state, "a"));
    assert_eq!(state.server(&id("a")).unwrap().stats.last, group.last);
}
