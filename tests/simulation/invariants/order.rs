//! Each member's pointers are in order and do not fall: previous ≤ durable applied ≤ applied ≤ commit ≤ last;
//! term, commit and applied index only grow while the process lives.

use quorate_raft::{Index, Status, Term};

use super::Verdict;

/// The highest values seen of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    term: Term,
    commit: Index,
    applied: Index,
}

impl Order {
    /// Compares a picture of the member with the ones before.
    pub fn seen(&mut self, status: &Status) -> Verdict {
        let ascending = [
            ("first - 1", status.first.previous()),
            ("durable applied", status.durable_applied),
            ("applied", status.applied),
            ("commit", status.commit),
            ("last", status.last.index),
        ];
        for pair in ascending.windows(2) {
            let [(low, low_index), (high, high_index)] = [pair[0], pair[1]];
            if low_index > high_index {
                return Err(format!("order: {low} {} is above {high} {}", low_index.0, high_index.0));
            }
        }
        if status.term < self.term || status.commit < self.commit || status.applied < self.applied {
            return Err(format!(
                "order: term {}, commit {}, applied {} fell from {self:?}",
                status.term.0, status.commit.0, status.applied.0
            ));
        }
        *self = Self { term: status.term, commit: status.commit, applied: status.applied };
        Ok(())
    }
}
