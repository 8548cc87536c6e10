//! Quorum recovery: one survivor's log becomes the cluster (K18, S28, raft.md §7 item 20).

use quorate_raft::{
    Configuration, Entry, Identity, Index, Now, Payload, Raft, RecoveryEpoch, Role, StartError, Suffrage,
    Term,
};

use crate::cluster::{CLUSTER, founded, id, server};
use crate::disk::Disk;
use crate::solo::{Solo, command};

/// `a`, one voter of three, with two entries nobody told it are committed.
fn survivor() -> Disk {
    let mut disk = founded(&["a", "b", "c"], &["d"], true);
    disk.entries.extend([command(2, 2, "told"), command(2, 3, "untold"), command(4, 4, "last")]);
    (disk.commit, disk.hard_state.term) = (Index(2), Term(6));
    disk
}

fn recovered() -> Disk {
    let mut disk = survivor();
    let persist = disk.stored(1_000).recovered(&id("a"), RecoveryEpoch(1)).unwrap();
    disk.commit(&persist, None);
    disk
}

/// S28: the whole log counts as committed; behind it stands one configuration, its owner the one voter, in the next
/// epoch and in a term of its own.
#[test]
fn the_whole_log_is_committed_and_sealed_by_a_configuration_of_one() {
    let epoch = RecoveryEpoch(1);
    let persist = survivor().stored(1_000).recovered(&id("a"), epoch).unwrap();
    let alone = Configuration::new(vec![server("a", Suffrage::Voter)]).unwrap().in_epoch(epoch);
    let entry = Entry { term: Term(7), index: Index(5), payload: Payload::Configuration(alone) };
    assert_eq!(persist.entries, [entry]);
    assert_eq!(persist.commit, Index(5));
    let hard_state = persist.hard_state.unwrap();
    assert_eq!((hard_state.term, hard_state.vote, hard_state.was_member), (Term(7), None, true));
    assert_eq!((persist.truncate_from, persist.install, persist.cluster_id), (None, None, None));
}

/// §7 item 20: the recovered member asks nobody: it leads, applies everything its log holds, and takes writes.
#[test]
fn a_recovered_member_elects_itself_applies_its_whole_log_and_takes_writes() {
    let mut solo = Solo::in_epoch(recovered(), RecoveryEpoch(1));
    while solo.status().role != Role::Leader {
        solo.tick();
    }
    let texts = |solo: &Solo| -> Vec<String> {
        let text = |entry: &Entry| match &entry.payload {
            Payload::Command(command) => Some(String::from_utf8(command.to_vec()).unwrap()),
            _ => None,
        };
        solo.applied.iter().filter_map(text).collect()
    };
    assert_eq!(texts(&solo), ["told", "untold", "last"]);
    assert!(solo.sent.is_empty(), "nobody is left to talk to: {:?}", solo.sent);
    solo.step(quorate_raft::Input::Propose { ticket: quorate_raft::Ticket(1), command: "new".into() });
    assert_eq!(texts(&solo), ["told", "untold", "last", "new"]);
    let latest = solo.status().latest.unwrap();
    assert_eq!((latest.index, latest.configuration.recovery_epoch()), (Index(5), RecoveryEpoch(1)));
}

/// K18: what comes after keeps the epoch, or a new member could not tell which cluster it joined.
#[test]
fn changes_after_a_recovery_keep_its_epoch() {
    let mut solo = Solo::in_epoch(recovered(), RecoveryEpoch(1));
    while solo.status().role != Role::Leader {
        solo.tick();
    }
    let change = quorate_raft::Change::AddNonVoter {
        id: id("e"),
        address: crate::cluster::address("e"),
        intent: quorate_raft::Intent::Voter,
        versions: quorate_raft::Versions::OURS,
    };
    let ticket = quorate_raft::Ticket(1);
    solo.step(quorate_raft::Input::ChangeMembership { ticket, expected: Index(5), change });
    let latest = solo.status().latest.unwrap().configuration;
    assert!(latest.contains(&id("e")));
    assert_eq!(latest.recovery_epoch(), RecoveryEpoch(1));
}

/// K18: a directory that holds the recovered configuration and not its epoch is no recovered one: a mix is damage.
#[test]
fn a_log_of_a_later_epoch_than_its_directory_does_not_start() {
    let identity = Identity {
        cluster_id: CLUSTER,
        recovery_epoch: RecoveryEpoch(0),
        server: id("a"),
        versions: quorate_raft::Versions::OURS,
    };
    let settings = quorate_raft::Settings::default();
    let started = Raft::new(identity, settings, recovered().stored(1_000), 1, Now::default()).map(drop);
    assert_eq!(started, Err(StartError::Inconsistent { part: "recovery epoch" }));
}
