//! Term and vote as they are written: the term never falls, a vote once given in a term stays (paper, figure 2; O4).

use quorate_raft::{HardState, ServerId};

use super::Verdict;

/// The rule from one write to the next.
pub struct HardStates;

impl HardStates {
    /// A member that had written `before` writes `after`.
    pub fn follows(id: &ServerId, before: &HardState, after: &HardState) -> Verdict {
        let keeps_vote = before.vote.is_none() || before.vote == after.vote;
        if after.term > before.term || (after.term == before.term && keeps_vote) {
            return Ok(());
        }
        Err(format!("monotonic vote: {} writes {after:?} after {before:?}", id.raft_id))
    }
}
