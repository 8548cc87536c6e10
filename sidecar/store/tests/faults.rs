//! A full disk, a failing disk, a decaying disk: clear errors, and nothing acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use fixture::{Member, append, command, commands, frozen, machine_at, persist};
use quorate_machine::{Base, Table};
use quorate_raft::Index;
use quorate_store::limits::BALLAST_BYTES;
use quorate_store::{Call, EXIT_CORRUPT, EXIT_IO, Fault, Log, StoreError};

/// What a disk in memory holds unless told otherwise.
const CAPACITY_DEFAULT: u64 = 64 * 1024 * 1024 * 1024;

/// Commits entries of 100 KB until it fails: the last acknowledged index, and the error.
fn fill(log: &mut Log) -> (u64, StoreError) {
    let big = "z".repeat(100_000);
    for index in 1..100 {
        if let Err(error) = log.commit(&[append(index, vec![command(1, index, &big)])]) {
            return (index - 1, error);
        }
    }
    panic!("the volume holds 100 entries of 100 KB");
}

/// K8, K39: a full volume says so, with directory, free space and way out; it is exit 74 and not corruption,
/// and after a restart with more space everything acknowledged is there.
#[test]
fn a_full_volume_is_named_and_loses_nothing() {
    let member = Member::new();
    let mut log = member.open().log;
    member.disk.set_capacity(Some(3 * 1024 * 1024));
    let (acknowledged, error) = fill(&mut log);
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(error.exit_code(), EXIT_IO);
    let text = error.to_string();
    assert!(text.starts_with("no space left in memory while committing to the log ("), "{text}");
    assert!(text.contains("grow the volume claim"), "{text}");
    assert!(
        matches!(log.commit(&[persist(1)]), Err(StoreError::Stopped)),
        "nothing is acknowledged after it"
    );
    drop(log);
    member.disk.set_capacity(None);
    assert_eq!(member.crash_and_open(1).log.last().index, Index(acknowledged));
}

/// K8: a member that ended because the volume was full starts again on what was held back, and can commit what frees
/// space.
#[test]
fn a_member_starts_again_on_a_full_volume_and_can_delete() {
    let member = Member::new();
    let opened = member.open();
    assert!(!opened.directory.tend_ballast().unwrap().is_low());
    assert_eq!(member.disk.bytes("ballast").map(|bytes| bytes.len() as u64), Some(BALLAST_BYTES));
    let mut log = opened.log;
    // Nothing is left but a little, as if another file had taken the volume.
    let used = CAPACITY_DEFAULT - opened.directory.disk().space().unwrap().free_bytes;
    member.disk.set_capacity(Some(used + 512 * 1024));
    let (acknowledged, error) = fill(&mut log);
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    drop((log, opened.directory, opened.state));
    let again = member.crash_and_open(3);
    assert!(member.disk.bytes("ballast").is_none(), "the ballast is still held back");
    let mut log = again.log;
    assert_eq!(log.last().index, Index(acknowledged));
    log.commit(&[append(acknowledged + 1, vec![command(1, acknowledged + 1, "delete")])]).unwrap();
    assert!(again.directory.space().unwrap().is_low(), "growing writes stay refused");
    // Once there is room, it is held back again.
    member.disk.set_capacity(None);
    again.directory.tend_ballast().unwrap();
    assert!(member.disk.bytes("ballast").is_some());
}

/// K8: a volume that cannot hold space back is still watched, and not asked again and again.
#[test]
fn a_ballast_that_cannot_be_had_hides_nothing() {
    let member = Member::new();
    let directory = member.open().directory;
    member.disk.fail_after(Call::SetLen, 0, Fault::Io);
    assert!(!directory.tend_ballast().unwrap().is_low());
    assert!(member.disk.bytes("ballast").is_none(), "half a ballast is none");
    let calls = member.disk.calls();
    member.disk.set_capacity(Some(200 * 1024 * 1024));
    assert!(directory.tend_ballast().unwrap().is_low());
    member.disk.set_capacity(None);
    directory.tend_ballast().unwrap();
    assert_eq!(member.disk.calls(), calls, "it was tried again");
}

