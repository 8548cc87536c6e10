//! The data directory: created once, opened by its own member only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::sync::Arc;

use fixture::{Member, append, commands, frozen, machine_at, raft_id, rng, vote};
use quorate_raft::{ClusterId, Incarnation, Index, Persist, RaftId, RecoveryEpoch};
use quorate_store::{
    CrashDisk, Directory, Disk, EXIT_CORRUPT, EXIT_UNAVAILABLE, EXIT_WRONG_IDENTITY, OsDisk, StoreError,
};
use redb::TableDefinition;

/// Of a cluster that was never recovered.
const EPOCH: RecoveryEpoch = RecoveryEpoch(0);

/// K1: the incarnation is minted when the directory is created, once, and differs from any other's.
#[test]
fn a_directory_is_created_once_with_a_random_incarnation() {
    let root = tempfile::tempdir().unwrap();
    let mint = |name: &str| {
        let path = root.path().join(name);
        Directory::create(&path, raft_id()).unwrap();
        Directory::open(&path, &raft_id()).unwrap().directory.identity().incarnation
    };
    let (first, second) = (mint("a"), mint("b"));
    assert_ne!(first, second);
    let again = Directory::create(root.path().join("a"), raft_id());
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    let opened = Directory::open(root.path().join("a"), &raft_id()).unwrap();
    assert_eq!(opened.directory.identity().incarnation, first);
    assert!(opened.stored.is_empty());
}

/// K1, K39: another member's volume is named, with both IDs and the way out.
#[test]
fn another_members_volume_is_refused_by_name() {
    let member = Member::new();
    let other = RaftId::new("db-1-77be02d9").unwrap();
    let error = Directory::open_on(&member.dynamic(), &other).unwrap_err();
    assert_eq!(error.exit_code(), EXIT_WRONG_IDENTITY);
    assert_eq!(
        error.to_string(),
        "this volume holds the log of db-1-3f2a91c4, but this member is db-1-77be02d9: mount db-1-77be02d9's own volume, \
         or delete the claim to rejoin empty under a new Raft ID"
    );
}

#[test]
fn a_second_process_is_refused_until_the_first_is_gone() {
    let root = tempfile::tempdir().unwrap();
    Directory::create(root.path(), raft_id()).unwrap();
    let first = Directory::open(root.path(), &raft_id()).unwrap();
    let second = Directory::open(root.path(), &raft_id()).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    assert_eq!(second.exit_code(), EXIT_UNAVAILABLE);
    drop(first);
    Directory::open(root.path(), &raft_id()).unwrap();
}

#[test]
fn an_empty_volume_is_missing_and_not_corrupt() {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
    let error = Directory::open_on(&disk, &raft_id()).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert_eq!(error.exit_code(), EXIT_UNAVAILABLE);
}

/// K1: a crash at any call of the creation leaves nothing, which can be created again, or a whole directory.
#[test]
fn a_crash_at_any_call_of_the_creation_leaves_nothing_or_everything() {
    let whole = Member::new();
    let calls = whole.disk.calls();
    assert!(calls > 5);
    for cut_at in 0..calls {
        let member = Member { disk: CrashDisk::new() };
        member.disk.cut_power_after(cut_at);
        Directory::create_on(&member.dynamic(), raft_id(), Incarnation(1), EPOCH).unwrap_err();
        member.disk.crash(&mut rng(cut_at));
        if !Directory::exists_on(&member.dynamic()).unwrap() {
            Directory::create_on(&member.dynamic(), raft_id(), Incarnation(2), EPOCH).unwrap();
        }
        assert!(member.open().stored.is_empty(), "cut at {cut_at}");
    }
}

/// K8: a first start that is ended at any call, by power or by a full disk, must not leave what the next one takes for
/// damage: the member would be replaced for it. (Simulator: an empty `state.redb`.)
#[test]
fn a_first_start_ended_at_any_call_is_never_taken_for_damage() {
    let whole = Member::new();
    let created = whole.disk.calls();
    drop(whole.open());
    for cut_at in 0..whole.disk.calls() - created {
        for seed in 0..8 {
            let member = Member::new();
            member.disk.cut_power_after(cut_at);
            assert!(member.try_open().is_err() || member.disk.is_dead(), "cut at {cut_at}");
            member.disk.crash(&mut rng(seed));
            assert!(member.open().stored.is_empty(), "cut at {cut_at}");
        }
    }
    for room in (0..80_000).step_by(2_000) {
        let member = Member::new();
        let space = member.disk.space().unwrap();
        member.disk.set_capacity(Some(space.total_bytes - space.free_bytes + room));
        drop(member.try_open());
        member.disk.set_capacity(None);
        assert!(member.open().stored.is_empty(), "with room for {room} bytes");
    }
}

