//! An application's snapshots on one member's disk (K22): whole or not there, after any crash.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::sync::Arc;

use fixture::Member;
use quorate_machine::{ApiIndex, ApplicationSnapshot};
use quorate_store::{ApplicationFile, ApplicationSnapshots, Disk, StoreError};

fn take(
    snapshots: &ApplicationSnapshots,
    index: u64,
    bytes: &[u8],
) -> Result<Arc<ApplicationFile>, StoreError> {
    let mut incoming = snapshots.begin(ApiIndex(index))?;
    for piece in bytes.chunks(10_000) {
        incoming.write(piece)?;
    }
    incoming.finish(None)
}

fn open(member: &Member) -> ApplicationSnapshots {
    ApplicationSnapshots::open(&member.open().directory).unwrap()
}

/// K22: what was taken is there after a power loss, with every byte; what was still coming is gone.
#[test]
fn a_snapshot_that_was_taken_survives_a_crash_and_one_on_its_way_does_not() {
    let member = Member::new();
    let bytes: Vec<u8> = (0..25_000_u32).flat_map(u32::to_le_bytes).collect();
    let (whole, names) = {
        let snapshots = open(&member);
        let whole = take(&snapshots, 7, &bytes).unwrap().snapshot();
        let mut half = snapshots.begin(ApiIndex(8)).unwrap();
        half.write(b"half").unwrap();
        // The process dies here: nothing is dropped.
        std::mem::forget(half);
        (whole, member.disk.names().unwrap())
    };
    assert_eq!(names.iter().filter(|name| name.contains("application")).count(), 2, "{names:?}");
    member.disk.crash(&mut fixture::rng(1));
    let snapshots = open(&member);
    let file = snapshots.get(whole).unwrap();
    assert_eq!((whole.index, whole.bytes), (ApiIndex(7), bytes.len() as u64));
    assert_eq!(&file.read(0, usize::MAX).unwrap()[..], &bytes[..]);
    assert_eq!(&file.read(99_990, 100).unwrap()[..], &bytes[99_990..]);
    let names = member.disk.names().unwrap();
    assert_eq!(names.iter().filter(|name| name.contains("application")).count(), 1, "{names:?}");
}

/// K22: the recorded snapshot stays, an earlier one goes, one that may yet be recorded stays for a while.
#[test]
fn only_what_is_superseded_is_swept() {
    let member = Member::new();
    let snapshots = open(&member);
    let taken = |index| take(&snapshots, index, b"state").unwrap().snapshot();
    let (old, recorded, offered) = (taken(3), taken(5), taken(9));
    snapshots.sweep(None).unwrap();
    assert!(snapshots.get(old).is_some(), "nothing is recorded yet");
    snapshots.sweep(Some(recorded)).unwrap();
    assert!(snapshots.get(old).is_none());
    assert!(snapshots.get(recorded).is_some());
    assert!(snapshots.get(offered).is_some());
    drop(snapshots);
    assert!(open(&member).get(recorded).is_some());
}

/// K22: bytes that are not those that were asked for are refused, and nothing of them stays.
#[test]
fn another_snapshot_than_was_asked_for_is_refused() {
    let member = Member::new();
    let snapshots = open(&member);
    let expected = ApplicationSnapshot { index: ApiIndex(4), sha256: [0; 32], bytes: 5 };
    let mut incoming = snapshots.begin(expected.index).unwrap();
    incoming.write(b"state").unwrap();
    let error = incoming.finish(Some(expected)).unwrap_err();
    assert!(error.is_refusal(), "{error}");
    assert!(snapshots.is_empty());
    assert!(!member.disk.names().unwrap().iter().any(|name| name.contains("application")));
}
