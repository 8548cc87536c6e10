//! The memtable's bounds, what a flush holds, and what a binary does with formats newer than itself (K4, K24, K29).

use bytes::Bytes;
use quorate_autopilot::SettingsChange;

use super::{apply, apply_tagged, flush, machine, next, put};
use crate::application::Mode;
use crate::base::Table;
use crate::codec::DecodeError;
use crate::command::{ClientId, Command, Owner, SettingsMode, Tag, Tagged};
use crate::limits::{MEMTABLE_BYTES_MAX, VALUE_BYTES_MAX};
use crate::machine::Machine;
use crate::meta::{Era, Meta, Position, StateError};
use crate::outcome::{Outcome, Refusal};
use crate::servers::RememberedServer;
use crate::tests::memory::Memory;

/// K29: a million deleted keys are one entry of the memtable.
#[test]
fn deleting_a_large_tree_takes_no_memory() {
    let mut machine = machine();
    for at in 0..20_000 {
        let key = Bytes::from(format!("t/{at}"));
        apply(&mut machine, Command::Put { key, value: "v".into(), flags: 0 });
    }
    flush(&mut machine);
    apply(&mut machine, Command::DeletePrefix { prefix: "t/".into() });
    assert!(machine.memtable_bytes() < 2_000, "{}", machine.memtable_bytes());
    assert!(machine.keys(b"", None, None, usize::MAX).unwrap().keys.is_empty());
    let visited = machine.base().visited();
    assert_eq!(
        apply(&mut machine, Command::DeletePrefix { prefix: "t/".into() }),
        Outcome::Deleted { existed: false }
    );
    assert!(machine.keys(b"t/1", None, None, usize::MAX).unwrap().keys.is_empty());
    assert_eq!(machine.base().visited(), visited, "rows known to be deleted are not read");
    flush(&mut machine);
    assert!(machine.base().rows()[&Table::Keys].is_empty());
}

/// Fill the memtable; returns how many of the largest values that took.
fn fill(machine: &mut Machine<Memory>, name: &str) -> usize {
    let mut count = 0;
    while !machine.is_full() {
        let key = Bytes::from(format!("{name}/{count}"));
        apply(machine, Command::Put { key, value: vec![1; VALUE_BYTES_MAX].into(), flags: 0 });
        count += 1;
    }
    count
}

/// K29: full at the limit; while one memtable is flushed and the next is full, applying waits.
#[test]
fn a_full_memtable_is_frozen_and_a_second_full_one_waits() {
    let mut machine = machine();
    let is_there = |machine: &Machine<Memory>| machine.get(b"a/0").unwrap().entry.is_some();
    assert_eq!(fill(&mut machine, "a"), MEMTABLE_BYTES_MAX / VALUE_BYTES_MAX);
    assert!(!machine.must_wait());
    let flush = machine.freeze().unwrap();
    assert!(!machine.is_full());
    fill(&mut machine, "b");
    assert!(machine.must_wait());
    assert!(machine.freeze().is_none(), "one flush at a time");
    assert!(is_there(&machine), "the frozen table still answers");
    machine.base().write(&flush);
    machine.flushed(flush.applied());
    assert!(!machine.must_wait());
    assert!(is_there(&machine), "now the base answers");
}

/// K29: overwriting and deleting give their bytes back.
#[test]
fn the_memtable_counts_what_it_holds_and_not_what_passed_through() {
    let mut machine = machine();
    let write = |machine: &mut Machine<Memory>, value: usize| {
        apply(machine, Command::Put { key: "k".into(), value: vec![1; value].into(), flags: 0 });
    };
    write(&mut machine, 1_000);
    let first = machine.memtable_bytes();
    for size in [500_000, 2_000, 1_000] {
        write(&mut machine, size);
    }
    assert_eq!(machine.memtable_bytes(), first);
    apply(&mut machine, Command::DeletePrefix { prefix: "".into() });
    assert!(machine.memtable_bytes() < first);
}

/// K4: a flush brings the place in the log, the configuration and the settings with the keys.
#[test]
fn a_flush_holds_everything_at_one_index() {
    let mut machine = machine();
    machine.apply_configuration(
        Position { index: 1, term: 2 },
        Era { cluster_version: 2, recovery_epoch: 3, mode: Mode::Log },
        vec![],
        Bytes::from_static(b"three servers"),
    );
    let change = SettingsChange { max_trailing_logs: Some(99), ..SettingsChange::default() };
    apply(&mut machine, Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None });
    machine.apply_empty(Position { index: 3, term: 5 });
    let flush = machine.freeze().unwrap();
    assert_eq!(flush.applied(), Position { index: 3, term: 5 });
    assert_eq!(Meta::load(machine.base()).unwrap(), Meta::default(), "only the store writes");
    machine.base().write(&flush);
    let meta = Meta::load(machine.base()).unwrap();
    assert_eq!(&meta, flush.meta());
    assert_eq!(meta.applied, Position { index: 3, term: 5 });
    assert_eq!(meta.era, Era { cluster_version: 2, recovery_epoch: 3, mode: Mode::Log });
    let configuration = meta.configuration.unwrap();
    assert_eq!((configuration.index, &configuration.encoded[..]), (1, &b"three servers"[..]));
    assert_eq!(meta.autopilot.settings.max_trailing_logs, Some(99));
    machine.flushed(flush.applied());
    assert!(machine.freeze().is_none(), "nothing was applied since");
}

