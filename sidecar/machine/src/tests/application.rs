//! An application's own entries (K22), against one ordered map.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::memory::Memory;
use super::{apply, apply_tagged, flush, machine, next, put};
use crate::application::{ApplicationEntry, ApplicationSnapshot, EntriesAfter, Mode};
use crate::command::{ApiIndex, ClientId, Command, Tag};
use crate::limits::{
    APPLICATION_ENTRY_BYTES_MAX, APPLICATION_ENTRY_OVERHEAD_BYTES, APPLICATION_LOG_BYTES_MAX,
    ENTRIES_TRIMMED_PER_COMMAND,
};
use crate::machine::Machine;
use crate::meta::Era;
use crate::outcome::{Outcome, Refusal};
use crate::read::PageLimit;
use crate::validate::Invalid;

const PAGE: PageLimit = PageLimit { rows_max: 1_000_000, bytes_max: usize::MAX };

/// A machine of a cluster founded in mode `Log`.
fn log_machine() -> Machine<Memory> {
    let mut machine = machine();
    found(&mut machine);
    machine
}

fn found(machine: &mut Machine<Memory>) {
    let at = next(machine);
    let era = Era { mode: Mode::Log, ..Era::default() };
    machine.apply_configuration(at, era, vec![], Bytes::from_static(b"one server"));
}

fn propose(machine: &mut Machine<Memory>, data: &'static str) -> ApiIndex {
    match apply(machine, Command::Propose { data: data.into() }) {
        Outcome::Written { modify_index } => modify_index,
        other => panic!("{data}: {other:?}"),
    }
}

fn snapshot(index: ApiIndex) -> ApplicationSnapshot {
    ApplicationSnapshot { index, sha256: [7; 32], bytes: 100 }
}

fn after(machine: &Machine<Memory>, index: u64) -> EntriesAfter {
    machine.entries_after(ApiIndex(index), PAGE).unwrap()
}

