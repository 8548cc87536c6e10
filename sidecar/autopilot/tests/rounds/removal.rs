//! Removal of dead servers: who, when, how many, and what everybody else is told (A13-A18, `autopilot.md` §6b).

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_autopilot::{Action, Report, SnapshotProgress, Stats, round};
use quorate_raft::{Index, Intent, Suffrage, Term};

use super::group::{Group, SECOND, blocked, group, id, log_id, reasons, stats};

/// Voters of which these are silent for longer than the dead server threshold, and have not been judged since.
fn with_dead(voters: &str, dead: &str, min_quorum: u32) -> Group {
    let mut group = group(voters);
    group.settings.min_quorum = min_quorum;
    group.round();
    group.mute(dead);
    for _ in 0..4 {
        group.after(SECOND);
    }
    group.now = group.now.plus(group.settings.dead_server_last_contact_threshold);
    group
}

/// A12, A17: a dead voter leaves by a compare-and-set once it is dead, and not a second before.
#[test]
fn a_dead_voter_is_removed_once_it_was_silent_for_the_whole_threshold() {
    let mut group = group("a b c d");
    group.round();
    group.mute("d");
    let threshold = group.settings.dead_server_last_contact_threshold.as_secs();
    for _ in 0..threshold {
        assert!(group.after(SECOND).actions.is_empty());
    }
    let remove = Action::Remove { server: id("d"), expected: Index(40), term: Term(3) };
    assert_eq!(group.after(SECOND).actions, [remove]);
}

/// A14: never fewer voters than `min_quorum`.
#[test]
fn no_removal_leaves_fewer_voters_than_min_quorum() {
    let mut group = with_dead("a b c", "c", 3);
    let round = group.after(SECOND);
    assert!(round.actions.is_empty());
    assert_eq!(reasons(&round, "c"), [("Remove", "MinQuorum")]);
    assert_eq!(
        blocked(&round, "c").unwrap(),
        "c is dead and stays for now: 2 would be left and min_quorum is 3; add a member to take its place, or lower min_quorum"
    );
    assert_eq!(with_dead("a b c", "c", 2).live(3), ["remove c"]);
}

/// A13, consul PR #4017: at most a strict minority within a dead server threshold, over rounds and not in each anew.
#[test]
fn within_one_threshold_less_than_half_of_the_voters_are_removed() {
    let mut group = with_dead("a b c d e f g", "e f g", 1);
    assert_eq!(group.live(3), ["remove e", "remove f", "remove g"]);
    let silent = group.settings.dead_server_last_contact_threshold + SECOND;
    for _ in 0..silent.as_secs() - 5 {
        group.report("d", stats(silent, group.last));
        assert!(group.live(1).is_empty(), "four of seven would be no minority");
    }
    let mut done = Vec::new();
    for _ in 0..10 {
        group.report("d", stats(silent, group.last));
        done.extend(group.live(1));
    }
    assert_eq!(done, ["remove d"], "a threshold later it is one of four");
}

/// A13: the limit counts what this leader has removed, so that many small passes are no way around it.
#[test]
fn the_limit_counts_what_was_removed_before() {
    let mut group = with_dead("a b c d e", "d e", 1);
    assert_eq!(group.live(3), ["remove d", "remove e"]);
    // A voter that is dead already by the measure of the leader, within the same window.
    let silent = group.settings.dead_server_last_contact_threshold + SECOND;
    group.report("c", stats(silent, group.last));
    for _ in 0..4 {
        group.report("c", stats(silent, group.last));
        assert!(group.live(1).is_empty());
    }
    let round = group.after(SECOND);
    assert_eq!(
        blocked(&round, "c").unwrap(),
        "c is dead and stays for now: 2 of 5 voters were removed within 600 s, more would be no minority"
    );
}

/// A17: those that are left must have a healthy majority, in this very round.
#[test]
fn nobody_is_removed_if_those_left_have_no_healthy_majority() {
    let mut group = with_dead("a b c d e", "e", 1);
    group.mute("c d");
    let round = group.after(SECOND * 2);
    assert!(round.state.failure_tolerance > 0, "a late sample has flipped nobody yet");
    assert!(round.actions.is_empty());
    assert_eq!(reasons(&round, "e"), [("Remove", "WouldLoseQuorum")]);
}

/// P3, A17: with the quorum lost nothing can be committed, so nothing is tried.
#[test]
fn with_the_quorum_lost_nobody_is_removed() {
    let mut group = with_dead("a b c", "b c", 0);
    let round = group.after(SECOND);
    assert!(round.actions.is_empty());
    assert_eq!(reasons(&round, "b"), [("Remove", "QuorumLost")]);
}