/// K3: even entries without a change move the durable applied index, so that the log can be truncated.
#[test]
fn entries_that_change_no_key_still_make_a_flush() {
    let mut machine = machine();
    machine.apply_empty(Position { index: 1, term: 1 });
    assert!(flush(&mut machine));
    assert_eq!(Meta::load(machine.base()).unwrap().applied.index, 1);
}

/// Architecture: an entry of a newer format stops this member; bytes that are no command are refused by all alike.
#[test]
fn a_newer_entry_stops_the_machine_and_garbage_is_refused() {
    let mut machine = machine();
    let garbage = machine.apply(next(&machine), &Bytes::from_static(b"\x01\x00\xee")).unwrap();
    let reason = "command kind 238 is unknown".to_owned();
    assert_eq!(garbage, Outcome::Refused(Refusal::Unreadable { reason }));
    assert_eq!(machine.applied().index, 1, "it is passed over");
    let mut newer = Tagged { tag: None, command: put("a", "1") }.encode().to_vec();
    newer[0] = 9;
    let error = machine.apply(next(&machine), &newer.into()).unwrap_err();
    assert!(matches!(error, StateError::Format(DecodeError::NewerVersion { found: 9, .. })), "{error}");
}

/// K24: rows of a newer format are refused with their version, never misread.
#[test]
fn newer_rows_are_refused_by_their_version() {
    let mut row = Meta::default().encode().to_vec();
    row[0] = 2;
    let error = Meta::decode(&row.into()).unwrap_err();
    assert_eq!(error, DecodeError::NewerVersion { what: "state meta row", found: 2, known: 1 });
    assert_eq!(Meta::decode(&Meta::default().encode()), Ok(Meta::default()));
}

/// The formats are on disks: these rows must be readable for as long as version 1 is.
#[test]
fn version_1_rows_are_what_they_were() {
    let mut machine = machine();
    let owners = vec![Owner("db-0@7".to_owned())];
    machine.apply_configuration(
        Position { index: 1, term: 1 },
        Era::default(),
        owners,
        Bytes::from_static(b"servers"),
    );
    let owner = Some(Owner("db-0@7".to_owned()));
    apply(&mut machine, Command::RegisterClient { owner });
    let tag = Tag { client: ClientId(2), sequence: 6, acked_below: 5 };
    apply_tagged(&mut machine, Some(tag), Command::Put { key: "k".into(), value: "value".into(), flags: 42 });
    apply(&mut machine, put("gone", "x"));
    apply(&mut machine, Command::Delete { key: "gone".into(), expected: None });
    let change = SettingsChange { min_quorum: Some(3), ..SettingsChange::default() };
    apply(&mut machine, Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None });
    let owner = Owner("db-0@7".to_owned());
    let (build, zone) = ("1.2.3".to_owned(), "z1".to_owned());
    let server = RememberedServer { owner, build, zone, upgrade_version: String::new() };
    apply(&mut machine, Command::RememberServers(vec![server]));
    flush(&mut machine);
    let rows = machine.base().rows();
    let only = |table| {
        let mut rows = rows[&table].iter();
        let (key, row) = rows.next().unwrap();
        assert!(rows.next().is_none());
        (&key[..], &row[..])
    };
    let expected: [(Table, &[u8], &[u8]); 5] = [
        (
            Table::Keys,
            b"k",
            b"\x01\x2a\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0value",
        ),
        (Table::Tombstones, b"gone", b"\0\0\0\0\0\0\0\x05"),
        (Table::TombstoneOrder, b"\0\0\0\0\0\0\0\x05gone", b""),
        (Table::Clients, b"\0\0\0\0\0\0\0\x02", b"\x01\x05\x03\x01\x06db-0@7\x01\x06\x03\x01\x01\x03"),
        (
            Table::Meta,
            b"meta",
            b"\x01\x07\x01\0\x05\x01\0\0\0\x01\0\0\x01\0\0\0\0\0\x06\x06\x01\x05\x03\x01\x06db-0@7\x051.2.3\x02z1\0\x01\x01\x01\x06db-0@7\x07servers",
        ),
    ];
    for (table, key, row) in expected {
        assert_eq!(only(table), (key, row), "{}", table.name());
    }
}

/// A table's name is on disk and never changes.
#[test]
fn tables_keep_their_names() {
    let names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
    let later = ["sessions", "session_keys", "lock_delays", "delayed_keys", "application_log"];
    assert_eq!(names[..5], ["keys", "tombstones", "tombstone_order", "clients", "meta"]);
    assert_eq!(names[5..], later);
}
