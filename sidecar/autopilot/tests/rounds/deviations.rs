//! Where upstream is wrong and we differ on purpose: D1 to D9 of `autopilot.md` §1.8. Each test says what upstream does,
//! as seen when it was run, and shows what ours does. (A1: vector 52.)

use std::time::Duration;

use quorate_autopilot::Action;
use quorate_autopilot::reconcile::{Changes, steps};
use quorate_raft::{Index, Intent, Now, Suffrage, Term};

use super::group::{
    Group, SECOND, STABILIZATION, group, id, is_healthy, log_id, promoted, reasons, stable_since, stats,
};

/// D1. Upstream compares the new health with itself, so `stable_since` stays at first sight for ever: a node that was
/// unhealthy for a minute is promoted at its first healthy sample. Ours restarts the clock at each flip.
#[test]
fn d1_the_stability_clock_restarts_at_each_flip() {
    let mut group = group("a b c").with_non_voters("n");
    group.report("n", stats(Duration::ZERO, log_id(2, 5)));
    let first_seen = group.now.plus(SECOND);
    group.seconds(60);
    group.hear("n");
    let state = group.after(SECOND).state;
    assert!(stable_since(&state, "n") > first_seen);
    assert_eq!(stable_since(&state, "n"), group.now);
    assert!(promoted(&group.round()).is_empty(), "upstream promotes here");
    assert_eq!(promoted(&group.after(STABILIZATION)), ["n"]);
}

/// D2. Upstream keeps the statistics of a server that does not answer as they were: after three silent hours in an idle
/// cluster it is still healthy, last contact 0. Ours lets the contact grow older.
#[test]
fn d2_statistics_that_do_not_come_grow_old() {
    let mut group = group("a b c");
    group.round();
    group.silence("b");
    let state = group.seconds(10).state;
    assert!(!is_healthy(&state, "b"));
    let state = group.after(Duration::from_hours(3)).state;
    let age = state.server(&id("b")).unwrap().stats.last_contact.unwrap();
    assert!(age >= Duration::from_hours(3), "{age:?}");
}

/// D3. Upstream removes stale voters without asking cap or `MinQuorum`: of 7 voters 4 unknown ones go in one pass,
/// `MinQuorum` 5, and 3 are left. Ours: with 4 of 7 silent no quorum is left to remove anybody; with 3 it takes at most 2.
#[test]
fn d3_stale_voters_are_subject_to_min_quorum() {
    let past = |stale: &str| {
        let mut group = group("a b c d e f g");
        group.settings.min_quorum = 5;
        group.never_heard(stale);
        group.round();
        (group.live_past_the_dead_threshold(), group.voters().len())
    };
    assert_eq!(past("d e f g"), (vec![], 7));
    assert_eq!(past("e f g"), (vec!["remove e".to_owned(), "remove f".to_owned()], 5));
}

/// D4. Upstream with an empty list of known servers (a configuration error in Vault) removes every non-voter, and voters
/// survive only by a cap of 0. Ours: who is absent from the statistics is unknown, and nobody unknown is removed (A15).
#[test]
fn d4_empty_or_partial_knowledge_removes_nobody() {
    for known in ["", "a b c", "n"] {
        let mut group = group("a b c").with_non_voters("n o");
        group.settings.min_quorum = 0;
        group.settings.server_stabilization_time = Duration::from_hours(99);
        group.round();
        for name in ["b", "c", "n", "o"].iter().filter(|name| !known.contains(**name)) {
            group.silence(name);
        }
        assert_eq!(group.live_past_the_dead_threshold(), Vec::<String>::new(), "known: {known:?}");
    }
}

/// D5. Upstream counts a non-voter that has just joined as a potential voter: 3 voters, 1 failed, `MinQuorum` 3, and the
/// failed one is removed before the newcomer is healthy: 2 voters, tolerance 0. Ours waits until the newcomer is stable
/// and swaps the two in one change (A17).
#[test]
fn d5_a_newcomer_counts_once_it_votes() {
    let mut group = group("a b c");
    group.round();
    group.mute("c");
    assert!(group.live_past_the_dead_threshold().is_empty());
    group.add("n", Suffrage::NonVoter, Intent::Voter);
    group.never_heard("n");
    for _ in 0..30 {
        assert!(group.live(1).is_empty(), "upstream removes c here");
        assert_eq!(group.voters(), ["a", "b", "c"]);
    }
    group.hear("n");
    assert_eq!(group.live(12), ["replace c by n"]);
}

