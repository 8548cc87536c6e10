//! What a member's disk must hold, kept by the simulation beside the disk itself.
//!
//! The mirror takes over a write when its commit has returned. After a crash the real redb is opened again and
//! must tell the same story: nothing that was confirmed is gone, and a commit that the crash fell into is there as
//! a whole or not at all.

use std::collections::BTreeMap;

use quorate_raft::{HardState, Index, LogId, Persist, Stored, Term};

/// The confirmed content of one `log.redb`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// Term and vote.
    pub hard_state: HardState,
    /// The entry before the first.
    pub previous: LogId,
    /// Terms by index.
    pub terms: BTreeMap<Index, Term>,
    /// The stored commit index.
    pub commit: Index,
}

impl Mirror {
    /// Takes over a write whose commit has returned.
    pub fn write(&mut self, persist: &Persist) {
        if let Some(hard_state) = &persist.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(meta) = &persist.install {
            self.terms.clear();
            self.previous = meta.last;
        }
        if let Some(from) = persist.truncate_from {
            self.terms.split_off(&from);
        }
        self.terms.extend(persist.entries.iter().map(|entry| (entry.index, entry.term)));
        self.commit = self.commit.max(persist.commit);
    }

    /// Takes over a compaction up to and including `upto`.
    pub fn compact(&mut self, upto: LogId) {
        self.terms = self.terms.split_off(&upto.index.next());
        self.previous = self.previous.max(upto);
    }

    /// Takes over what the real log holds, once it was checked: a compaction may have been lost in a crash.
    pub fn resume(&mut self, stored: &Stored) {
        let ends = stored.terms.iter().skip(1).map(|run| run.first.0).chain([stored.last.index.0 + 1]);
        let runs = stored.terms.iter().zip(ends);
        self.terms =
            runs.flat_map(|(run, end)| (run.first.0..end).map(|index| (Index(index), run.term))).collect();
        self.previous = stored.previous;
    }

    /// The term of an entry, or of the one before the first.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.previous.index { Some(self.previous.term) } else { self.terms.get(&index).copied() }
    }

    /// The last entry.
    pub fn last(&self) -> LogId {
        self.terms.last_key_value().map_or(self.previous, |(index, term)| LogId::new(*term, *index))
    }

    /// Whether this entry itself is in the log.
    pub fn holds_itself(&self, entry: LogId) -> bool {
        self.terms.get(&entry.index) == Some(&entry.term)
    }

    /// Whether this entry is on the disk: in the log, or in what the log begins after.
    pub fn holds(&self, entry: LogId) -> bool {
        entry.index <= self.previous.index || self.terms.get(&entry.index) == Some(&entry.term)
    }

    /// Compares with what the real log says when it is opened.
    pub fn check(&self, stored: &Stored) -> Result<(), String> {
        if stored.hard_state != self.hard_state {
            return Err(format!(
                "hard state {:?} was confirmed, {:?} is on disk",
                self.hard_state, stored.hard_state
            ));
        }
        // A compaction may have been lost or may have got further than its answer: both are allowed (K3).
        if stored.last != self.last() && self.last().index > stored.previous.index {
            return Err(format!("last entry {:?} was confirmed, {:?} is on disk", self.last(), stored.last));
        }
        let on_disk =
            |index: &Index| stored.terms.iter().rev().find(|run| run.first <= *index).map(|run| run.term);
        for (index, term) in self.terms.range(stored.previous.index.next()..) {
            if on_disk(index) != Some(*term) {
                return Err(format!("{index:?} was confirmed in {term:?}, {:?} is on disk", on_disk(index)));
            }
        }
        Ok(())
    }
}
