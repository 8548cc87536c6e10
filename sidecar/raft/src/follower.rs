//! Taking entries from a leader (S5, S22, N2).
//!
//! ```text
//! ours    1 1 2 2 3 3          previous = 2/4, entries 4 4:
//! theirs  1 1 2 2 4 4          match at 4, conflict at 5: drop 5.., append both
//! ```
//!
//! Entries we already hold with the same term are skipped, so a late or repeated message changes
//! nothing. The commit index never passes `previous` plus the entries of the very message that
//! tells it: beyond them our log may be another one (N2).
//! Invariant: nothing at or below the commit index is ever replaced; a message that would is refused.

use quorate_mutants::{Mutant, broken};

use crate::entry::{Entry, IndexedConfiguration};
use crate::message::{AppendOutcome, Body};
use crate::outbox::Promises;
use crate::output::{Event, InvalidMessage};
use crate::raft::Raft;
use crate::types::{Epoch, Index, LogId, ServerId};
use crate::version::newest_version;

impl Raft {
    pub(crate) fn append_request(
        &mut self,
        from: ServerId,
        epoch: Epoch,
        mut previous: LogId,
        mut entries: Vec<Entry>,
        commit: Index,
    ) {
        let held = self.log.previous();
        let matched = Index(previous.index.0 + entries.len() as u64);
        if previous.index < held.index {
            // Begins in what we compacted, all of it committed: equal by leader completeness.
            if matched <= held.index {
                self.contact();
                self.accept(from, epoch, self.commit);
                return;
            }
            let skip = entries.partition_point(|entry| entry.index <= held.index);
            entries.drain(..skip);
            previous = held;
        }
        if !self.log.matches(previous) {
            if previous.index <= self.commit {
                self.refuse_message(from, InvalidMessage::TouchesCommitted);
                return;
            }
            let hint =
                self.log.at_or_below(previous.index.previous().min(self.log.last().index), previous.term);
            let outcome = AppendOutcome::Rejected { previous: previous.index, hint };
            self.send(from, Body::AppendResponse { epoch, outcome });
            return;
        }
        if self.is_beyond_us(&from, newest_version(&entries)) {
            return;
        }
        if !self.take_entries(entries) {
            self.refuse_message(from, InvalidMessage::TouchesCommitted);
            return;
        }
        self.contact();
        let shown = if broken(Mutant::N2) { self.log.last().index } else { matched };
        self.commit_to(commit.min(shown));
        self.accept(from, epoch, matched);
    }

    /// Keeps what we hold already, drops what conflicts, appends the rest. False if that would
    /// change what is committed.
    fn take_entries(&mut self, entries: Vec<Entry>) -> bool {
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term && !broken(Mutant::S22) => continue,
                Some(_) if entry.index <= self.commit => return false,
                Some(_) => self.drop_from(entry.index),
                None => {}
            }
            self.append_entry(entry);
        }
        true
    }

    /// Drops our log from `index` on; a configuration in it is no longer in effect (S9).
    fn drop_from(&mut self, index: Index) {
        assert!(index > self.commit, "what is committed stays");
        self.log.truncate_from(index);
        self.outbox.mark_log();
        if !broken(Mutant::S9) && self.configurations.truncate_from(index) {
            let index = self.configurations.latest().map_or(Index(0), |latest| latest.index);
            self.event(Event::ConfigurationChanged { index });
        }
    }

    /// Appends an entry, ours or a leader's; a configuration takes effect at once (S8).
    pub(crate) fn append_entry(&mut self, entry: Entry) {
        let (index, configuration) = (entry.index, entry.payload.configuration().cloned());
        self.log.append(entry);
        self.outbox.mark_log();
        if let Some(configuration) = configuration {
            self.remember_membership(configuration.contains(self.id()));
            self.forget_versions(&configuration);
            self.configurations.append(IndexedConfiguration { index, configuration });
            self.event(Event::ConfigurationChanged { index });
            self.follow_configuration();
        }
    }

    /// From the first configuration that names us, absence means removal (K19).
    pub(crate) fn remember_membership(&mut self, is_member: bool) {
        if is_member && !self.hard.was_member {
            self.hard.was_member = true;
            self.outbox.mark_hard();
        }
    }

    pub(crate) fn accept(&mut self, to: ServerId, epoch: Epoch, matched: Index) {
        let outcome = AppendOutcome::Accepted { matched };
        self.send_after(Promises::Log, to, Body::AppendResponse { epoch, outcome });
    }

    /// A peer sent what no correct member sends; nothing of it is done.
    pub(crate) fn refuse_message(&mut self, from: ServerId, problem: InvalidMessage) {
        self.event(Event::InvalidMessage { from, problem });
    }
}
