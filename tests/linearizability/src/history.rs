//! The record of what clients asked and heard, in the order in which it happened.

use std::collections::BTreeMap;

use super::register::{Answer, Operation};
use super::search::{Finding, Recorded, search};

/// Which key; keys are numbered.
pub type Key = usize;

/// A call in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(usize);

/// All calls of a run.
#[derive(Default)]
pub struct History {
    calls: Vec<Entry>,
    /// Grows with each beginning and each answer: what is earlier has a smaller number.
    moment: u64,
}

struct Entry {
    key: Key,
    recorded: Recorded,
    /// It surely had no effect.
    is_void: bool,
}

impl History {
    /// A client makes a call.
    pub fn begins(&mut self, key: Key, operation: Operation) -> CallId {
        self.moment += 1;
        let recorded = Recorded { operation, began: self.moment, answered: None };
        self.calls.push(Entry { key, recorded, is_void: false });
        CallId(self.calls.len() - 1)
    }

    /// The client hears the answer.
    pub fn answered(&mut self, call: CallId, answer: Answer) {
        self.moment += 1;
        self.calls[call.0].recorded.answered = Some((self.moment, answer));
    }

    /// The call surely had no effect. Without this or an answer its outcome stays open.
    pub fn void(&mut self, call: CallId) {
        self.calls[call.0].is_void = true;
    }

    /// How many calls were answered.
    pub fn answered_count(&self) -> usize {
        self.calls.iter().filter(|entry| entry.recorded.answered.is_some()).count()
    }

    /// One key's calls, those without effect left out: what is searched.
    pub fn calls_of(&self, key: Key) -> Vec<Recorded> {
        let calls = self.calls.iter().filter(|entry| !entry.is_void && entry.key == key);
        calls.map(|entry| entry.recorded).collect()
    }

    /// Searches each key's calls.
    pub fn check(&self) -> Vec<(Key, Finding)> {
        let mut keys: BTreeMap<Key, Vec<Recorded>> = BTreeMap::new();
        for entry in self.calls.iter().filter(|entry| !entry.is_void) {
            keys.entry(entry.key).or_default().push(entry.recorded);
        }
        keys.into_iter().map(|(key, calls)| (key, search(&calls))).collect()
    }
}
