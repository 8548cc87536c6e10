//! Proposals that gather while the batch before them is under way, so that one step of the core, one commit and one message to
//! each follower serve them all (performance.md, M5).
//!
//! ```text
//!   proposals ──▶ gather ──▶ core ──▶ own disk ──────────┐
//!                    ▲        └─────▶ followers' disks ──┴─▶ the first to be through lets the next batch go
//! ```
//!
//! There is no timer: a proposal that comes while nothing is under way does not wait. A slow disk here holds nothing up that a
//! majority of others can commit, nor the other way round. Who does not lead takes them at once, to refuse them.

use std::time::Instant;

use bytes::Bytes;
use quorate_raft::{Apply, Index, Persist, Sequence};

use super::writer::Writer;
use crate::limits::{GATHERED_BYTES_MAX, GATHERED_MAX};

/// A command, who waits for it, and since when.
pub(super) type Gathered = (Bytes, Writer, Instant);

/// See the module. Bounded: what is full goes with the next turn.
#[derive(Default)]
pub(super) struct Gathering {
    proposals: Vec<Gathered>,
    bytes: usize,
    /// The last write handed to storage, and the last one it confirmed.
    issued: Sequence,
    stored: Sequence,
    /// The last entry handed to storage, and the last one known to be committed.
    appended: Index,
    committed: Index,
}

impl Gathering {
    pub(super) fn add(&mut self, gathered: Gathered) {
        self.bytes += gathered.0.len();
        self.proposals.push(gathered);
    }

    pub(super) fn len(&self) -> usize {
        self.proposals.len()
    }

    /// Storage gets this to write.
    pub(super) fn issued(&mut self, persist: &Persist) {
        self.issued = persist.sequence;
        if let Some(last) = persist.entries.last() {
            self.appended = last.index;
        }
    }

    /// Storage has confirmed its writes up to this one.
    pub(super) fn stored(&mut self, upto: Sequence) {
        self.stored = upto;
    }

    /// These are committed.
    pub(super) fn committed(&mut self, apply: &Apply) {
        if let Some(last) = apply.entries.last() {
            self.committed = last.index;
        }
    }

    /// Whether they go to the core now.
    pub(super) fn is_due(&self, is_leading: bool) -> bool {
        let is_through = self.stored >= self.issued || self.committed >= self.appended;
        let is_free = !is_leading || is_through;
        let is_full = self.bytes >= GATHERED_BYTES_MAX || self.proposals.len() >= GATHERED_MAX;
        !self.proposals.is_empty() && (is_free || is_full)
    }

    pub(super) fn take(&mut self) -> Vec<Gathered> {
        self.bytes = 0;
        std::mem::take(&mut self.proposals)
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Entry, Payload, Term};
    use tokio::sync::oneshot;

    use super::*;

    fn proposal(bytes: usize) -> Gathered {
        (vec![0; bytes].into(), Writer::Call(oneshot::channel().0), Instant::now())
    }

    fn entry(index: u64) -> Entry {
        Entry { term: Term(1), index: Index(index), payload: Payload::Noop }
    }

    /// Its first batch, entry 1, is under way, and a proposal has come since.
    fn busy() -> Gathering {
        let mut gathering = Gathering::default();
        let persist = Persist {
            sequence: Sequence(1),
            cluster_id: None,
            hard_state: None,
            install: None,
            truncate_from: None,
            entries: vec![entry(1)],
            commit: Index(0),
        };
        gathering.issued(&persist);
        gathering.add(proposal(1));
        gathering
    }

    #[test]
    fn alone_a_proposal_does_not_wait() {
        let mut gathering = Gathering::default();
        assert!(!gathering.is_due(true), "there is nothing");
        gathering.add(proposal(1));
        assert!(gathering.is_due(true));
        assert_eq!(gathering.take().len(), 1);
        assert!(!gathering.is_due(true));
    }

    /// M5: one local batch in flight.
    #[test]
    fn proposals_gather_until_the_batch_before_is_stored_here() {
        let mut gathering = busy();
        assert!(!gathering.is_due(true));
        gathering.stored(Sequence(1));
        assert!(gathering.is_due(true));
    }

    /// A disk that stands still here holds nothing up.
    #[test]
    fn or_until_the_others_have_committed_it() {
        let mut gathering = busy();
        gathering.committed(&Apply { entries: vec![entry(1)], tickets: Vec::new() });
        assert!(gathering.is_due(true));
    }

    /// K25: what waits is bounded.
    #[test]
    fn what_is_full_does_not_wait() {
        let mut many = busy();
        (1..GATHERED_MAX).for_each(|_| many.add(proposal(1)));
        assert!(many.is_due(true));
        let mut large = busy();
        large.add(proposal(GATHERED_BYTES_MAX));
        assert!(large.is_due(true));
        large.take();
        large.add(proposal(1));
        assert!(!large.is_due(true), "what was taken counts no more");
    }

    #[test]
    fn who_does_not_lead_refuses_at_once() {
        assert!(busy().is_due(false));
    }
}
