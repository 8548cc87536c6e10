//! Who leads: pre-vote, vote, and becoming a follower (S1-S5, K9, K10).
//!
//! ```text
//! Follower ─ timer ─► PreCandidate ─ majority would ─► Candidate ─ majority did ─► Leader
//!     ▲                    │ refused, higher term           │ the same                │
//!     └────────────────────┴────────────────────────────────┴── no quorum, higher term┘
//! TimeoutNow from the leader skips the pre-vote (S18).
//! ```
//!
//! Who answers looks at the term, at whether it knows a leader, and at the log; never at who is
//! in its own configuration (K9). Who counts looks only at the voters of its latest one.
//! Not here: early pre-vote on a refused connection (`early.rs`).

use std::collections::BTreeMap;

use quorate_mutants::{Mutant, broken};

use crate::message::{Body, Message};
use crate::outbox::Promises;
use crate::output::{Event, Output, StepDownReason};
use crate::quorum::{Tally, tally};
use crate::raft::{Raft, RoleState};
use crate::types::{LogId, ServerId, Term};

/// After a split vote the next try waits for this part of the election timeout, and a random
/// duration up to the other: several round trips, far below the time to notice a lost leader.
const SPLIT_VOTE_PAUSE_DIVISOR: u32 = 8;
const SPLIT_VOTE_SPREAD_DIVISOR: u32 = 4;

impl Raft {
    /// Nobody led us for long: campaign, if we may (S1).
    pub(crate) fn election_timeout(&mut self) {
        self.rest_election_timer();
        self.hurry_again();
        self.set_leader(None);
        if broken(Mutant::B17) && self.may_campaign() {
            self.campaign(false);
        } else if self.may_campaign() {
            self.ask_pre_votes();
        } else {
            self.role = RoleState::Follower;
        }
    }

    /// A voter of the latest or of the committed configuration may campaign; others keep quiet (B7,
    /// K19). The committed one counts too: an uncommitted removal must not silence the only
    /// server that could still lead.
    fn may_campaign(&self) -> bool {
        let committed = self.configurations.committed();
        let voted = committed.is_some_and(|committed| committed.configuration.is_voter(self.id()));
        self.is_voter() || voted || broken(Mutant::B7)
    }

    /// A vote of our own counts only if our latest configuration gives us one.
    pub(crate) fn is_voter(&self) -> bool {
        self.configurations.latest().is_some_and(|latest| latest.configuration.is_voter(self.id()))
    }

    fn ask_pre_votes(&mut self) {
        let proposed = self.hard.term.next();
        self.event(Event::Campaigning { term: proposed, is_pre_vote: true });
        let own = self.is_voter().then(|| (self.id().clone(), true));
        self.role = RoleState::PreCandidate { votes: own.into_iter().collect() };
        let last = self.log.last();
        self.ask_voters(&Body::PreVoteRequest { proposed, last });
        self.count_votes();
    }

    /// Campaigns in the next term: votes for itself, and asks the others once that is on disk.
    pub(crate) fn campaign(&mut self, is_transfer: bool) {
        self.set_term(self.hard.term.next());
        self.vote_for(self.id().clone());
        self.rest_election_timer();
        self.event(Event::Campaigning { term: self.hard.term, is_pre_vote: false });
        let own_vote_at = self.outbox.hard_at();
        self.role = RoleState::Candidate { votes: BTreeMap::new(), own_vote_at };
        let last = self.log.last();
        self.ask_voters(&Body::VoteRequest { last, is_transfer });
    }

    fn ask_voters(&mut self, body: &Body) {
        let Some(latest) = self.configurations.latest() else { return };
        let voters = latest.configuration.voters().map(|server| &server.id);
        for id in voters.filter(|id| *id != self.id()).cloned().collect::<Vec<_>>() {
            self.send(id, body.clone());
        }
    }

