//! The end of a turn: everything the inputs led to is written, sent and applied once.
//!
//! Order matters: what commits is counted first, because it may end our leadership, complete a
//! replacement or let a held change run; then peers are supplied, then the one write of the turn
//! gets its number. The write is put out before messages, so that a leader's disk and its
//! followers work side by side.

use crate::output::{Output, Persist};
use crate::raft::Raft;

impl Raft {
    pub(crate) fn end_turn(&mut self, out: &mut Vec<Output>) {
        self.advance_commit();
        self.leave_joint();
        self.resign_without_vote();
        self.release_held_changes();
        self.serve_reads();
        self.supply_peers();
        self.advance_transfer();
        self.hand_out();
        if let Some(persist) = self.write() {
            out.push(Output::Persist(persist));
        }
        self.outbox.drain(out);
        debug_assert!(self.commit <= self.log.last().index, "commit is inside the log");
    }

    /// The write of this turn, if anything must be stored.
    fn write(&mut self) -> Option<Persist> {
        let commit_is_due = self.commit_deadline.is_some_and(|deadline| self.now >= deadline);
        let hard_is_due = self.outbox.hard_is_unwritten();
        if !hard_is_due && !self.outbox.log_is_unwritten() && !commit_is_due {
            return None;
        }
        let sequence = self.outbox.issue();
        // The directory belongs to the cluster from its first write on (K2).
        let cluster_id = self.cluster_id.is_none().then_some(self.identity.cluster_id);
        self.cluster_id = Some(self.identity.cluster_id);
        let install = self.install.take();
        if install.is_some() {
            self.installing = Some(sequence);
        }
        let (truncate_from, entries) = self.log.take_write(sequence).unwrap_or_default();
        self.commit_deadline = None;
        Some(Persist {
            sequence,
            cluster_id,
            hard_state: hard_is_due.then(|| self.hard.clone()),
            install,
            truncate_from,
            entries,
            commit: self.commit,
        })
    }
}
