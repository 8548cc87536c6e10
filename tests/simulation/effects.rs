//! What each applied entry did to the keys, by its index: what a state must be is told from this, never from a member.

use std::collections::BTreeMap;

use quorate_linearizability::{Key, Value};
use quorate_machine::{Command, Outcome, Tagged};
use quorate_raft::{Index, Payload};

use super::client::{key_of, value_in};
use super::process::Applied;
use super::restores::Archives;

/// By index; entries that change no key have an empty list.
#[derive(Default)]
pub struct Effects {
    applied: BTreeMap<Index, Vec<(Key, Option<Value>)>>,
}

impl Effects {
    /// A machine applied an entry; what others did before is the same.
    pub fn applied(&mut self, applied: &Applied, archives: &Archives) {
        let index = applied.entry.index;
        self.applied.entry(index).or_insert_with(|| changes(applied, archives));
    }

    /// What the keys hold after the entry `upto`.
    pub fn state(&self, upto: Index, keys: usize) -> Vec<Option<Value>> {
        let mut state = vec![None; keys];
        for (key, value) in self.applied.range(..=upto).flat_map(|(_, changes)| changes) {
            if let Some(held) = state.get_mut(*key) {
                *held = *value;
            }
        }
        state
    }

    /// What was applied after the entry `upto` is lost; the values that it wrote.
    pub fn lose_after(&mut self, upto: Index) -> Vec<Value> {
        let lost = self.applied.split_off(&upto.next());
        lost.into_values().flatten().filter_map(|(_, value)| value).collect()
    }
}

fn changes(applied: &Applied, archives: &Archives) -> Vec<(Key, Option<Value>)> {
    let Payload::Command(command) = &applied.entry.payload else { return Vec::new() };
    let Ok(Tagged { command, .. }) = Tagged::decode(command) else { return Vec::new() };
    let one = |key, value| key_of(key).map(|key| (key, value)).into_iter().collect();
    match (&command, &applied.outcome) {
        (Command::Restore(order), Some(Outcome::Written { .. })) => {
            let archived = archives.get(&order.sha256).into_iter();
            archived.flat_map(|archived| archived.contents.iter().copied().enumerate()).collect()
        }
        (
            Command::Put { key, value, .. } | Command::CompareAndSet { key, value, .. },
            Some(Outcome::Written { .. }),
        ) => one(key, value_in(value)),
        (Command::Delete { key, .. }, Some(Outcome::Deleted { .. })) => one(key, None),
        _ => Vec::new(),
    }
}
