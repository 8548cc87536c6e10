//! Giving leadership away (S18, B3, B4, B10, O2, N4; K43 for a process that ends).
//!
//! ```text
//! asked ─► no new entries ─► target's match == our last ─► TimeoutNow ─► it campaigns at once
//!   │                                                                        │
//!   └──────── an election timeout: give up, take entries again ◄─────────────┘ or we step down
//! ```
//!
//! The transfer is part of `Leadership`: whatever ends the one ends the other, so that no flag
//! survives (O2).

use quorate_mutants::{Mutant, broken};

use crate::leader::Leadership;
use crate::membership::{Server, Suffrage};
use crate::message::Body;
use crate::raft::{Raft, RoleState};
use crate::refusal::Refusal;
use crate::types::{Index, Now, RaftId, ServerId, Term, Ticket};

/// A transfer under way.
pub(crate) struct Transfer {
    pub(crate) target: ServerId,
    /// None: it was our own idea.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) deadline: Now,
    /// Since the last heartbeat.
    pub(crate) is_asked: bool,
}

impl Raft {
    pub(crate) fn transfer_leadership(&mut self, ticket: Ticket, target: Option<&RaftId>) {
        let refusal = match &self.role {
            RoleState::Leader(lead) if lead.transfer.is_some() => Refusal::TransferInProgress,
            RoleState::Leader(_) => match self.transfer_target(target) {
                Some(target) => return self.begin_transfer(Some(ticket), target),
                None => Refusal::NoTransferTarget { target: target.cloned() },
            },
            RoleState::PreCandidate { .. } | RoleState::Candidate { .. } if broken(Mutant::B4) => return,
            RoleState::Follower | RoleState::PreCandidate { .. } | RoleState::Candidate { .. } => {
                self.not_leader()
            }
        };
        self.answer(ticket, Err(refusal));
    }

    /// The named voter, or the one whose log is furthest of those that answer, and whose machine is past
    /// the restore that ours cannot make, if there is one (K17). Never ourselves, never a non-voter (B3), nor a voter on its way out (K14).
    fn transfer_target(&self, named: Option<&RaftId>) -> Option<ServerId> {
        let latest = self.configurations.latest()?;
        let lead = self.leading()?;
        let stays = |server: &&Server| server.id != *self.id() && server.suffrage != Suffrage::Outgoing;
        let counts = |server: &&Server| server.suffrage.has_vote() || broken(Mutant::B3);
        let others = latest.configuration.servers().iter().filter(counts).filter(stays);
        let mut candidates = others.filter_map(|server| Some((&server.id, lead.peers.get(&server.id)?)));
        let target = match named {
            Some(raft_id) => candidates.find(|(id, _)| id.raft_id == *raft_id),
            None => candidates
                .filter(|(_, peer)| peer.answered_within(self.settings.election_timeout, self.now))
                .filter(|(_, peer)| peer.applied >= self.lacked())
                .max_by_key(|(_, peer)| peer.matched),
        };
        target.map(|(id, _)| id.clone())
    }

    fn begin_transfer(&mut self, ticket: Option<Ticket>, target: ServerId) {
        let patience = self.settings.election_timeout * if broken(Mutant::O2) { 1_000 } else { 1 };
        let deadline = self.now.plus(patience);
        if let Some(lead) = self.leading_mut() {
            lead.transfer = Some(Transfer { target, ticket, deadline, is_asked: false });
        }
    }

    /// Asks the target to campaign as soon as it holds all we hold: by match, not by what was sent.
    pub(crate) fn advance_transfer(&mut self) {
        let last = self.log.last().index;
        let RoleState::Leader(lead) = &mut self.role else { return };
        let Some(transfer) = lead.transfer.as_mut().filter(|transfer| !transfer.is_asked) else { return };
        let is_level = lead.peers.get(&transfer.target).is_some_and(|peer| peer.matched == last);
        if is_level || broken(Mutant::S18) {
            transfer.is_asked = true;
            let target = transfer.target.clone();
            self.send(target, Body::TimeoutNow);
        }
    }

    pub(crate) fn expire_transfer(&mut self) {
        let now = self.now;
        let expired = |lead: &mut Leadership| lead.transfer.take_if(|transfer| now >= transfer.deadline);
        if let Some(ticket) = self.leading_mut().and_then(expired).and_then(|transfer| transfer.ticket) {
            self.answer(ticket, Err(Refusal::TransferTimedOut));
        }
    }

    /// The leader asks us to take over (N4): only the one we follow, only now, only if we vote.
    pub(crate) fn timeout_now(&mut self, from: &ServerId, term: Term) {
        let is_from_leader =
            term == self.hard.term && self.leader.as_ref() == Some(from) || broken(Mutant::N4);
        if self.is_voter() && is_from_leader && matches!(self.role, RoleState::Follower) {
            self.campaign(true);
        }
    }

    /// On the way out: the voter that holds everything need not wait for a timeout.
    pub(crate) fn ask_furthest_to_campaign(&mut self) {
        let last = self.log.last().index;
        let Some(target) = self.transfer_target(None) else { return };
        if self.peer_mut(&target).is_some_and(|peer| peer.matched == last) {
            self.send(target, Body::TimeoutNow);
        }
    }

    /// This process will end (K43).
    pub(crate) fn hand_over(&mut self) {
        self.is_handed_over = true;
        let Some(lead) = self.leading() else { return self.rest_election_timer() };
        if lead.transfer.is_none()
            && let Some(target) = self.transfer_target(None)
        {
            self.begin_transfer(None, target);
        }
    }

    /// After a first try that failed, or when we were elected all the same: as soon as another
    /// voter is level, so that writes stop only for a moment.
    pub(crate) fn hand_over_if_level(&mut self) {
        let last = self.log.last().index;
        // Whoever lacks an archive answers nobody, so that nothing is lost while it waits.
        let is_lacking = self.lacked() > Index(0) && !broken(Mutant::K17Leader);
        let Some(lead) = self.leading() else { return };
        if !self.is_handed_over && !is_lacking || lead.transfer.is_some() {
            return;
        }
        let Some(target) = self.transfer_target(None) else { return };
        if is_lacking || self.peer_mut(&target).is_some_and(|peer| peer.matched == last) {
            self.begin_transfer(None, target);
        }
    }
}