/// K2: the cluster is recorded with the first commit, and stays.
#[test]
fn the_cluster_is_recorded_with_the_first_commit() {
    let member = Member::new();
    let mut log = member.open().log;
    log.commit(&[Persist { cluster_id: Some(ClusterId(9)), ..vote(1, 1, "a") }]).unwrap();
    drop(log);
    let opened = member.crash_and_open(1);
    assert_eq!(opened.stored.cluster_id, Some(ClusterId(9)));
    assert_eq!(opened.directory.identity().cluster_id, Some(ClusterId(9)));
}

const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");

fn rewrite_format(path: &std::path::Path, record: Option<&[u8]>) {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(STORE).unwrap();
        match record {
            Some(record) => table.insert("format", record).unwrap().map(drop),
            None => table.remove("format").unwrap().map(drop),
        };
    }
    transaction.commit().unwrap();
}

/// K24, K8: a newer format is refused with the versions, and is not called damage: this release is the problem.
#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let root = tempfile::tempdir().unwrap();
    Directory::create(root.path(), raft_id()).unwrap();
    rewrite_format(&root.path().join("log.redb"), Some(b"quorate log \x02\0\0\0"));
    let error = Directory::open(root.path(), &raft_id()).unwrap_err();
    assert_eq!(error.exit_code(), EXIT_UNAVAILABLE);
    assert!(error.to_string().contains("format version 2, this build reads 1 to 1"), "{error}");
}

#[test]
fn foreign_and_empty_files_are_corrupt() {
    let damage: [fn(&std::path::Path); 4] = [
        |path| rewrite_format(path, None),
        |path| rewrite_format(path, Some(b"quorate state \x01\0\0\0")),
        |path| std::fs::write(path, b"").unwrap(),
        |path| std::fs::write(path, b"what is this?").unwrap(),
    ];
    for damage in damage {
        let root = tempfile::tempdir().unwrap();
        Directory::create(root.path(), raft_id()).unwrap();
        damage(&root.path().join("log.redb"));
        let error = Directory::open(root.path(), &raft_id()).unwrap_err();
        assert_eq!(error.exit_code(), EXIT_CORRUPT, "{error}");
        assert!(error.to_string().contains("do not start this member from this volume again"), "{error}");
    }
}

/// P4: state without its log is not a new directory: creating over it is refused.
#[test]
fn a_directory_that_lost_its_log_is_not_taken_for_empty() {
    let member = Member::new();
    drop(member.open());
    member.disk.remove("log.redb").unwrap();
    let error = Directory::create_on(&member.dynamic(), raft_id(), Incarnation(2), EPOCH).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
}

/// K3: start refuses when entries between the state and the log are missing, as after losing the state file.
#[test]
fn a_gap_between_state_and_log_is_refused() {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(1, 1, 5))]).unwrap();
    log.commit(&[append(2, commands(1, 6, 9))]).unwrap();
    let mut machine = machine_at(&opened.state, 1, 7);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    log.compact(Index(5)).unwrap();
    assert_eq!(log.first(), Index(6));
    drop((log, machine, opened.state, opened.directory));
    member.disk.remove("state.redb").unwrap();
    let error = member.try_open().unwrap_err();
    assert!(matches!(error, StoreError::Gap { first: Index(6), durable_applied: Index(0), .. }), "{error}");
    assert_eq!(error.exit_code(), EXIT_CORRUPT);
}

/// K8: free space is that of the volume.
#[test]
fn free_space_is_that_of_the_volume() {
    let root = tempfile::tempdir().unwrap();
    Directory::create(root.path(), raft_id()).unwrap();
    let opened = Directory::open(root.path(), &raft_id()).unwrap();
    let volume = OsDisk::new(root.path()).unwrap().space().unwrap();
    assert_eq!(opened.directory.space().unwrap().total_bytes, volume.total_bytes);
    let member = Member::new();
    member.disk.set_capacity(Some(300 * 1024 * 1024));
    assert!(!member.open().directory.space().unwrap().is_low());
    member.disk.set_capacity(Some(200 * 1024 * 1024));
    assert!(member.open().directory.space().unwrap().is_low());
}
