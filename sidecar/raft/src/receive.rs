//! The door for messages: everything from a peer is checked here before it means anything.
//!
//! Rules of the door: only what is meant for exactly us (K1); no number that would overflow; a
//! request of a lower term is answered with ours, an answer of a lower term dropped except to a
//! pre-vote (K10); an
//! answer of a higher term makes us follow (S16); a leader's message of our term makes us its
//! follower (S5). What breaks a rule is counted in an event and otherwise ignored.

use quorate_mutants::{Mutant, broken};

use crate::entry::Entry;
use crate::limits::NUMBER_MAX;
use crate::message::{AppendOutcome, Body, Message};
use crate::outbox::Promises;
use crate::output::{Event, InvalidMessage, StepDownReason};
use crate::raft::Raft;
use crate::types::{Epoch, LogId, Round, ServerId, Term};

/// What is echoed to a request of an earlier term. Epochs begin anew in each term, and our answer shows our own
/// term: if the caller leads that one too by now, the epoch it asked with may be one of today's, and an answer to
/// its old question would pass for one to a new (K11: that is how a read would be confirmed by the past).
const OF_ANOTHER_TERM: Epoch = Epoch(0);

impl Raft {
    pub(crate) fn receive(&mut self, message: Message) {
        let Message { from, to, term, body } = message;
        if let Some(problem) = self.problem_with(&from, &to, term, &body) {
            if problem == InvalidMessage::WrongReceiver
                && to.raft_id == self.id().raft_id
                && body.is_request()
            {
                // Another directory under our Raft ID was meant: say that it is gone.
                self.send(from, Body::VolumeLost { recorded: to });
            } else {
                self.refuse_message(from, problem);
            }
            return;
        }
        if body.is_request() {
            self.notice_other_incarnation(&from);
        }
        if !body.is_request() && term > self.hard.term && !matches!(body, Body::VolumeLost { .. }) {
            self.follow(term, None, StepDownReason::HigherTerm);
            return;
        }
        match body {
            Body::PreVoteRequest { proposed, last } => self.pre_vote_request(from, proposed, last),
            Body::VoteRequest { last, is_transfer } => self.vote_request(from, term, last, is_transfer),
            Body::VolumeLost { recorded } => self.volume_lost(from, recorded),
            Body::AppendRequest { epoch, previous, entries, commit } => {
                if term < self.hard.term {
                    // Our higher term deposes it (K10); what it asked is not done.
                    let outcome =
                        AppendOutcome::Rejected { previous: previous.index, hint: LogId::default() };
                    if !broken(Mutant::B9) {
                        self.send(from, Body::AppendResponse { epoch: OF_ANOTHER_TERM, outcome });
                    }
                } else if self.accept_leader(&from, term) {
                    self.append_request(from, epoch, previous, entries, commit);
                }
            }
            Body::HeartbeatRequest { epoch, round } => self.heartbeat_request(from, term, epoch, round),
            Body::TimeoutNow => self.timeout_now(&from, term),
            // It names the term it was asked about; whoever answers may be in a lower one, because a
            // pre-vote raises no term.
            Body::PreVoteResponse { proposed, granted } => self.pre_vote_response(from, proposed, granted),
            // Any other old answer was to an old question.
            Body::VoteResponse { .. } | Body::AppendResponse { .. } | Body::HeartbeatResponse { .. }
                if term < self.hard.term => {}
            Body::VoteResponse { granted } => self.vote_response(from, granted),
            Body::AppendResponse { epoch, outcome } => self.append_response(&from, epoch, outcome),
            Body::HeartbeatResponse { epoch, round, commit, applied, lacks } => {
                self.heartbeat_response(&from, epoch, round, commit);
                self.restores_reported(&from, epoch, applied, lacks);
            }
        }
    }

    /// A leader's sign of life is contact if it is of our term, and answered in any case: a higher
    /// term of ours deposes it (K10).
    fn heartbeat_request(&mut self, from: ServerId, term: Term, epoch: Epoch, round: Round) {
        let (commit, applied, lacks) = (self.commit, self.applier.index(), self.lacked());
        if term < self.hard.term {
            let (epoch, round) =
                if broken(Mutant::K11) { (epoch, round) } else { (OF_ANOTHER_TERM, Round::default()) };
            if !broken(Mutant::B9) {
                self.send(from, Body::HeartbeatResponse { epoch, round, commit, applied, lacks });
            }
            return;
        }
        if broken(Mutant::O1) && term > self.hard.term {
            self.contact();
            return;
        }
        if !self.accept_leader(&from, term) {
            return;
        }
        self.contact();
        let promises = if broken(Mutant::O8) { Promises::Log } else { Promises::Term };
        self.send_after(promises, from, Body::HeartbeatResponse { epoch, round, commit, applied, lacks });
    }

