//! What is committed stays: a quorum's disks hold it (crashed ones count), it never changes, and every later leader
//! has it (Raft paper: leader completeness; K9, K13).

use std::collections::BTreeMap;

use quorate_raft::{Configuration, Index, LogId, ServerId, Term};

use super::Verdict;
use crate::simulation::mirror::Mirror;

/// Every entry that any member ever took for committed.
#[derive(Default)]
pub struct Commitment {
    committed: BTreeMap<Index, Term>,
}

impl Commitment {
    /// A member's commit index covers this entry.
    pub fn committed(&mut self, entry: LogId) -> Verdict {
        match self.committed.insert(entry.index, entry.term) {
            Some(term) if term != entry.term => Err(format!(
                "commitment: index {} was committed in term {} and now in {}",
                entry.index.0, term.0, entry.term.0
            )),
            _ => Ok(()),
        }
    }

    /// A leader raises its commit index to `entry`: a majority of each half of its configuration must hold it.
    pub fn raised<'a>(
        entry: LogId,
        configuration: &Configuration,
        disk: impl Fn(&ServerId) -> Option<&'a Mirror>,
    ) -> Verdict {
        for half in configuration.majorities() {
            let holders = half.iter().filter(|id| disk(id).is_some_and(|mirror| mirror.holds(entry))).count();
            if holders < half.len() / 2 + 1 {
                return Err(format!(
                    "commitment: {entry:?} is on {holders} of {} voters' disks and was committed",
                    half.len()
                ));
            }
        }
        Ok(())
    }

    /// A new leader of `term` must hold everything committed in earlier terms.
    pub fn leader_is_complete(&self, leader: &ServerId, term: Term, log: &Mirror) -> Verdict {
        let lost = self
            .committed
            .iter()
            .map(|(index, term)| LogId::new(*term, *index))
            .find(|entry| entry.term < term && !log.holds(*entry));
        lost.map_or(Ok(()), |entry| {
            Err(format!("leader completeness: {} leads term {} without {entry:?}", leader.raft_id, term.0))
        })
    }

    /// The greatest committed index.
    pub fn last(&self) -> Index {
        self.committed.last_key_value().map_or(Index(0), |(index, _)| *index)
    }
}