/// D6. Upstream treats the status `unknown` as failed and removes the server. Ours asks only how long its own ears heard
/// nothing.
#[test]
fn d6_an_unknown_server_is_not_a_failed_one() {
    let mut group = group("a b c d");
    group.settings.min_quorum = 0;
    group.never_heard("d");
    let state = group.round().state;
    assert_eq!(state.server(&id("d")).unwrap().status, quorate_autopilot::NodeStatus::Unknown);
    assert!(group.live(300).is_empty());
}

/// D7. Upstream lets non-voters raise the cap: 3 voters, 2 failed, 3 alive non-voters, and both failed voters go in one
/// pass. Ours counts voters only, and with 1 of 3 healthy nothing can be committed at all.
#[test]
fn d7_non_voters_do_not_raise_the_cap() {
    let mut group = group("a b c").with_non_voters("n o p");
    group.settings.min_quorum = 0;
    group.settings.server_stabilization_time = Duration::from_hours(99);
    group.round();
    group.mute("b c");
    assert!(group.live_past_the_dead_threshold().is_empty());

    let mut group = super::group::group("a b c d e f").with_non_voters("n o p");
    group.settings.min_quorum = 0;
    group.settings.server_stabilization_time = Duration::from_hours(99);
    group.round();
    group.mute("e f");
    assert_eq!(group.live_past_the_dead_threshold(), ["remove e", "remove f"]);
    let silent = group.settings.dead_server_last_contact_threshold + SECOND;
    for _ in 0..5 {
        group.report("d", stats(silent, group.last));
        assert!(group.live(1).is_empty(), "a third of six would be no minority, whoever else is there");
    }
}

/// D8. Upstream removes in the background, does not charge what is under way to the next pass, names no index, and acts
/// on states of an earlier term. Ours: each action is a compare-and-set, none is decided while another is under way.
#[test]
fn d8_every_action_is_a_compare_and_set_and_one_is_under_way_at_a_time() {
    let mut group = group("a b c d");
    group.round();
    group.mute("d");
    for _ in 0..4 {
        group.after(SECOND);
    }
    group.now = group.now.plus(group.settings.dead_server_last_contact_threshold);
    group.configuration_index = 99;
    group.is_changing = true;
    let round = group.after(SECOND);
    assert!(round.actions.is_empty());
    assert_eq!(reasons(&round, "d"), [("Remove", "ConfigurationChanging")]);
    group.is_changing = false;
    let remove = Action::Remove { server: id("d"), expected: Index(99), term: Term(3) };
    assert_eq!(group.after(SECOND).actions, [remove]);
}

/// D9. Upstream compares the first state with the process's clock, not the one it was given, and reads its settings up
/// to five times in a pass. Ours has one time and one set of settings in a round: the same story at another time of
/// day is the same story.
#[test]
fn d9_only_differences_of_the_given_time_matter() {
    let story = |start: Now| {
        let mut group: Group = group("a b c d").with_non_voters("n");
        group.now = start;
        group.round();
        group.mute("d");
        group.live_past_the_dead_threshold()
    };
    let first = story(Now(Duration::ZERO));
    assert_eq!(first, ["promote n", "remove d"]);
    assert_eq!(story(Now(Duration::from_hours(24 * 365))), first);
}

/// A11. Upstream demotes the leader like anybody else that a promoter lists. Ours never does: it hands over first.
#[test]
fn the_leader_is_never_demoted_by_itself() {
    let mut group = group("a b c");
    let state = group.round().state;
    let changes = Changes { demotions: vec![id("a")], ..Changes::default() };
    assert_eq!(steps(&state.servers, &changes), []);
}
