//! Nothing that promises something leaves before its commit: votes and append acknowledgements speak only of what
//! is on the sender's disk, and a directory votes once in a term (raft.md §7, 6; O4; `Output::Send` may leave at once).

use std::collections::BTreeMap;

use quorate_raft::{AppendOutcome, Body, Message, ServerId, Term};

use super::Verdict;
use crate::simulation::mirror::Mirror;

/// Every vote that left a member.
#[derive(Default)]
pub struct Promises {
    votes: BTreeMap<(ServerId, Term), ServerId>,
}

impl Promises {
    /// A message leaves a member whose disk holds `disk`.
    pub fn sent(&mut self, message: &Message, disk: &Mirror) -> Verdict {
        if message.term > disk.hard_state.term {
            return Err(format!(
                "persist before answer: {} shows term {} with term {} on its disk",
                message.from.raft_id, message.term.0, disk.hard_state.term.0
            ));
        }
        match &message.body {
            Body::VoteRequest { .. } => self.vote(message, &message.from, disk),
            Body::VoteResponse { granted: true } => self.vote(message, &message.to, disk),
            Body::AppendResponse { outcome: AppendOutcome::Accepted { matched }, .. }
                if *matched > disk.last().index =>
            {
                Err(format!(
                    "persist before answer: {} acknowledged index {} with {} on its disk",
                    message.from.raft_id,
                    matched.0,
                    disk.last().index.0
                ))
            }
            _ => Ok(()),
        }
    }

    fn vote(&mut self, message: &Message, candidate: &ServerId, disk: &Mirror) -> Verdict {
        let stored = &disk.hard_state;
        if stored.term < message.term
            || (stored.term == message.term && stored.vote.as_ref() != Some(candidate))
        {
            return Err(format!(
                "persist before answer: the vote of {} for {} in term {} is not on its disk",
                message.from.raft_id, candidate.raft_id, message.term.0
            ));
        }
        let key = (message.from.clone(), message.term);
        match self.votes.insert(key, candidate.clone()) {
            Some(other) if other != *candidate => Err(format!(
                "vote once: {} voted for {} and for {} in term {}",
                message.from.raft_id, other.raft_id, candidate.raft_id, message.term.0
            )),
            _ => Ok(()),
        }
    }
}
