//! At most one leader in a term (Raft paper, figure 3: election safety).

use std::collections::BTreeMap;

use quorate_raft::{ServerId, Term};

use super::Verdict;

/// Who led which term.
#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<Term, ServerId>,
}

impl ElectionSafety {
    /// A recovered cluster begins: terms of the one before, which it may not know, are led again.
    pub fn recovered(&mut self) {
        self.leaders.clear();
    }

    /// A member says that it leads a term.
    pub fn leads(&mut self, leader: &ServerId, term: Term) -> Verdict {
        match self.leaders.insert(term, leader.clone()) {
            Some(other) if other != *leader => Err(format!(
                "election safety: {} and {} both lead term {}",
                other.raft_id, leader.raft_id, term.0
            )),
            _ => Ok(()),
        }
    }
}
