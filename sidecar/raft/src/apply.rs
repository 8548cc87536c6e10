//! Handing committed entries to the machine, in order and each once (S20, S21, K25).
//!
//! ```text
//! applied ≤ handed out ≤ commit;  handed out - applied is bounded in bytes
//! ```
//!
//! Entries come from memory, or from storage after a restart or far behind. While a snapshot is
//! being installed nothing is handed out: the entries after it belong on the new state (K5).

use std::collections::VecDeque;

use quorate_mutants::{Mutant, broken};

use crate::entry::Entry;
use crate::input::LogReader;
use crate::limits::{APPLY_BYTES_IN_FLIGHT_MAX, APPLY_BYTES_MAX};
use crate::log::Read;
use crate::output::{Apply, Output};
use crate::raft::Raft;
use crate::types::{Index, Ticket};

/// What one read of the log by storage brings: a few appends or one apply.
pub(crate) const LOG_READ_BYTES_MAX: u64 = APPLY_BYTES_MAX;

/// How far the machine is.
pub(crate) struct Applier {
    applied: Index,
    handed: Index,
    /// Batches at the machine: their last entry and bytes, oldest first.
    batches: VecDeque<(Index, u64)>,
    bytes: u64,
    is_reading: bool,
}

impl Applier {
    pub(crate) const fn new(applied: Index) -> Self {
        Self { applied, handed: applied, batches: VecDeque::new(), bytes: 0, is_reading: false }
    }

    pub(crate) const fn index(&self) -> Index {
        self.applied
    }

    /// The machine has applied up to `upto`; what it was never given does not count.
    pub(crate) fn applied(&mut self, upto: Index) {
        self.applied = self.applied.max(upto.min(self.handed));
        while let Some((_, bytes)) = self.batches.pop_front_if(|(last, _)| *last <= upto) {
            self.bytes -= bytes;
        }
    }

    /// The machine is on a state it was not given the entries for: that of a snapshot up to `index`.
    pub(crate) fn jump(&mut self, index: Index) {
        self.handed = self.handed.max(index);
    }

    /// A snapshot up to `index` replaces whatever the machine was doing.
    pub(crate) fn reset(&mut self, index: Index) {
        *self = Self { is_reading: self.is_reading, ..Self::new(index) };
    }

    fn handed(&mut self, last: Index, bytes: u64) {
        self.handed = last;
        self.batches.push_back((last, bytes));
        self.bytes += bytes;
    }
}

impl Raft {
    /// Hands out what is committed, as far as the limits let it.
    pub(crate) fn hand_out(&mut self) {
        while (self.installing.is_none() || broken(Mutant::K5))
            && self.install.is_none()
            && !self.applier.is_reading
            && self.applier.handed < self.commit
            && self.applier.bytes < APPLY_BYTES_IN_FLIGHT_MAX
        {
            let from = self.applier.handed.next();
            match self.log.read(from, self.commit, APPLY_BYTES_MAX) {
                Read::Entries(entries) => self.hand_out_entries(entries),
                Read::OnDisk => {
                    self.applier.is_reading = true;
                    // What is committed and not yet on this disk is in memory: asked for, it would not be found.
                    let upto = self.commit.min(self.log.persisted());
                    let (reader, bytes_max) = (LogReader::Apply, LOG_READ_BYTES_MAX);
                    self.outbox.push(Output::ReadLog { reader, from, upto, bytes_max });
                }
                Read::Compacted => unreachable!("nothing is compacted before a synced flush holds it (K3)"),
            }
        }
    }

    pub(crate) fn log_read(&mut self, reader: &LogReader, entries: Vec<Entry>) {
        match reader {
            LogReader::Peer { id, epoch } => self.log_read_for_peer(id, *epoch, entries),
            LogReader::Apply => {
                self.applier.is_reading = false;
                // A snapshot may have overtaken the read; then it is asked again from its end.
                let mut expected = self.applier.handed.next();
                let fits = |entry: &Entry| {
                    let is_next = entry.index == expected && entry.index <= self.commit;
                    expected = expected.next();
                    is_next && self.log.matches(entry.id())
                };
                if !entries.is_empty()
                    && entries.iter().all(fits)
                    && self.installing.is_none()
                    && self.install.is_none()
                {
                    self.hand_out_entries(entries);
                }
            }
        }
    }

    fn hand_out_entries(&mut self, mut entries: Vec<Entry>) {
        if broken(Mutant::S21) && entries.len() > 1 {
            entries.remove(0);
        }
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        self.applier.handed(last, entries.iter().map(Entry::bytes).sum());
        let above = self.tickets.split_off(&last.next());
        let tickets: Vec<(Index, Ticket)> = std::mem::replace(&mut self.tickets, above).into_iter().collect();
        self.outbox.push(Output::Apply(Apply { entries, tickets }));
    }
}
