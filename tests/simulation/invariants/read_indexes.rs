//! A read sees everything that was committed anywhere when it was asked for (K11, N1).

use quorate_raft::{Index, ServerId};

use super::Verdict;

/// The rule for the index a leader gives to a read.
pub struct ReadIndexes;

impl ReadIndexes {
    /// A leader gave `index` to a read that began when `floor` was the greatest committed index of all.
    pub fn given(leader: &ServerId, floor: Index, index: Index) -> Verdict {
        if index >= floor {
            return Ok(());
        }
        Err(format!(
            "read index: {} gave {} to a read, and {} was committed when it was asked",
            leader.raft_id, index.0, floor.0
        ))
    }
}