/// A16: a status nobody knows is no reason; only this leader's own ears are.
#[test]
fn an_unknown_status_is_no_reason_to_remove_anybody() {
    let mut group = group("a b c d");
    group.settings.min_quorum = 1;
    group.never_heard("d");
    let before = group.settings.dead_server_last_contact_threshold.as_secs();
    for _ in 0..=before / 10 {
        assert!(group.after(SECOND * 10).actions.is_empty());
    }
    assert_eq!(group.live(1), ["remove d"], "this leader has listened for a whole threshold");
}

/// A15: a new leader removes nobody before it has heard everyone or listened for a whole threshold.
#[test]
fn a_new_leader_listens_before_it_removes_anybody() {
    let mut group = group("a b c d e");
    group.settings.min_quorum = 1;
    let silent = group.settings.dead_server_last_contact_threshold + SECOND;
    group.never_heard("d");
    for _ in 0..5 {
        group.report("e", stats(silent, group.last));
        let round = group.after(SECOND);
        assert!(round.actions.is_empty());
        assert_eq!(reasons(&round, "e"), [("Remove", "LeaderIsNew")]);
    }
    group.hear("d");
    group.report("e", stats(silent, group.last));
    assert_eq!(group.live(1), ["remove e"], "now everyone has been heard");
}

/// A15, raft-autopilot #17: under a leader of long standing a newcomer is not dead because it was never heard; it has a
/// whole threshold to be.
#[test]
fn a_newcomer_has_a_whole_threshold_to_be_heard() {
    let mut group = group("a b c d");
    assert!(group.live_past_the_dead_threshold().is_empty());
    group.add("n", Suffrage::NonVoter, Intent::Voter);
    group.never_heard("n");
    let threshold = group.settings.dead_server_last_contact_threshold.as_secs();
    assert!(group.live(threshold).is_empty());
    assert_eq!(group.live(3), ["remove n"]);
}

/// A15, D4: who is absent from the statistics is not known, and nobody unknown is removed.
#[test]
fn who_is_not_in_the_statistics_is_not_removed() {
    let mut group = group("a b c d");
    group.settings.min_quorum = 1;
    group.add("n", Suffrage::NonVoter, Intent::Voter);
    group.round();
    group.silence("d");
    group.silence("n");
    assert_eq!(group.live_past_the_dead_threshold(), Vec::<String>::new());
    let round = group.after(SECOND);
    assert!(round.state.server(&id("d")).unwrap().is_dead, "and yet it stays");
    assert_eq!(reasons(&round, "d"), [("Remove", "NothingKnown")]);
    assert_eq!(reasons(&round, "n").last(), Some(&("Remove", "NothingKnown")));
}

/// A18, raft-autopilot #17: a joiner that installs a snapshot is alive while more of it arrives, and only then.
#[test]
fn a_joiner_that_receives_a_snapshot_is_not_removed_while_bytes_advance() {
    let mut group = group("a b c d").with_non_voters("n");
    group.settings.dead_server_last_contact_threshold = Duration::from_mins(1);
    group.round();
    let began = group.now;
    let snapshot = |group: &Group, sent_bytes| Stats {
        last_contact: Some(group.now.since(began)),
        last: log_id(0, 0),
        snapshot: Some(SnapshotProgress { sent_bytes, total_bytes: 1 << 40 }),
    };
    for step in 1..=20 {
        for _ in 0..30 {
            let report = snapshot(&group, step << 20);
            group.report("n", report);
            assert!(group.live(1).is_empty(), "removed in step {step}");
        }
    }
    let mut done = Vec::new();
    for _ in 0..100 {
        let report = snapshot(&group, 20 << 20);
        group.report("n", report);
        done.extend(group.live(1));
    }
    assert_eq!(done, ["remove n"], "it has stalled");
}

/// A18: that a transfer begins is the leader's doing, not a sign of the server's; one that begins anew goes on counting
/// from where it is.
#[test]
fn a_transfer_that_begins_again_and_again_is_no_sign_of_life() {
    let mut group = group("a b c d").with_non_voters("n");
    group.settings.dead_server_last_contact_threshold = Duration::from_mins(1);
    group.round();
    let began = group.now;
    let report = |group: &mut Group, sent_bytes: Option<u64>| {
        let snapshot = sent_bytes.map(|sent_bytes| SnapshotProgress { sent_bytes, total_bytes: 1 << 40 });
        let last_contact = Some(group.now.since(began));
        group.report("n", Stats { last_contact, last: log_id(0, 0), snapshot });
    };
    for second in 0..60 {
        report(&mut group, (second % 2 == 0).then_some(0));
        assert!(group.live(1).is_empty());
    }
    let is_dead = |group: &mut Group| group.after(SECOND).state.server(&id("n")).unwrap().is_dead;
    report(&mut group, Some(7));
    assert!(!is_dead(&mut group), "a minute is not over");
    for sent_bytes in [None, Some(0), Some(0)] {
        report(&mut group, sent_bytes);
        assert!(is_dead(&mut group), "{sent_bytes:?}");
    }
    report(&mut group, Some(1));
    assert!(!is_dead(&mut group), "less than before, and more than a second ago");
}

