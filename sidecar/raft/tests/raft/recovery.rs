//! Quorum recovery: one survivor's log becomes the cluster (K18, S28, raft.md §7 item 20).

use std::collections::BTreeSet;

use quorate_raft::{
    Configuration, Entry, Identity, Index, LogId, Now, Payload, Persist, Raft, RaftId, Recovery,
    RecoveryEpoch, RecoveryRequest, Role, StartError, Stored, Suffrage, Term, Unrecoverable,
};

use crate::cluster::{CLUSTER, founded, id, server};
use crate::disk::Disk;
use crate::solo::{Solo, command, log_id};

/// `a`, one voter of three, with two entries nobody told it are committed.
fn survivor() -> Disk {
    let mut disk = founded(&["a", "b", "c"], &["d"], true);
    disk.entries.extend([command(2, 2, "told"), command(2, 3, "untold"), command(4, 4, "last")]);
    (disk.commit, disk.hard_state.term) = (Index(2), Term(6));
    disk
}

fn request(lost: &[&str], epoch: Option<u64>) -> RecoveryRequest {
    let lost = lost.iter().map(|name| RaftId::new(name).unwrap()).collect();
    RecoveryRequest { lost, epoch: epoch.map(RecoveryEpoch) }
}

fn recover(disk: &Disk, at: u64, request: &RecoveryRequest) -> Result<Recovery, Unrecoverable> {
    disk.stored(1_000).recover(&id("a"), RecoveryEpoch(at), request)
}

fn write(recovery: Result<Recovery, Unrecoverable>) -> (RecoveryEpoch, Persist) {
    match recovery {
        Ok(Recovery::Write { epoch, persist }) => (epoch, *persist),
        other => panic!("not recovered: {other:?}"),
    }
}

fn recovered() -> Disk {
    let mut disk = survivor();
    let (_, persist) = write(recover(&disk, 0, &request(&["b", "c"], None)));
    disk.commit(&persist, None);
    disk
}

/// S28: the whole log counts as committed; behind it stands one configuration, its owner the one voter, in the next
/// epoch and in a term of its own.
#[test]
fn the_whole_log_is_committed_and_sealed_by_a_configuration_of_one() {
    let disk = survivor();
    let (epoch, persist) = write(recover(&disk, 0, &request(&["b", "c"], None)));
    assert_eq!(epoch, RecoveryEpoch(1));
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

/// K18: the user's word names exactly the other voters; the refusal says who they are and where this log ends.
#[test]
fn the_lost_must_be_exactly_the_other_voters() {
    let disk = survivor();
    for lost in [&[][..], &["b"], &["b", "c", "d"], &["b", "x"], &["a", "b", "c"]] {
        let refused = recover(&disk, 0, &request(lost, None)).unwrap_err();
        let others: BTreeSet<RaftId> = ["b", "c"].map(|name| RaftId::new(name).unwrap()).into();
        assert_eq!(refused, Unrecoverable::LostDiffer { last: log_id(4, 4), others }, "{lost:?}");
        assert_eq!(
            refused.to_string(),
            "its log ends at term 4, index 4; the other voters it knows are b, c: if none of them holds a log that ends \
             later (greater term, then greater index) and all of them may be given up, name exactly these as lost"
        );
    }
}

/// K14, K18: in the middle of a replacement both halves are lost.
#[test]
fn of_a_joint_configuration_the_voters_of_both_halves_are_named() {
    let mut disk = survivor();
    let servers = vec![
        server("a", Suffrage::Voter),
        server("b", Suffrage::Outgoing),
        server("c", Suffrage::Voter),
        server("n", Suffrage::Incoming),
    ];
    let joint = Payload::Configuration(Configuration::new(servers).unwrap());
    disk.entries.push(Entry { term: Term(4), index: Index(5), payload: joint });
    recover(&disk, 0, &request(&["b", "c"], None)).unwrap_err();
    let (_, persist) = write(recover(&disk, 0, &request(&["b", "c", "n"], None)));
    let Payload::Configuration(configuration) = &persist.entries[0].payload else { panic!() };
    assert!(!configuration.is_joint());
    assert_eq!(configuration.servers().len(), 1);
}

/// §7 item 20: asked again, with the epoch or without, it answers well and changes nothing; an older epoch is refused.
#[test]
fn a_recovery_asked_for_again_changes_nothing() {
    let disk = recovered();
    for again in [request(&["b", "c"], None), request(&["b", "c"], Some(1)), request(&[], Some(1))] {
        assert_eq!(recover(&disk, 1, &again), Ok(Recovery::Done), "{again:?}");
    }
    let passed = Unrecoverable::EpochPassed { found: RecoveryEpoch(2), asked: RecoveryEpoch(1) };
    assert_eq!(recover(&disk, 2, &request(&[], Some(1))), Err(passed));
    // A cluster that grew again and lost its majority again: the next epoch, or any later one.
    let mut again = recovered();
    again.entries.push(Entry {
        term: Term(8),
        index: Index(6),
        payload: Payload::Configuration(
            crate::cluster::configuration(&["a", "e", "f"], &[]).in_epoch(RecoveryEpoch(1)),
        ),
    });
    assert_eq!(write(recover(&again, 1, &request(&["e", "f"], None))).0, RecoveryEpoch(2));
    assert_eq!(write(recover(&again, 1, &request(&["e", "f"], Some(5)))).0, RecoveryEpoch(5));
}

/// §7 item 20, S28: nothing is made of nothing, nor of a directory the cluster has gone on without.
#[test]
fn an_empty_directory_and_one_that_was_removed_are_refused() {
    let empty = Stored::default().recover(&id("a"), RecoveryEpoch(0), &request(&[], None));
    assert_eq!(empty, Err(Unrecoverable::Empty));
    let removed = founded(&["b", "c"], &[], true);
    assert_eq!(
        recover(&removed, 0, &request(&["b", "c"], None)),
        Err(Unrecoverable::NotMember { id: id("a") })
    );
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

/// The survivors' order: the one whose log ends last (K18).
#[test]
fn survivors_are_compared_by_the_term_of_their_last_entry_and_then_its_index() {
    let best = [log_id(2, 9), log_id(3, 4), log_id(3, 5), log_id(1, 99)].into_iter().max();
    assert_eq!(best, Some(LogId::new(Term(3), Index(5))));
}