fn texts(found: EntriesAfter) -> Vec<String> {
    match found {
        EntriesAfter::Entries(entries) => {
            entries.iter().map(|entry| String::from_utf8(entry.data.to_vec()).unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// K22: entries come back in order from any index on, over the holes that the cluster's own entries leave.
#[test]
fn entries_are_read_in_order_after_any_that_was_read_before() {
    let mut machine = log_machine();
    let first = propose(&mut machine, "a");
    let at = next(&machine);
    machine.apply_empty(at);
    flush(&mut machine);
    let second = propose(&mut machine, "b");
    let third = propose(&mut machine, "c");
    assert!(first.0 + 1 < second.0, "the empty entry has an index too");
    assert_eq!(texts(after(&machine, 0)), ["a", "b", "c"]);
    assert_eq!(texts(after(&machine, first.0)), ["b", "c"]);
    assert_eq!(texts(after(&machine, third.0)), [""; 0]);
    assert_eq!(after(&machine, third.0 + 1), EntriesAfter::Ahead);
    assert_eq!(after(&machine, first.0 + 1), EntriesAfter::Unknown, "nobody can have applied what never was");
    let one = PageLimit { rows_max: 10, bytes_max: 1 };
    assert_eq!(texts(machine.entries_after(ApiIndex(0), one).unwrap()), ["a"]);
}

/// K22: what a snapshot does not have is not trimmed, whatever a command asks.
#[test]
fn nothing_is_trimmed_that_no_snapshot_has() {
    let mut machine = log_machine();
    let (first, second, third) =
        (propose(&mut machine, "a"), propose(&mut machine, "b"), propose(&mut machine, "c"));
    apply(&mut machine, Command::Trim { upto: third });
    assert_eq!(texts(after(&machine, 0)), ["a", "b", "c"], "no snapshot was offered");
    apply(&mut machine, Command::RecordSnapshot(snapshot(second)));
    assert_eq!(texts(after(&machine, 0)), ["a", "b", "c"], "an offer alone drops nothing");
    apply(&mut machine, Command::Trim { upto: first });
    assert_eq!(after(&machine, 0), EntriesAfter::SnapshotRequired(Some(snapshot(second))));
    assert_eq!(texts(after(&machine, first.0)), ["b", "c"]);
    let trimmed = apply(&mut machine, Command::Trim { upto: third });
    assert_eq!(trimmed, Outcome::Written { modify_index: second });
    assert_eq!(texts(after(&machine, second.0)), ["c"]);
    let meta = machine.meta().application;
    assert_eq!((meta.trimmed, meta.entries, meta.last), (second, 1, third));
    assert_eq!(meta.bytes, 1 + APPLICATION_ENTRY_OVERHEAD_BYTES);
}

/// K22, K20: at the cap a proposal is refused, nothing is dropped, and after a trim it goes on.
#[test]
fn at_the_cap_a_proposal_is_refused_and_nothing_is_lost() {
    let mut machine = log_machine();
    let data = Bytes::from(vec![b'x'; APPLICATION_ENTRY_BYTES_MAX]);
    let mut last = ApiIndex(0);
    let refusal = loop {
        match apply(&mut machine, Command::Propose { data: data.clone() }) {
            Outcome::Written { modify_index } => last = modify_index,
            other => break other,
        }
        flush(&mut machine);
    };
    let kept = machine.meta().application.bytes;
    assert!(kept <= APPLICATION_LOG_BYTES_MAX && kept + 1024 * 1024 > APPLICATION_LOG_BYTES_MAX, "{kept}");
    let limit = APPLICATION_LOG_BYTES_MAX;
    assert_eq!(refusal, Outcome::Refused(Refusal::LogFull { kept, limit, covered: ApiIndex(0) }));
    let page = machine.entries_after(ApiIndex(0), PageLimit { rows_max: 1, bytes_max: 1 }).unwrap();
    assert!(matches!(page, EntriesAfter::Entries(found) if found.len() == 1), "the first one is still there");
    apply(&mut machine, Command::RecordSnapshot(snapshot(last)));
    apply(&mut machine, Command::Trim { upto: last });
    propose(&mut machine, "more");
    assert_eq!(texts(after(&machine, last.0)), ["more"]);
}

/// No single command does unbounded work, and a trim that is asked for again goes on where it stood.
#[test]
fn a_trim_is_done_a_bounded_number_at_a_time() {
    let mut machine = log_machine();
    let mut last = ApiIndex(0);
    for _ in 0..=ENTRIES_TRIMMED_PER_COMMAND {
        last = propose(&mut machine, "");
    }
    apply(&mut machine, Command::RecordSnapshot(snapshot(last)));
    apply(&mut machine, Command::Trim { upto: last });
    assert_eq!(machine.meta().application.entries, 1);
    flush(&mut machine);
    apply(&mut machine, Command::Trim { upto: last });
    assert_eq!(machine.meta().application.entries, 0);
    assert_eq!(machine.meta().application.trimmed, last);
    assert_eq!(machine.meta().application.bytes, 0);
}

/// K22: a snapshot is of an entry that is there, and the later one counts.
#[test]
fn a_snapshot_is_of_a_known_entry_and_newer_than_the_one_before() {
    let mut machine = log_machine();
    let (first, second) = (propose(&mut machine, "a"), propose(&mut machine, "b"));
    let ahead = apply(&mut machine, Command::RecordSnapshot(snapshot(ApiIndex(second.0 + 9))));
    assert_eq!(ahead, Outcome::Refused(Refusal::NoSuchEntry { index: ApiIndex(second.0 + 9) }));
    apply(&mut machine, Command::RecordSnapshot(snapshot(second)));
    let stale = apply(&mut machine, Command::RecordSnapshot(snapshot(first)));
    assert_eq!(stale, Outcome::Refused(Refusal::SnapshotStale { index: first, covered: second }));
    let again = apply(&mut machine, Command::RecordSnapshot(snapshot(second)));
    assert_eq!(again, Outcome::Written { modify_index: second }, "the same offer again is done");
    assert_eq!(machine.meta().application.snapshot, Some(snapshot(second)));
}

/// K22: what a cluster was not founded for is refused by every member alike, and says the way out.
#[test]
fn commands_of_the_other_mode_are_refused() {
    let mut log = log_machine();
    let refused = apply(&mut log, put("k", "v"));
    assert_eq!(refused, Outcome::Refused(Refusal::WrongMode { mode: Mode::Log }));
    assert_eq!(log.meta().keys.index, ApiIndex(0));
    let mut keys = machine();
    let refused = apply(&mut keys, Command::Propose { data: "a".into() });
    assert_eq!(refused, Outcome::Refused(Refusal::WrongMode { mode: Mode::KeyValue }));
    let Outcome::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(
        refusal.to_string(),
        "this cluster was founded in mode KeyValue: it has keys and sessions, and no log of an application; use those, or found a cluster in mode Log; not applied"
    );
}

/// K20: a proposal that was sent twice is in the log once.
#[test]
fn a_retried_proposal_is_kept_once() {
    let mut machine = log_machine();
    let outcome = apply(&mut machine, Command::RegisterClient { owner: None });
    let Outcome::Registered { client } = outcome else { panic!("{outcome:?}") };
    let tag = |sequence| Some(Tag { client, sequence, acked_below: 1 });
    let command = || Command::Propose { data: "once".into() };
    let first = apply_tagged(&mut machine, tag(1), command());
    let again = apply_tagged(&mut machine, tag(1), command());
    assert_eq!(first, again);
    assert_eq!(texts(after(&machine, 0)), ["once"]);
    assert!(matches!(client, ClientId(id) if id > 0));
}

/// P10: the limit itself is allowed, one byte more is not.
#[test]
fn an_entry_is_at_most_its_limit() {
    let propose = |bytes| Command::Propose { data: vec![0; bytes].into() }.validate();
    assert_eq!(propose(0), Ok(()));
    assert_eq!(propose(APPLICATION_ENTRY_BYTES_MAX), Ok(()));
    let bytes = APPLICATION_ENTRY_BYTES_MAX + 1;
    assert_eq!(propose(bytes), Err(Invalid::EntryTooLarge { bytes }));
}

#[derive(Clone, Debug)]
enum Step {
    Propose(u8),
    Empty,
    /// Of the entry that lies so far back.
    Snapshot(usize),
    /// Up to the entry that lies so far back.
    Trim(usize),
    Flush,
    /// The process dies after a flush: the state is read from the base again.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u8>().prop_map(Step::Propose),
        1 => Just(Step::Empty),
        2 => (0_usize..6).prop_map(Step::Snapshot),
        2 => (0_usize..6).prop_map(Step::Trim),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    all: BTreeMap<u64, Bytes>,
    trimmed: u64,
    covered: u64,
}

impl Model {
    fn back(&self, steps: usize) -> ApiIndex {
        ApiIndex(self.all.keys().rev().nth(steps).copied().unwrap_or(0))
    }

    fn after(&self, index: u64) -> EntriesAfter {
        if index < self.trimmed {
            return EntriesAfter::SnapshotRequired(Some(snapshot(ApiIndex(self.covered))));
        }
        if index > self.back(0).0 {
            return EntriesAfter::Ahead;
        }
        if index > self.trimmed && !self.all.contains_key(&index) {
            return EntriesAfter::Unknown;
        }
        let found = self.all.range(index + 1..);
        let entry =
            |(index, data): (&u64, &Bytes)| ApplicationEntry { index: ApiIndex(*index), data: data.clone() };
        EntriesAfter::Entries(found.map(entry).collect())
    }
}

proptest! {
    /// K22, K4: whatever is proposed, offered, trimmed, flushed and read again, in whatever order: an application that asks
    /// after any index gets all that follows, or is told that a snapshot has what it lacks; and all members alike.
    #[test]
    fn an_application_gets_everything_or_a_snapshot_that_has_it(steps in vec(step(), 0..60)) {
        let (mut machine, mut other, mut model) = (log_machine(), log_machine(), Model::default());
        for step in steps {
            let command = match step {
                Step::Propose(byte) => Command::Propose { data: vec![byte].into() },
                Step::Snapshot(back) => Command::RecordSnapshot(snapshot(model.back(back))),
                Step::Trim(back) => Command::Trim { upto: model.back(back) },
                Step::Empty => {
                    for each in [&mut machine, &mut other] {
                        let at = next(each);
                        each.apply_empty(at);
                    }
                    continue;
                }
                Step::Flush => {
                    flush(&mut machine);
                    continue;
                }
                Step::Reopen => {
                    flush(&mut machine);
                    machine = Machine::open(machine.base().clone()).unwrap();
                    continue;
                }
            };
            let outcome = apply(&mut machine, command.clone());
            prop_assert_eq!(&outcome, &apply(&mut other, command.clone()));
            match (command, outcome) {
                (Command::Propose { data }, Outcome::Written { modify_index }) => {
                    model.all.insert(modify_index.0, data);
                }
                (Command::RecordSnapshot(snapshot), Outcome::Written { .. }) => {
                    prop_assert!(snapshot.index.0 >= model.covered);
                    model.covered = snapshot.index.0;
                }
                (Command::RecordSnapshot(snapshot), Outcome::Refused(_)) => {
                    prop_assert!(snapshot.index.0 <= model.covered);
                }
                (Command::Trim { upto }, Outcome::Written { .. }) => {
                    let last = upto.0.min(model.covered);
                    model.trimmed = model.trimmed.max(model.all.range(..=last).next_back().map_or(0, |(index, _)| *index));
                }
                (command, outcome) => prop_assert!(false, "{command:?}: {outcome:?}"),
            }
            prop_assert!(machine.meta().application.trimmed <= machine.meta().application.covered());
            prop_assert_eq!(machine.meta().application.trimmed.0, model.trimmed);
            for index in 0..=model.back(0).0 + 2 {
                prop_assert_eq!(after(&machine, index), model.after(index));
                prop_assert_eq!(after(&other, index), model.after(index));
            }
        }
    }
}
