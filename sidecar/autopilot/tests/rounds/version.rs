//! When the cluster's version is raised (K24).

use std::time::Duration;

use quorate_autopilot::limits::VERSION_STEADY;
use quorate_autopilot::{Action, Round, VersionInput};
use quorate_raft::{Index, Suffrage, Version};

use crate::group::{Group, group};

/// Everybody speaks 2 in a cluster at 1; there is no operator.
fn ready() -> Group {
    let mut group = group("a b c");
    group.version = VersionInput {
        cluster: Some(Version(1)),
        common: Some(Version(2)),
        outdated: None,
        has_operator: false,
    };
    group
}

fn raised(round: &Round) -> bool {
    let raise = Action::RaiseVersion { to: Version(2), expected: Index(40) };
    round.actions.contains(&raise)
}

/// K24: without an operator ten minutes without a break are asked for; a break begins them anew, a new leader too.
#[test]
fn without_an_operator_the_version_waits_for_ten_steady_minutes() {
    let mut group = ready();
    let nearly = VERSION_STEADY.saturating_sub(Duration::from_secs(1));
    assert!(!raised(&group.round()));
    assert!(!raised(&group.after(nearly)));
    assert!(raised(&group.after(Duration::from_secs(1))));
    group.version.common = None;
    assert!(!raised(&group.after(Duration::from_secs(1))), "a member is not connected");
    group.version.common = Some(Version(2));
    group.after(Duration::from_secs(1));
    assert!(!raised(&group.after(nearly)), "the ten minutes begin anew");
    group.term += 1;
    assert!(!raised(&group.after(Duration::from_secs(1))), "another leadership knows nothing");
}

/// K24: with an operator its word decides, at once; silence never does.
#[test]
fn with_an_operator_its_word_decides() {
    let mut group = ready();
    group.version.has_operator = true;
    group.round();
    assert!(!raised(&group.after(VERSION_STEADY * 10)));
    group.version.outdated = Some(true);
    assert!(!raised(&group.round()));
    group.version.outdated = Some(false);
    assert!(raised(&group.round()));
}

/// K24: nothing is raised beyond what all speak, before a first configuration, by a follower, or into another change.
#[test]
fn nothing_is_raised_beyond_what_all_speak_nor_into_another_change() {
    let change: [fn(&mut Group); 4] = [
        |group| group.version.common = Some(Version(1)),
        |group| group.version.cluster = None,
        |group| group.is_changing = true,
        |group| group.leader = None,
    ];
    for change in change {
        let mut group = ready();
        group.version.outdated = Some(false);
        change(&mut group);
        assert!(!raised(&group.round()));
    }
}

/// A vote is more urgent: one change a round, and the version comes in the next.
#[test]
fn a_promotion_comes_before_a_version() {
    let mut group = ready().with_non_voters("d");
    group.version.outdated = Some(false);
    let first = group.seconds(12);
    assert!(!raised(&first) && first.actions.len() == 1, "{:?}", first.actions);
    let promoted = group.servers.iter_mut().find(|server| server.suffrage == Suffrage::NonVoter);
    promoted.unwrap().suffrage = Suffrage::Voter;
    assert!(raised(&group.after(Duration::from_secs(1))));
}
