//! What people read of what is held back (A23, P6): a word for machines and a sentence, both in `docs/autopilot.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_autopilot::{
    ActionKind, Blocked, BlockedReason, Defaults, MinQuorumSource, Settings, SettingsChange, Unhealthy,
};
use quorate_raft::Now;

use super::group::{SECOND, blocked, group, id};

/// One of each kind.
fn reasons() -> Vec<BlockedReason> {
    let seconds = Duration::from_secs;
    vec![
        BlockedReason::Unhealthy(Unhealthy::NeverHeard),
        BlockedReason::Stabilizing { missing: seconds(7), needed: seconds(10) },
        BlockedReason::Leaving,
        BlockedReason::WaitsForReplaced { old: id("db-1") },
        BlockedReason::ConfigurationChanging,
        BlockedReason::AnotherFirst { server: id("db-1") },
        BlockedReason::QuorumLost { healthy: 1, voters: 3, needed: 2 },
        BlockedReason::WouldLoseQuorum { healthy: 1, voters: 2, needed: 2 },
        BlockedReason::CleanupDisabled,
        BlockedReason::NothingKnown,
        BlockedReason::LeaderIsNew { missing: seconds(9) },
        BlockedReason::MinQuorum { left: 2, min_quorum: 3, source: MinQuorumSource::Set },
        BlockedReason::RemovalLimit { removed: 2, voters: 5, within: seconds(600) },
        BlockedReason::ZoneUnknown,
        BlockedReason::VersionUnknown { server: id("db-1") },
        BlockedReason::AwaitNewVoters { healthy: 1, needed: 3 },
        BlockedReason::UpgradeFirst { status: "demoting" },
        BlockedReason::OlderVersion { target: "2.0.0".to_owned() },
        BlockedReason::ZoneRedundancy { zone: "b".to_owned(), new: 1, old: 2 },
    ]
}

const KINDS: [ActionKind; 4] =
    [ActionKind::Promote, ActionKind::Demote, ActionKind::Remove, ActionKind::TransferLeadership];

/// A23: each reason has a word of its own, and the guide says what to do about it.
#[test]
fn the_guide_lists_every_reason_and_action() {
    let guide = include_str!("../../../../docs/autopilot.md");
    let words: BTreeSet<&str> = reasons().iter().map(BlockedReason::as_str).collect();
    assert_eq!(words.len(), reasons().len());
    for word in words.into_iter().chain(KINDS.map(ActionKind::as_str)) {
        assert!(guide.contains(&format!("| `{word}` |")), "docs/autopilot.md has no row for `{word}`");
    }
}

/// A23, K51: every sentence names the server, and says something after that, without a full stop.
#[test]
fn every_sentence_names_the_server_and_a_cause() {
    for action in KINDS {
        for reason in reasons() {
            let blocked = Blocked { action, server: id("db-3"), reason, since: Now::default() };
            let message = blocked.message("db-3");
            assert!(message.contains("db-3") && message.len() > "db-3".len() + 10, "{message}");
            assert!(!message.ends_with('.') && !message.contains('{'), "{message}");
        }
    }
}

/// A23, A20, K27: where nobody declares how many members there are to be, nobody is removed until `min_quorum` is set; a
/// person reads why, and a way out that is open: of three no smaller number may be set.
#[test]
fn where_nobody_declares_members_the_dead_stay_and_the_way_out_is_said() {
    let told = |voters: &str, dead: &str| {
        let servers = u32::try_from(voters.split(' ').count()).unwrap();
        let mut group = group(voters);
        group.settings = Settings::new(&SettingsChange::default(), &Defaults::hashicorp(servers));
        group.round();
        group.mute(dead);
        assert!(group.live_past_the_dead_threshold().is_empty());
        blocked(&group.after(SECOND), dead).unwrap()
    };
    assert_eq!(
        told("a b c d", "d"),
        "d is dead and stays for now: 3 would be left, and while min_quorum is not set all 4 that are there are wanted; \
         remove it by hand, add a member as its replacement, or set min_quorum to 3"
    );
    assert_eq!(
        told("a b c", "c"),
        "c is dead and stays for now: 2 would be left, and while min_quorum is not set all 3 that are there are wanted; \
         remove it by hand, add a member as its replacement"
    );
}
