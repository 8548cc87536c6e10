//! Where the memtable is frozen, when the flush ends, and where the process dies must leave no trace (K3, K4):
//! the same entries give the same outcomes and the same bytes on disk, and both are the model's.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::memory::Memory;
use super::model::Model;
use super::{flush, generate};
use crate::command::{ApiIndex, Command, Owner, Tagged, TxnOp};
use crate::flush::Flush;
use crate::machine::Machine;
use crate::meta::Position;
use crate::outcome::Outcome;
use crate::read::PageLimit;

#[derive(Clone, Debug)]
enum Step {
    /// A command; with `aim` its conditions name the index the key has at that moment.
    Command {
        tagged: Tagged,
        aim: bool,
    },
    Empty,
    Configuration(Vec<Owner>),
    Freeze,
    /// The store commits the flush under way.
    Commit,
    /// The machine hears of it.
    Flushed,
    /// The process dies: what is not committed is gone, and the log is replayed.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (generate::tagged(), any::<bool>()).prop_map(|(tagged, aim)| Step::Command { tagged, aim }),
        1 => Just(Step::Empty),
        1 => vec("m[0-2]".prop_map(Owner), 0..3).prop_map(Step::Configuration),
        3 => Just(Step::Freeze),
        3 => Just(Step::Commit),
        3 => Just(Step::Flushed),
        1 => Just(Step::Crash),
    ]
}

/// An entry of the log with what it came to.
#[derive(Clone)]
enum Entry {
    Command(Bytes, Outcome),
    Empty,
    Configuration(Vec<Owner>),
}

/// One member: a machine, the file under it, and the log it would replay.
struct Member {
    file: Memory,
    machine: Machine<Memory>,
    log: Vec<Entry>,
    under_way: Option<Flush>,
    is_committed: bool,
}

impl Member {
    fn new() -> Self {
        let file = Memory::default();
        let machine = Machine::open(file.clone()).unwrap();
        Self { file, machine, log: Vec::new(), under_way: None, is_committed: false }
    }

    /// Terms rise now and then, as they do.
    fn next(&self) -> Position {
        let index = self.machine.applied().index + 1;
        Position { index, term: 1 + index / 10 }
    }

    fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        let at = self.next();
        match entry {
            Entry::Command(bytes, _) => return Some(self.machine.apply(at, bytes).unwrap()),
            Entry::Empty => self.machine.apply_empty(at),
            Entry::Configuration(owners) => {
                self.machine.apply_configuration(
                    at,
                    crate::meta::Era::default(),
                    owners.clone(),
                    Bytes::from_static(b"configuration"),
                );
            }
        }
        None
    }

    fn crash(&mut self) {
        self.machine = Machine::open(self.file.clone()).unwrap();
        self.under_way = None;
        self.is_committed = false;
        let replayed = usize::try_from(self.machine.applied().index).unwrap();
        for entry in self.log.clone().split_off(replayed) {
            let outcome = self.apply(&entry);
            if let Entry::Command(_, first) = entry {
                assert_eq!(outcome, Some(first), "a replayed entry came to something else");
            }
        }
    }

    fn disturb(&mut self, step: &Step) {
        match step {
            Step::Freeze => {
                if let Some(flush) = self.machine.freeze() {
                    self.under_way = Some(flush);
                    self.is_committed = false;
                }
            }
            Step::Commit => {
                if let Some(flush) = &self.under_way {
                    self.file.write(flush);
                    self.is_committed = true;
                }
            }
            Step::Flushed if self.is_committed => {
                let flush = self.under_way.take().expect("a committed flush is under way");
                self.is_committed = false;
                self.machine.flushed(flush.applied());
            }
            Step::Crash => self.crash(),
            _ => {}
        }
    }

    /// Bring everything to the file and give its bytes.
    fn settle(mut self) -> impl PartialEq + std::fmt::Debug + use<> {
        if self.under_way.is_some() {
            self.disturb(&Step::Commit);
            self.disturb(&Step::Flushed);
        }
        flush(&mut self.machine);
        self.file.rows()
    }
}

fn aim(command: &mut Command, model: &Model) {
    let actual = |key: &Bytes| model.modify_index(key).unwrap_or(ApiIndex::MISSING);
    match command {
        Command::CompareAndSet { key, expected, .. } | Command::Delete { key, expected: Some(expected) } => {
            *expected = actual(key);
        }
        Command::SetAutopilot { expected: Some(expected), .. } => *expected = model.autopilot.modify_index,
        Command::Txn(ops) => {
            for op in ops {
                if let TxnOp::Cas { key, expected, .. }
                | TxnOp::DeleteCas { key, expected }
                | TxnOp::CheckIndex { key, expected } = op
                {
                    *expected = actual(key);
                }
            }
        }
        _ => {}
    }
}