    /// Follows whoever leads `term`, which is at least ours; false if that cannot be.
    pub(crate) fn accept_leader(&mut self, from: &ServerId, term: Term) -> bool {
        let is_other = |leader: &ServerId| leader != from;
        let leads_too = term == self.hard.term
            && (self.leading().is_some() || self.leader.as_ref().is_some_and(is_other));
        if leads_too {
            self.refuse_message(from.clone(), InvalidMessage::SecondLeader);
            return false;
        }
        self.follow(term, Some(from.clone()), StepDownReason::HigherTerm);
        true
    }

    /// A leader that has committed in its term tells a caller that the configuration records
    /// another directory under its Raft ID (K1). It is answered all the same.
    fn notice_other_incarnation(&mut self, from: &ServerId) {
        let latest = self.configurations.latest().filter(|_| self.is_ready());
        let server = latest.and_then(|latest| latest.configuration.by_raft_id(&from.raft_id));
        if let Some(recorded) = server.map(|server| server.id.clone()).filter(|id| id != from) {
            self.event(Event::VolumeLost { recorded: recorded.clone(), found: from.clone() });
            self.send(from.clone(), Body::VolumeLost { recorded });
        }
    }

    fn volume_lost(&mut self, from: ServerId, recorded: ServerId) {
        if recorded.raft_id == self.id().raft_id {
            let found = self.id().clone();
            self.event(Event::VolumeLost { recorded, found });
        } else if recorded.raft_id == from.raft_id && recorded != from {
            self.event(Event::VolumeLost { recorded, found: from });
        }
    }

    fn problem_with(
        &self,
        from: &ServerId,
        to: &ServerId,
        term: Term,
        body: &Body,
    ) -> Option<InvalidMessage> {
        if to != self.id() && (to.raft_id != self.id().raft_id || !broken(Mutant::K1)) {
            Some(InvalidMessage::WrongReceiver)
        } else if from == self.id() {
            Some(InvalidMessage::FromOurselves)
        } else if term.0.max(body.greatest_number()) > NUMBER_MAX && !broken(Mutant::B6) {
            Some(InvalidMessage::NumberTooBig)
        } else if let Body::AppendRequest { previous, entries, .. } = body {
            (!follow_each_other(*previous, entries, term)).then_some(InvalidMessage::BadEntries)
        } else {
            None
        }
    }
}

/// Whether `entries` are a piece of a log of `term` right after `previous`.
pub(crate) fn follow_each_other(previous: LogId, entries: &[Entry], term: Term) -> bool {
    let mut before = previous;
    previous.term <= term
        && entries.iter().all(|entry| {
            let fits = entry.index.0 == before.index.0 + 1 && entry.term >= before.term && entry.term <= term;
            before = entry.id();
            fits && entry.term > Term(0)
        })
}

impl Body {
    const fn is_request(&self) -> bool {
        match self {
            Self::PreVoteRequest { .. }
            | Self::VoteRequest { .. }
            | Self::AppendRequest { .. }
            | Self::HeartbeatRequest { .. }
            | Self::TimeoutNow => true,
            Self::PreVoteResponse { .. }
            | Self::VoteResponse { .. }
            | Self::AppendResponse { .. }
            | Self::HeartbeatResponse { .. }
            | Self::VolumeLost { .. } => false,
        }
    }

    /// The greatest term, index or round it carries. Entries are checked against their neighbours.
    fn greatest_number(&self) -> u64 {
        let of = |id: &LogId| id.term.0.max(id.index.0);
        match self {
            Self::PreVoteRequest { proposed, last } => of(last).max(proposed.0),
            Self::PreVoteResponse { proposed, .. } => proposed.0,
            Self::VoteRequest { last, .. } => of(last),
            Self::AppendRequest { previous, commit, .. } => of(previous).max(commit.0),
            Self::AppendResponse { outcome, .. } => match outcome {
                AppendOutcome::Accepted { matched } => matched.0,
                AppendOutcome::Rejected { previous, hint } => of(hint).max(previous.0),
            },
            Self::HeartbeatRequest { round, .. } => round.0,
            Self::HeartbeatResponse { round, commit, applied, lacks, .. } => {
                round.0.max(commit.0).max(applied.0).max(lacks.0)
            }
            Self::VoteResponse { .. } | Self::TimeoutNow | Self::VolumeLost { .. } => 0,
        }
    }
}
