//! An acknowledged write is never lost, and reads are linearizable (P1, P2; K11).
//!
//! Each client writes rising numbers to a key of its own, one call at a time. A read of that key, begun after a
//! write was acknowledged and through whichever member, must give that number or a later one that was proposed;
//! and reads never go back. For one writer that is linearizability.

use super::Verdict;

/// What one client knows of its key.
#[derive(Clone, Debug, Default)]
pub struct AcknowledgedWrites {
    /// The last number whose write was acknowledged or read.
    seen: u64,
    /// The last number that was proposed, whatever became of it.
    proposed: u64,
}

impl AcknowledgedWrites {
    /// The next number to write.
    pub fn propose(&mut self) -> u64 {
        self.proposed += 1;
        self.proposed
    }

    /// The write of `number` was acknowledged.
    pub fn acknowledged(&mut self, number: u64) {
        self.seen = self.seen.max(number);
    }

    /// What a read that begins now must at least give.
    pub fn at_least(&self) -> u64 {
        self.seen
    }

    /// A read that began when `at_least` was due gave `number`.
    pub fn read(&mut self, at_least: u64, number: u64) -> Verdict {
        if number < at_least {
            return Err(format!(
                "acknowledged writes: {at_least} was acknowledged, a later read gave {number}"
            ));
        }
        if number > self.proposed {
            return Err(format!(
                "acknowledged writes: a read gave {number}, {} was the last proposed",
                self.proposed
            ));
        }
        self.seen = self.seen.max(number);
        Ok(())
    }
}
