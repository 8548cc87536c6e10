//! Membership changes: when one may be appended (S7, K13, K33).
//!
//! Whoever asks, the same checks run at the moment of the append, on what the leader knows then:
//! one change at a time, none before the term's first commit, decided on the configuration in
//! effect, a quorum of the *new* configuration answering, and whoever gets a vote caught up and
//! stable under this very leader. There is no force flag: a change that would lose the quorum is
//! never the way out of an outage, recovery is (K18).
//! Not here: how a replacement leaves its joint configuration (`replace.rs`).

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::entry::Payload;
use crate::leader::Leadership;
use crate::limits::{CAUGHT_UP_ENTRIES_MAX, CHANGES_HELD_MAX, VOLUME_LOST_SILENCE};
use crate::membership::{Change, Configuration, InvalidChange, RemoveReason};
use crate::quorum::majority;
use crate::raft::Raft;
use crate::refusal::Refusal;
use crate::status::ReplicationState;
use crate::types::{Index, Now, ServerId, Term, Ticket};

/// A change that came before the term's first commit.
pub(crate) struct HeldChange {
    pub(crate) ticket: Ticket,
    expected: Index,
    change: Change,
    pub(crate) deadline: Now,
}

impl Raft {
    pub(crate) fn change_membership(&mut self, ticket: Ticket, expected: Index, change: Change) {
        if let Err(refusal) = self.check_leading(expected) {
            self.answer(ticket, Err(refusal));
            return;
        }
        if self.may_change() || broken(Mutant::S7Ready) {
            self.append_change(ticket, expected, &change);
            return;
        }
        let deadline = self.now.plus(self.settings.election_timeout);
        let Some(lead) = self.leading_mut() else { return };
        if lead.held_changes.len() < CHANGES_HELD_MAX {
            lead.held_changes.push_back(HeldChange { ticket, expected, change, deadline });
        } else {
            self.answer(ticket, Err(Refusal::Busy { what: "the number of membership changes waiting" }));
        }
    }

    /// Committed in our term (S7), and our machine has come past whatever was restored before it (K17).
    fn may_change(&self) -> bool {
        let is_past = |lead: &Leadership| self.applier.index() >= lead.term_start;
        self.is_ready() && (self.leading().is_some_and(is_past) || broken(Mutant::K17Carried))
    }

    /// The term's first entry is committed and applied: the held changes run, in order (K13).
    pub(crate) fn release_held_changes(&mut self) {
        if !self.may_change() {
            return;
        }
        while let Some(held) = self.leading_mut().and_then(|lead| lead.held_changes.pop_front()) {
            self.append_change(held.ticket, held.expected, &held.change);
        }
    }

    pub(crate) fn expire_held_changes(&mut self) {
        let (now, waited) = (self.now, self.settings.election_timeout);
        let expired = |lead: &mut Leadership| lead.held_changes.pop_front_if(|held| now >= held.deadline);
        while let Some(held) = self.leading_mut().and_then(expired) {
            self.answer(held.ticket, Err(Refusal::NotReady { waited }));
        }
    }

    fn append_change(&mut self, ticket: Ticket, expected: Index, change: &Change) {
        match self.check_change(expected, change) {
            Ok(configuration) => {
                let index = self.append_own(Payload::Configuration(configuration));
                if let Some(lead) = self.leading_mut() {
                    lead.change = Some((index, ticket));
                }
            }
            Err(refusal) => self.answer(ticket, Err(refusal)),
        }
    }

    /// What refuses at once, ready or not.
    fn check_leading(&self, expected: Index) -> Result<(), Refusal> {
        self.check_takes_entries()?;
        let latest = self.configurations.latest();
        let actual = latest.map_or(Index(0), |latest| latest.index);
        let is_joint = latest.is_some_and(|latest| latest.configuration.is_joint());
        if (!self.configurations.is_settled() || is_joint) && !broken(Mutant::S7One) {
            return Err(Refusal::ConfigurationChanging { index: actual });
        }
        if expected != actual && !broken(Mutant::N5) {
            return Err(Refusal::ConfigurationMismatch { expected, actual });
        }
        Ok(())
    }

    /// Everything K13 asks for, at the moment of the append.
    fn check_change(&self, expected: Index, change: &Change) -> Result<Configuration, Refusal> {
        self.check_leading(expected)?;
        let Some(latest) = self.configurations.latest() else { return Err(self.not_leader()) };
        let next = latest.configuration.after(change)?;
        match change {
            Change::Promote { id, stable_in_term } => self.check_promotion(id, *stable_in_term)?,
            Change::Replace { old, new, stable_in_term, old_has_left } => {
                self.check_replaced(old, *old_has_left)?;
                self.check_promotion(new, *stable_in_term)?;
            }
            Change::Remove { id, reason: RemoveReason::VolumeLost } => self.check_volume_lost(id)?,
            Change::AddNonVoter { id, versions, .. } => self.check_joining(id, *versions)?,
            Change::RaiseVersion { to } => self.check_raise(&next, *to)?,
            Change::Remove { .. } | Change::Demote { .. } | Change::SetAddress { .. } => {}
        }
        self.check_reachable(&next)?;
        self.check_carried(&next)?;
        Ok(next)
    }

    /// A quorum of the new configuration answered within the last election timeout (K13).
    fn check_reachable(&self, next: &Configuration) -> Result<(), Refusal> {
        for voters in next.majorities() {
            let reachable = voters.iter().filter(|id| self.answers(id)).count();
            let (voters, needed) = (voters.len(), majority(voters.len()));
            if reachable < needed {
                return Err(Refusal::WouldLoseQuorum { voters, reachable, needed });
            }
        }
        Ok(())
    }

    fn answers(&self, id: &ServerId) -> bool {
        self.silence_of(id).is_some_and(|ago| ago <= self.settings.election_timeout)
            || broken(Mutant::K13Reachable)
    }

    /// Who gets a vote holds the log, and is stable in this term's autopilot state (K13).
    fn check_promotion(&self, id: &ServerId, stable_in_term: Term) -> Result<(), Refusal> {
        if stable_in_term != self.hard.term && !broken(Mutant::K13Stable) {
            return Err(Refusal::NotStable { id: id.clone() });
        }
        let Some(lead) = self.leading() else { return Err(self.not_leader()) };
        let Some(peer) = lead.peers.get(id) else { return Err(InvalidChange::NotMember(id.clone()).into()) };
        let behind = self.commit.0.saturating_sub(peer.matched.0);
        let is_supplied = peer.replication() == ReplicationState::Replicate;
        if (behind > CAUGHT_UP_ENTRIES_MAX || !is_supplied) && !broken(Mutant::K13CaughtUp) {
            return Err(Refusal::NotCaughtUp { id: id.clone(), behind });
        }
        Ok(())
    }

    /// A server that answers under its incarnation has its volume (K33).
    fn check_volume_lost(&self, id: &ServerId) -> Result<(), Refusal> {
        match self.silence_of(id).filter(|ago| *ago < VOLUME_LOST_SILENCE) {
            Some(ago) => Err(Refusal::StillAlive { id: id.clone(), ago }),
            None => Ok(()),
        }
    }

    /// How long ago the leader heard it, which hears itself; none if never in this term.
    pub(crate) fn silence_of(&self, id: &ServerId) -> Option<Duration> {
        let lead = self.leading()?;
        let heard = if id == self.id() { Some(self.now) } else { lead.peers.get(id)?.last_ack };
        heard.map(|heard| self.now.since(heard))
    }
}
