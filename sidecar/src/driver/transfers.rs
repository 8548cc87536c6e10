//! How far the snapshots have come that this member sends: for autopilot, to which bytes that arrive are a sign of life
//! (A18).
//!
//! Invariant: one entry for each receiver, of the newest order to send it one; it goes when that transfer ends.

use std::collections::BTreeMap;

use quorate_autopilot::SnapshotProgress;
use quorate_raft::{Epoch, ServerId, Term};

/// Under which order of the core a snapshot is sent. Epochs begin anew in each term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SendOrder {
    pub(crate) term: Term,
    pub(crate) epoch: Epoch,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    running: BTreeMap<ServerId, (SendOrder, SnapshotProgress)>,
}

impl Transfers {
    /// The receiver said how much it has.
    pub(super) fn moved(&mut self, to: &ServerId, order: SendOrder, progress: SnapshotProgress) {
        if self.running.get(to).is_none_or(|(newest, _)| *newest <= order) {
            self.running.insert(to.clone(), (order, progress));
        }
    }

    /// The transfer is over.
    pub(super) fn ended(&mut self, to: &ServerId, order: SendOrder) {
        if self.running.get(to).is_some_and(|(newest, _)| *newest <= order) {
            self.running.remove(to);
        }
    }

    /// By receiver.
    pub(super) fn progress(&self) -> BTreeMap<ServerId, SnapshotProgress> {
        self.running.iter().map(|(to, (_, progress))| (to.clone(), *progress)).collect()
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Incarnation, RaftId};

    use super::*;

    const fn order(term: u64, epoch: u64) -> SendOrder {
        SendOrder { term: Term(term), epoch: Epoch(epoch) }
    }

    const fn sent(sent_bytes: u64) -> SnapshotProgress {
        SnapshotProgress { sent_bytes, total_bytes: 100 }
    }

    /// A18: what a transfer of an earlier leadership still says is no progress of the present one, and its end no end.
    #[test]
    fn only_the_newest_transfer_to_a_peer_counts() {
        let to = ServerId::new(RaftId::new("a").unwrap(), Incarnation(1));
        let mut transfers = Transfers::default();
        let has = |transfers: &Transfers| transfers.progress().get(&to).map(|found| found.sent_bytes);
        transfers.moved(&to, order(3, 7), sent(50));
        transfers.moved(&to, order(4, 1), sent(0));
        transfers.moved(&to, order(3, 7), sent(60));
        assert_eq!(has(&transfers), Some(0));
        transfers.ended(&to, order(3, 7));
        transfers.moved(&to, order(4, 1), sent(10));
        assert_eq!(has(&transfers), Some(10));
        transfers.ended(&to, order(4, 1));
        assert_eq!(has(&transfers), None);
    }
}