/// A failed fsync is never retried: the page cache calls the pages clean, and a second fsync would lie.
#[test]
fn after_a_failed_fsync_nothing_is_acknowledged() {
    for call in [Call::Sync, Call::Write] {
        let member = Member::new();
        let mut log = member.open().log;
        log.commit(&[append(1, commands(1, 1, 3))]).unwrap();
        member.disk.fail_after(call, 0, Fault::Io);
        let error = log.commit(&[append(2, commands(1, 4, 6))]).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert_eq!(error.exit_code(), EXIT_IO);
        assert!(error.to_string().contains("memory/log.redb"), "{error}");
        let syncs = member.disk.count(Call::Sync);
        assert!(matches!(log.commit(&[append(3, commands(1, 7, 9))]), Err(StoreError::Stopped)));
        assert_eq!(member.disk.count(Call::Sync), syncs, "no second fsync");
        drop(log);
        assert_eq!(member.crash_and_open(1).stored.tail, commands(1, 1, 3), "{call:?}");
    }
}

/// P1: what a failed sync left in the page cache is readable, and on no disk. The process that starts next must not
/// count it among its log, whatever is lost later.
#[test]
fn a_start_counts_on_nothing_that_an_earlier_process_failed_to_sync() {
    let member = Member::new();
    let mut log = member.open().log;
    log.commit(&[append(1, commands(1, 1, 3))]).unwrap();
    member.disk.fail_after(Call::Sync, 0, Fault::Io);
    log.commit(&[append(2, commands(1, 4, 6))]).unwrap_err();
    drop(log);
    let mut log = member.open().log;
    assert_eq!(log.last().index, Index(3));
    // It builds on what it found, and that lasts.
    log.commit(&[append(3, commands(1, 4, 5))]).unwrap();
    drop(log);
    assert_eq!(member.crash_and_open(1).stored.tail, commands(1, 1, 5));
}

/// K4: a failed flush leaves the state at the flush before it, and the file stopped.
#[test]
fn a_failed_flush_leaves_the_flush_before_it() {
    for call in [Call::Sync, Call::Write] {
        let member = Member::new();
        let opened = member.open();
        let mut log = opened.log;
        log.commit(&[append(1, commands(1, 1, 20))]).unwrap();
        let mut machine = machine_at(&opened.state, 1, 5);
        let flush = frozen(&mut machine);
        opened.state.flush(&flush).unwrap();
        machine.flushed(flush.applied());
        fixture::put(&mut machine, 1, 6);
        let flush = frozen(&mut machine);
        member.disk.fail_after(call, 0, Fault::NoSpace);
        let error = opened.state.flush(&flush).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
        assert!(matches!(opened.state.flush(&flush), Err(StoreError::Stopped)));
        assert_eq!(opened.state.durable_applied().index, Index(5));
        drop((log, machine, opened.state, opened.directory));
        let state = member.crash_and_open(2).state;
        assert_eq!(state.durable_applied().index, Index(5));
        assert_eq!(state.get(Table::Keys, b"k6").unwrap(), None);
    }
}

/// K39: a flipped bit in an entry is found by its row's checksum; the error is exit 65 and says what to do.
#[test]
fn a_flipped_bit_in_an_entry_is_found() {
    let member = Member::new();
    let mut log = member.open().log;
    log.commit(&[append(1, vec![command(1, 1, "a very recognisable payload"), command(1, 2, "other")])])
        .unwrap();
    let file = member.disk.bytes("log.redb").unwrap();
    let needle = b"recognisable";
    let found: Vec<_> = (0..file.len() - needle.len()).filter(|&at| file[at..].starts_with(needle)).collect();
    assert!(!found.is_empty());
    drop(log);
    for at in found {
        member.disk.flip_bit("log.redb", at);
    }
    let error = member.try_open().unwrap_err();
    assert_eq!(error.exit_code(), EXIT_CORRUPT, "{error}");
    assert!(error.to_string().contains("memory/log.redb is damaged"), "{error}");
    assert!(error.to_string().contains("rejoins empty under a new Raft ID"), "{error}");
}