    /// Our own vote is on disk: now it counts (S3).
    pub(crate) fn count_own_vote(&mut self) {
        let (id, is_voter) = (self.id().clone(), self.is_voter());
        let RoleState::Candidate { votes, own_vote_at, .. } = &mut self.role else { return };
        if is_voter && self.outbox.is_persisted(*own_vote_at) && votes.insert(id, true).is_none() {
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let Some(latest) = self.configurations.latest() else { return };
        let (RoleState::PreCandidate { votes } | RoleState::Candidate { votes, .. }) = &self.role else {
            return;
        };
        match tally(&latest.configuration.majorities(), votes) {
            Tally::Won if matches!(self.role, RoleState::Candidate { .. }) => self.lead(),
            Tally::Won => self.campaign(false),
            Tally::Lost => self.role = RoleState::Follower,
            Tally::Open => {}
        }
    }

    /// A refusal after the pre-votes were granted means a rival: a majority had just said that it
    /// would elect us, so a full timeout would be lost time. The pause leaves answers on their way
    /// room to arrive; its random part keeps the rivals apart.
    fn try_again_soon(&mut self) {
        let timeout = self.settings.election_timeout;
        let pause = timeout / SPLIT_VOTE_PAUSE_DIVISOR + self.draw(timeout / SPLIT_VOTE_SPREAD_DIVISOR);
        self.election_deadline = self.election_deadline.min(self.now.plus(pause));
        self.hurry_again();
    }

    /// Follows, in `term` if it is higher. Every caller that waited for us to lead hears so.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<ServerId>, reason: StepDownReason) {
        if term > self.hard.term {
            self.set_term(term);
        }
        if let RoleState::Leader(lead) = std::mem::replace(&mut self.role, RoleState::Follower) {
            self.event(Event::SteppedDown { term: lead.term, reason });
            self.dismiss(*lead, reason);
            // Whoever led a moment ago gives the others time to elect (S2).
            self.contact();
        }
        self.set_leader(leader);
    }

    /// The current leader reached us, or got our vote, or was ourselves (S2).
    pub(crate) fn contact(&mut self) {
        self.last_contact = Some(self.now);
        self.rest_election_timer();
    }

    /// Whether somebody other than `candidate` leads, as far as we know (K10): within the election
    /// timeout itself, not the longer deadline drawn from it.
    fn knows_other_leader(&self, candidate: &ServerId) -> bool {
        let is_fresh = self.contact_age().is_some_and(|age| age < self.settings.election_timeout);
        is_fresh && self.leader.as_ref().is_some_and(|leader| leader != candidate) && !broken(Mutant::K10)
    }

    /// Would we vote for it? Changes nothing (K10).
    pub(crate) fn pre_vote_request(&mut self, from: ServerId, proposed: Term, last: LogId) {
        let term_is_free =
            proposed > self.hard.term || (proposed == self.hard.term && self.may_vote_for(&from));
        let granted = !self.knows_other_leader(&from) && term_is_free && last >= self.log.last();
        self.send(from, Body::PreVoteResponse { proposed, granted });
    }

    pub(crate) fn pre_vote_response(&mut self, from: ServerId, proposed: Term, granted: bool) {
        let counts = proposed == self.hard.term.next() && self.counts_as_voter(&from);
        if let RoleState::PreCandidate { votes } = &mut self.role
            && counts
        {
            votes.insert(from, granted);
            self.count_votes();
        }
    }

    /// Votes, by term, known leader and log alone (S4, K9).
    pub(crate) fn vote_request(&mut self, from: ServerId, term: Term, last: LogId, is_transfer: bool) {
        // Before the term is even looked at: a server that missed its leader must not raise the
        // term of those who hear theirs.
        if self.knows_other_leader(&from) && !is_transfer {
            self.send(from, Body::VoteResponse { granted: false });
            return;
        }
        if term > self.hard.term {
            self.follow(term, None, StepDownReason::HigherTerm);
        }
        let is_level = last >= self.log.last() || broken(Mutant::S4Log);
        let granted = term == self.hard.term
            && self.may_vote_for(&from)
            && is_level
            && (!broken(Mutant::B8) || self.counts_as_voter(&from));
        if granted {
            self.vote_for(from.clone());
            self.contact();
        }
        self.send(from, Body::VoteResponse { granted });
    }

    fn may_vote_for(&self, id: &ServerId) -> bool {
        self.hard.vote.as_ref().is_none_or(|vote| vote == id) || broken(Mutant::S4Once)
    }

    pub(crate) fn vote_response(&mut self, from: ServerId, granted: bool) {
        let is_voter = self.counts_as_voter(&from);
        if let RoleState::Candidate { votes, .. } = &mut self.role
            && is_voter
        {
            votes.insert(from, granted);
            if !granted {
                self.try_again_soon();
            }
            self.count_votes();
        }
    }

    /// The one who counts compares: exactly this identity, in our latest configuration (K1, K9). The
    /// tally looks again; this keeps what it looks at bounded by the configuration.
    fn counts_as_voter(&self, id: &ServerId) -> bool {
        let latest = self.configurations.latest();
        latest.is_some_and(|latest| latest.configuration.is_voter(id)) || broken(Mutant::K9)
    }

    /// Sends what shows our term: after the term is on disk.
    pub(crate) fn send(&mut self, to: ServerId, body: Body) {
        self.send_after(Promises::Term, to, body);
    }

    pub(crate) fn send_after(&mut self, promises: Promises, to: ServerId, body: Body) {
        let message = Message::new(self.id().clone(), to, self.hard.term, body);
        self.outbox.push_after(promises, Output::Send(message));
    }
}