/// A18: the picture holds what the transfer itself knows, not only that there is one.
#[test]
fn what_a_transfer_says_is_in_the_picture() {
    let mut group = group("a b").with_non_voters("n");
    let sent = SnapshotProgress { sent_bytes: 5, total_bytes: 9 };
    let nothing = SnapshotProgress { sent_bytes: 0, total_bytes: 0 };
    group.report("n", Stats { last_contact: Some(SECOND), last: log_id(0, 0), snapshot: Some(nothing) });
    let input = group.input().with_snapshots(&BTreeMap::from([(id("n"), sent), (id("gone"), sent)]));
    let state = round(&mut group.observer, &group.settings, &input).state;
    let snapshot = |name: &str| state.server(&id(name)).map(|server| server.stats.snapshot);
    assert_eq!((snapshot("n"), snapshot("b"), snapshot("gone")), (Some(Some(sent)), Some(None), None));
}

/// K15, D5, A17: at `min_quorum` a dead voter goes only in a swap with a stable server.
#[test]
fn at_min_quorum_a_dead_voter_is_swapped_for_a_stable_newcomer() {
    let mut group = with_dead("a b c", "c", 3);
    group.add("n", Suffrage::NonVoter, Intent::Voter);
    group.round();
    assert!(group.live(9).is_empty(), "not stable yet");
    assert_eq!(group.live(2), ["replace c by n"]);
}

/// K15: below `min_quorum` a newcomer is one more voter; the dead one may come back.
#[test]
fn below_min_quorum_a_newcomer_is_added() {
    let mut group = with_dead("a b c", "c", 5);
    group.add("n", Suffrage::NonVoter, Intent::Voter);
    group.round();
    assert_eq!(group.live(11), ["promote n"]);
    assert!(group.live(5).is_empty());
}

/// With cleanup off nobody is removed or swapped, and the state says why (Smana/cloud-native-ref #1787).
#[test]
fn with_cleanup_off_the_dead_stay_and_it_is_said() {
    let mut group = with_dead("a b c d", "d", 3);
    group.settings.cleanup_dead_servers = false;
    let round = group.after(SECOND);
    assert!(round.actions.is_empty());
    assert_eq!(
        blocked(&round, "d").unwrap(),
        "d is dead and stays for now: cleanup_dead_servers is false; remove it by hand if it will not return"
    );
}

/// A31: a dead read replica leaves, whatever `min_quorum` is: it never counted.
#[test]
fn a_dead_read_replica_is_removed_and_counts_for_nothing() {
    let mut group = group("a b c");
    group.add("r", Suffrage::NonVoter, Intent::ReadReplica);
    group.round();
    group.mute("r");
    assert_eq!(group.live_past_the_dead_threshold(), ["remove r"]);
}

/// A10: one removal a round, the non-voters first, then by ID; none while a change is in flight (D8).
#[test]
fn removals_come_one_a_round_and_not_into_another_change() {
    let mut group = with_dead("a b c d e f", "f e", 1);
    group.add("z", Suffrage::NonVoter, Intent::ReadReplica);
    let silent = group.settings.dead_server_last_contact_threshold + SECOND;
    group.report("z", stats(silent, group.last));
    group.is_changing = true;
    let round = group.after(SECOND);
    assert!(round.actions.is_empty());
    assert_eq!(reasons(&round, "e"), [("Remove", "ConfigurationChanging")]);
    group.is_changing = false;
    let round = group.round();
    assert_eq!(round.actions.len(), 1);
    assert_eq!(reasons(&round, "e"), [("Remove", "AnotherFirst")]);
    assert_eq!(group.live(4), ["remove z", "remove e", "remove f"]);
}

/// Without reconciling (Vault's `VAULT_RAFT_AUTOPILOT_DISABLE`) the state is there and nothing is done.
#[test]
fn without_reconciling_nothing_is_done() {
    let mut group = with_dead("a b c d", "d", 1);
    group.reports.insert(id("d"), Report::default());
    group.is_reconciling = false;
    let round = group.after(SECOND);
    assert!(round.actions.is_empty() && round.state.blocked.is_empty());
    assert!(round.state.server(&id("d")).unwrap().is_dead);
}
