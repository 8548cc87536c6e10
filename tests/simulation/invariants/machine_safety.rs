//! Machines that applied an index applied the same entry there and gave the same answer (Raft paper: state machine
//! safety), each index once and in order.

use std::collections::BTreeMap;

use quorate_raft::{Entry, Index};

use super::Verdict;
use super::log_matching::fingerprint;

/// What was applied where, by the first member that did.
#[derive(Default)]
pub struct MachineSafety {
    applied: BTreeMap<Index, (u64, Option<String>)>,
}

impl MachineSafety {
    /// The last entry that any machine applied.
    pub fn last(&self) -> Index {
        self.applied.last_key_value().map_or(Index(0), |(index, _)| *index)
    }

    /// What was applied after the entry `upto` is lost.
    pub fn lose_after(&mut self, upto: Index) {
        self.applied.split_off(&upto.next());
    }

    /// A machine whose last applied index was `before` applied `entry`, and a command of it gave `outcome`.
    pub fn applied(&mut self, before: Index, entry: &Entry, outcome: Option<String>) -> Verdict {
        if entry.index != before.next() {
            return Err(format!("state machine safety: index {} applied after {}", entry.index.0, before.0));
        }
        let facts = (fingerprint(entry), outcome);
        match self.applied.get(&entry.index) {
            Some(first) if *first != facts => Err(format!(
                "state machine safety: index {} gave {:?} first and {:?} here",
                entry.index.0, first.1, facts.1
            )),
            Some(_) => Ok(()),
            None => {
                self.applied.insert(entry.index, facts);
                Ok(())
            }
        }
    }
}
