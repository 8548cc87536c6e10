//! What users of the originals ran into (`autopilot.md` §5), as far as a pure function can show it; the rows about
//! addresses, sessions, votes and Pods are shown where those are. Each test says what happened there.

use std::time::Duration;

use quorate_autopilot::join::remove_server;
use quorate_autopilot::{Defaults, Settings, SettingsChange, validate};
use quorate_raft::{Intent, Suffrage};

use super::group::{SECOND, blocked, group, id, is_healthy, reasons};

/// vault #17848, reverted: a server without a node type counted as no potential voter, and a dead voter was never
/// removed. Ours counts the voters of the configuration; labels and reports are not asked.
#[test]
fn a_missing_label_keeps_no_dead_voter() {
    let mut group = group("a b c d");
    group.round();
    group.mute("d");
    assert!(group.reports.is_empty());
    assert_eq!(group.live_past_the_dead_threshold(), ["remove d"]);
}

/// vault #18004: nine listed, four of them dead, three healthy, two joining, and the quorum was lost while cleanup waited
/// an hour. Ours swaps a dead voter for each newcomer as soon as that is stable.
#[test]
fn dead_voters_are_swapped_as_soon_as_newcomers_are_stable() {
    let mut group = group("a b c d e");
    group.settings.min_quorum = 5;
    group.round();
    group.mute("d e");
    assert!(group.live_past_the_dead_threshold().is_empty());
    group.add("n", Suffrage::NonVoter, Intent::Voter);
    group.add("o", Suffrage::NonVoter, Intent::Voter);
    assert_eq!(group.live(13), ["replace d by n", "replace e by o"]);
    assert_eq!(group.round().state.failure_tolerance, 2);
}

/// consul #5922: cleanup went 5, 4, 3 and so on, and quietly shrank the quorum. Ours: `min_quorum` is the declared
/// replicas unless set.
#[test]
fn by_default_cleanup_never_goes_below_the_declared_replicas() {
    let mut group = group("a b c d e");
    group.settings = Settings::new(&SettingsChange::default(), &Defaults::kubernetes(5));
    group.round();
    group.mute("e");
    assert!(group.live_past_the_dead_threshold().is_empty());
    assert_eq!(group.voters().len(), 5);
    let round = group.after(SECOND);
    assert_eq!(reasons(&round, "e"), [("Remove", "MinQuorum")]);
}

/// consul #8118, NixOS #90613: rolling reboots removed servers that came back as non-voters while the next one rebooted.
/// Ours: one that is back within the dead server threshold never lost its vote.
#[test]
fn a_voter_that_reboots_keeps_its_vote() {
    let mut group = group("a b c");
    group.settings.min_quorum = 0;
    group.round();
    for name in ["b", "c", "b", "c"] {
        group.mute(name);
        assert!(group.live(120).is_empty());
        group.hear(name);
        assert!(group.live(10).is_empty());
    }
    assert_eq!(group.voters(), ["a", "b", "c"]);
}

/// consul #3611: keeping the number of voters odd, promotion waited for removal and removal for promotion. Ours promotes
/// as soon as the server is stable, to an even number too; that is the safe order.
#[test]
fn promotion_waits_for_no_removal() {
    let mut group = group("a b c").with_non_voters("n");
    group.round();
    group.mute("c");
    assert_eq!(group.live(12), ["promote n"]);
    assert_eq!(group.voters().len(), 4);
}

/// consul #7348, #14886, #9087: `healthy` dropped to 0 for seconds at each late contact. Ours takes three in a row, and
/// shows each sample.
#[test]
fn one_late_contact_makes_nobody_unhealthy() {
    let mut group = group("a b c");
    group.round();
    group.mute("b");
    let state = group.after(SECOND * 2).state;
    assert!(is_healthy(&state, "b") && state.is_healthy);
    assert!(state.server(&id("b")).unwrap().health.sample.is_err());
}

/// vault #27793, an outage: the dead threshold set to a minute or less took out servers that were restarting. Ours
/// refuses less than a minute.
#[test]
fn a_dead_threshold_below_a_minute_is_refused() {
    let with = |seconds| {
        let threshold = Some(Duration::from_secs(seconds));
        let change =
            SettingsChange { dead_server_last_contact_threshold: threshold, ..SettingsChange::default() };
        validate(&change, &Defaults::hashicorp(3))
    };
    assert!(with(59).is_err());
    assert!(with(60).is_ok());
}

/// vault #11177, #11155: nodes stayed non-voters and nobody could tell why. Ours says why, for everyone who is meant to
/// vote.
#[test]
fn whoever_waits_for_a_vote_is_told_why() {
    let mut group = group("a b c").with_non_voters("late new");
    group.never_heard("late");
    let round = group.round();
    assert_eq!(blocked(&round, "late").unwrap(), "late gets no vote yet: the leader has not heard it yet");
    assert_eq!(blocked(&round, "new").unwrap(), "new needs 10 s more of health (10 s), then votes");
}

/// nomad #18423: a server that had left could not be removed any more. Removing is by ID, and an ID that is gone is done.
#[test]
fn removing_what_is_not_there_is_done() {
    let group = group("a b");
    assert_eq!(remove_server(&group.servers, &id("gone")), []);
    assert_eq!(remove_server(&group.servers, &id("b")).len(), 1);
}
