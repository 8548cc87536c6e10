//! The log against the plainest thing that could be right: a vector in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use fixture::{Member, append, command, configuration_entry, log_id, vote};
use proptest::prelude::*;
use quorate_machine::{Machine, Position};
use quorate_raft::{Entry, Index, LogId, Persist, Term};
use quorate_store::{Log, Opened};

/// One step of a log's life. Numbers are cut to what is possible at that point.
#[derive(Debug, Clone)]
enum Step {
    /// Groups of appends, each after cutting off some uncommitted entries, committed together.
    Commit(Vec<Append>),
    /// The machine applies and flushes up to this share of what is committed.
    Flush(u8),
    Compact(u8),
    Read(u8, u8, u16),
    Crash(u64),
}

#[derive(Debug, Clone)]
struct Append {
    cut: u8,
    entries: u8,
    size: u16,
    new_term: bool,
    commit: u8,
}

fn an_append() -> impl Strategy<Value = Append> {
    let size = prop_oneof![8 => 0..200u16, 1 => 20_000..50_000u16];
    (prop_oneof![3 => Just(0u8), 1 => 1..20u8], 0..12u8, size, any::<bool>(), any::<u8>())
        .prop_map(|(cut, entries, size, new_term, commit)| Append { cut, entries, size, new_term, commit })
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(an_append(), 1..4).prop_map(Step::Commit),
        1 => any::<u8>().prop_map(Step::Flush),
        2 => any::<u8>().prop_map(Step::Compact),
        3 => any::<(u8, u8, u16)>().prop_map(|(from, len, bytes)| Step::Read(from, len, bytes)),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

/// The vector, and what else a log must remember.
#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    term: u64,
    commit: u64,
    applied: u64,
    sequence: u64,
}

fn share(of: u64, part: u8) -> u64 {
    of * u64::from(part) / 255
}

impl Model {
    fn last(&self) -> LogId {
        self.entries.last().map_or_else(LogId::default, Entry::id)
    }

    fn append(&mut self, step: &Append) -> Persist {
        self.sequence += 1;
        let last = self.last().index.0;
        let cut = u64::from(step.cut).min(last - self.commit);
        let from = last - cut + 1;
        self.entries.truncate(usize::try_from(from - 1).unwrap());
        if step.new_term || cut > 0 {
            self.term += 1;
        }
        let text = "p".repeat(usize::from(step.size));
        let entries: Vec<Entry> = (0..u64::from(step.entries))
            .map(|number| match number {
                5 => configuration_entry(self.term, from + number, &["a", "b"]),
                _ => command(self.term, from + number, &text),
            })
            .collect();
        self.entries.extend(entries.clone());
        self.commit += share(self.last().index.0 - self.commit, step.commit);
        let hard_state = vote(0, self.term, "a").hard_state;
        let truncate_from = (cut > 0).then_some(Index(from));
        Persist { truncate_from, hard_state, commit: Index(self.commit), ..append(self.sequence, entries) }
    }

    fn check(&self, log: &Log) {
        assert_eq!(log.last(), self.last());
        assert_eq!(log.commit_index().0, self.commit);
        let first = log.first().0;
        assert!(first <= self.applied + 1, "K3: {first} > {} + 1", self.applied);
        for entry in self.kept(first) {
            assert_eq!(log.term_at(entry.index), Some(entry.term));
        }
        assert_eq!(log.reader().read(Index(first)..Index(u64::MAX), u64::MAX).unwrap(), self.kept(first));
    }

    fn kept(&self, first: u64) -> &[Entry] {
        &self.entries[usize::try_from(first - 1).unwrap()..]
    }
}

/// A directory with the machine that lives on it.
struct Life {
    member: Member,
    opened: Opened,
    model: Model,
}

impl Life {
    fn run(&mut self, step: &Step) {
        match step {
            Step::Commit(appends) => {
                let persists: Vec<Persist> = appends.iter().map(|append| self.model.append(append)).collect();
                self.opened.log.commit(&persists).unwrap();
            }
            Step::Flush(part) => self.flush(*part),
            Step::Compact(part) => {
                let before = self.opened.log.first();
                let committed =
                    self.opened.log.compact(Index(share(self.model.last().index.0, *part))).unwrap();
                assert_eq!(committed.compacted, Some(self.opened.log.first()));
                assert!(self.opened.log.first() >= before);
            }
            Step::Read(from, len, bytes) => self.read(*from, *len, *bytes),
            Step::Crash(seed) => self.crash(*seed),
        }
        self.model.check(&self.opened.log);
    }

    fn flush(&mut self, part: u8) {
        let mut machine = Machine::open(self.opened.state.clone()).unwrap();
        let upto = self.model.applied + share(self.model.commit - self.model.applied, part);
        for index in self.model.applied + 1..=upto {
            let term = self.model.entries[usize::try_from(index - 1).unwrap()].term.0;
            machine.apply_empty(Position { index, term });
        }
        if let Some(flush) = machine.freeze() {
            self.opened.state.flush(&flush).unwrap();
            self.model.applied = upto;
        }
    }

    fn read(&self, from: u8, len: u8, bytes: u16) {
        let first = self.opened.log.first().0;
        let from = first + share(self.model.last().index.0 + 1 - first, from);
        let found = self
            .opened
            .log
            .reader()
            .read(Index(from)..Index(from + u64::from(len)), u64::from(bytes))
            .unwrap();
        let mut budget = 0;
        let expected: Vec<Entry> = self
            .model
            .kept(from)
            .iter()
            .take(usize::from(len))
            .enumerate()
            .take_while(|(position, entry)| {
                let fits = *position == 0 || budget < u64::from(bytes);
                budget += entry.bytes();
                fits
            })
            .map(|(_, entry)| entry.clone())
            .collect();
        assert_eq!(found, expected);
    }

    fn crash(&mut self, seed: u64) {
        self.opened = self.member.crash_and_open(seed);
        let stored = &self.opened.stored;
        assert_eq!((stored.last, stored.applied.index.0), (self.model.last(), self.model.applied));
        assert_eq!(stored.hard_state.term, Term(self.model.term));
        let kept = self.model.kept(stored.previous.index.0 + 1);
        assert!(kept.ends_with(&stored.tail));
        assert_eq!(stored.tail.is_empty(), kept.is_empty());
        let configurations: Vec<_> = stored.configurations.iter().map(|found| found.index).collect();
        let expected: Vec<_> = self
            .model
            .entries
            .iter()
            .filter(|entry| entry.index.0 > self.model.applied)
            .filter(|entry| matches!(entry.payload, quorate_raft::Payload::Configuration(_)))
            .map(|entry| entry.index)
            .collect();
        assert_eq!(configurations, expected);
        assert_eq!(stored.previous, self.term_before(stored.previous.index));
    }

    fn term_before(&self, index: Index) -> LogId {
        match index.0.checked_sub(1) {
            Some(position) => self.model.entries[usize::try_from(position).unwrap()].id(),
            None => log_id(0, 0),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// P1, K3, K6: whatever a log goes through, it holds what the vector holds.
    #[test]
    fn the_log_is_a_vector_that_survives(steps in prop::collection::vec(a_step(), 1..25)) {
        let member = Member::new();
        let opened = member.open();
        let mut life = Life { member, opened, model: Model::default() };
        for step in &steps {
            life.run(step);
        }
    }
}