const WHOLE: PageLimit = PageLimit { rows_max: usize::MAX, bytes_max: usize::MAX };

fn check_reads(machine: &Machine<Memory>, model: &Model, prefix: &[u8]) {
    assert_eq!(machine.list(prefix, None, WHOLE).unwrap().entries, model.under(prefix));
    for key in model.keys.keys() {
        assert_eq!(machine.get(key).unwrap().entry.as_ref(), model.keys.get(key));
    }
    assert_eq!(machine.meta().keys.index, model.keys_index);
    assert_eq!(machine.meta().autopilot, model.autopilot);
    assert_eq!(machine.meta().servers, model.servers.values().cloned().collect::<Vec<_>>());
    let sessions: Vec<_> = model.sessions.values().cloned().collect();
    assert_eq!(machine.sessions().unwrap().sessions, sessions);
    assert_eq!(machine.meta().sessions.index, model.sessions_index);
    let delays: Vec<_> = machine.lock_delays().unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(delays, model.delays.keys().copied().collect::<Vec<_>>());
    assert_eq!(machine.meta().sessions.places, (sessions.len() + delays.len()) as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// K3, K4, K20: freezes, flushes and crashes at any point change neither outcomes nor state.
    #[test]
    fn freezes_flushes_and_crashes_leave_no_trace(
        steps in vec(step(), 1..80), prefix in generate::prefix(),
    ) {
        let mut model = Model::default();
        let mut disturbed = Member::new();
        let mut calm = Member::new();
        let register = Tagged { tag: None, command: Command::RegisterClient { owner: None } };
        let clients = std::iter::repeat_n(Step::Command { tagged: register, aim: false }, 3);
        for step in clients.chain(steps) {
            let entry = match step {
                Step::Command { mut tagged, aim: wanted } => {
                    if wanted {
                        aim(&mut tagged.command, &model);
                    }
                    Entry::Command(tagged.encode(), model.apply(calm.next().index, &tagged))
                }
                Step::Empty => Entry::Empty,
                Step::Configuration(owners) => {
                    model.configure(&owners);
                    Entry::Configuration(owners)
                }
                other => {
                    disturbed.disturb(&other);
                    check_reads(&disturbed.machine, &model, &prefix);
                    continue;
                }
            };
            for member in [&mut disturbed, &mut calm] {
                let outcome = member.apply(&entry);
                if let Entry::Command(_, expected) = &entry {
                    prop_assert_eq!(outcome.as_ref(), Some(expected));
                }
                member.log.push(entry.clone());
            }
            check_reads(&disturbed.machine, &model, &prefix);
        }
        disturbed.crash();
        check_reads(&disturbed.machine, &model, &prefix);
        prop_assert_eq!(disturbed.machine.meta(), calm.machine.meta());
        prop_assert_eq!(disturbed.settle(), calm.settle());
    }

    /// consul-http.md §3: what changes under a prefix raises its index, and no index ever falls.
    #[test]
    fn an_index_rises_with_every_change_and_never_falls(
        steps in vec(step(), 1..80), prefix in generate::prefix(),
    ) {
        let mut member = Member::new();
        let mut model = Model::default();
        let mut before = (Vec::new(), ApiIndex(1));
        for step in steps {
            if let Step::Command { tagged, .. } = &step {
                let outcome = model.apply(member.next().index, tagged);
                let entry = Entry::Command(tagged.encode(), outcome);
                member.apply(&entry);
                member.log.push(entry);
            } else {
                member.disturb(&step);
            }
            let list = member.machine.list(&prefix, None, WHOLE).unwrap();
            prop_assert_eq!(list.index, member.machine.prefix_index(&prefix).unwrap());
            prop_assert!(list.index >= before.1, "the index fell from {} to {}", before.1, list.index);
            // The very first entry has index 1, which an empty list shows too: real logs begin with a configuration.
            if list.entries != before.0 && member.machine.applied().index > 1 {
                prop_assert!(list.index > before.1, "the list changed and its index {} stayed", list.index);
            }
            prop_assert!(list.index.0 <= member.machine.applied().index.max(1));
            before = (list.entries, list.index);
        }
    }
}
