//! What is committed, and what follows from it (S6, S10, K19, N6).
//!
//! A leader counts only entries of its own term: one of an earlier term, even on a majority, may
//! still be replaced (paper figure 8). It counts its own log only as far as storage confirmed.

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::entry::IndexedConfiguration;
use crate::leader::Leadership;
use crate::limits::COMMIT_STORED_WITHIN;
use crate::output::{Answer, Event, StepDownReason};
use crate::quorum::quorum_index;
use crate::raft::{Raft, RoleState};
use crate::status::Membership;
use crate::types::{Index, ServerId};

impl Raft {
    /// A leader's count of what a quorum holds.
    pub(crate) fn advance_commit(&mut self) {
        let Some(latest) = self.configurations.latest() else { return };
        let RoleState::Leader(lead) = &self.role else { return };
        let matched = |id: &ServerId| {
            if id == self.id() {
                if broken(Mutant::P1Leader) { self.log.last().index } else { self.log.persisted() }
            } else {
                lead.peers.get(id).map_or(Index(0), |peer| peer.matched)
            }
        };
        let held = quorum_index(&latest.configuration.majorities(), matched);
        let is_own = self.log.term_at(held) == Some(lead.term) || broken(Mutant::S6Term);
        if held > self.commit && is_own {
            self.commit_to(held);
        }
    }

    /// Everything up to `index` is committed.
    pub(crate) fn commit_to(&mut self, index: Index) {
        if index <= self.commit {
            return;
        }
        assert!(index <= self.log.last().index, "only what is in the log is committed");
        self.commit = index;
        if !broken(Mutant::K6) {
            self.commit_deadline.get_or_insert(self.now.plus(COMMIT_STORED_WITHIN));
        }
        if let RoleState::Leader(lead) = &mut self.role {
            while let Some((_, bytes)) = lead.uncommitted.pop_front_if(|(at, _)| *at <= index) {
                lead.uncommitted_bytes -= bytes;
            }
        }
        if self.configurations.commit(index) {
            self.configuration_committed();
        }
    }

    fn configuration_committed(&mut self) {
        let Some(committed) = self.configurations.committed() else { return };
        let (index, is_joint) = (committed.index, committed.configuration.is_joint());
        self.event(Event::ConfigurationCommitted { index });
        // A replacement is done once the joint configuration is left (K14).
        let answered = |lead: &mut Leadership| lead.change.take_if(|(at, _)| *at == index && !is_joint);
        if let Some((_, ticket)) = self.leading_mut().and_then(answered) {
            self.answer(ticket, Ok(Answer::MembershipChanged { configuration_index: index }));
        }
        if self.membership() == Membership::Removed {
            self.event(Event::Removed { index });
        }
    }

    /// A leader whose vote is gone by a committed configuration stops in the very turn that
    /// commits it (S10, N6): it tells the others, asks the furthest to take over, and follows.
    pub(crate) fn resign_without_vote(&mut self) {
        let (Some(latest), RoleState::Leader(_)) = (self.configurations.latest(), &self.role) else { return };
        if !self.configurations.is_settled() || latest.configuration.is_voter(self.id()) || broken(Mutant::N6)
        {
            return;
        }
        self.supply_peers();
        self.ask_furthest_to_campaign();
        self.follow(self.hard.term, None, StepDownReason::NoVote);
    }

    /// Our place in the group (K19).
    pub(crate) fn membership(&self) -> Membership {
        let place_in = |known: &IndexedConfiguration| {
            let server = known.configuration.get(self.id())?;
            Some(if server.suffrage.has_vote() { Membership::Voter } else { Membership::NonVoter })
        };
        let Some(latest) = self.configurations.latest() else { return Membership::NotYet };
        if let Some(place) = place_in(latest) {
            place
        } else if !self.hard.was_member {
            Membership::NotYet
        } else if self.configurations.is_settled() && !broken(Mutant::K19) {
            Membership::Removed
        } else {
            // Our removal is not committed yet: the committed configuration still says what we are.
            self.configurations.committed().and_then(place_in).unwrap_or(Membership::NonVoter)
        }
    }

    /// The age of the last sign of a leader; zero for the leader itself.
    pub(crate) fn contact_age(&self) -> Option<Duration> {
        let at = if self.leading().is_some() { Some(self.now) } else { self.last_contact };
        at.map(|at| self.now.since(at))
    }
}
