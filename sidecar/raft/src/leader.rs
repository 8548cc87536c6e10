//! Leading: what a leader holds, how it begins, its clock, and how it ends (S6, S8, S11, S12).
//!
//! Supplying the peers is in `replication.rs`. A leader appends a no-op first and changes, reads
//! and commits nothing before that entry commits: only entries of its own term are counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::change::HeldChange;
use crate::entry::{Entry, Payload};
use crate::limits::{CHECK_QUORUM_INTERVAL_MIN, DEPARTING_ELECTION_TIMEOUTS};
use crate::message::Body;
use crate::output::{Answer, Event, Output, StepDownReason};
use crate::progress::{Departing, Progress};
use crate::quorum::is_quorum;
use crate::raft::{Raft, RoleState};
use crate::read::Reads;
use crate::refusal::Refusal;
use crate::transfer::Transfer;
use crate::types::{Epoch, Index, Now, ServerId, Term, Ticket};

/// What only a leader holds; dropped whole when it ends.
pub(crate) struct Leadership {
    pub(crate) term: Term,
    /// Its own no-op: once this is committed it is ready (S6).
    pub(crate) term_start: Index,
    pub(crate) peers: BTreeMap<ServerId, Progress>,
    /// That of the newest replication.
    epoch: Epoch,
    pub(crate) reads: Reads,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) held_changes: VecDeque<HeldChange>,
    /// Who waits for the configuration entry at an index.
    pub(crate) change: Option<(Index, Ticket)>,
    /// Own entries not committed and their bytes, oldest first (K25).
    pub(crate) uncommitted: VecDeque<(Index, u64)>,
    pub(crate) uncommitted_bytes: u64,
    heartbeat_deadline: Now,
    check_deadline: Now,
}

impl Leadership {
    pub(crate) fn next_deadline(&self) -> Now {
        let base = self.heartbeat_deadline.min(self.check_deadline);
        let transfer = self.transfer.as_ref().map_or(base, |transfer| transfer.deadline.min(base));
        self.held_changes.front().map_or(transfer, |held| held.deadline.min(transfer))
    }
}

impl Raft {
    /// The majority voted for us (S6).
    pub(crate) fn lead(&mut self) {
        let term = self.hard.term;
        assert!(matches!(self.role, RoleState::Candidate { .. }), "only a candidate is elected");
        self.role = RoleState::Leader(Box::new(Leadership {
            term,
            term_start: self.log.last().index.next(),
            peers: BTreeMap::new(),
            epoch: Epoch(0),
            reads: Reads::default(),
            transfer: None,
            held_changes: VecDeque::new(),
            change: None,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            heartbeat_deadline: self.now,
            check_deadline: self.now.plus(self.settings.check_quorum),
        }));
        self.event(Event::BecameLeader { term });
        self.note_early_takeover();
        self.set_leader(Some(self.id().clone()));
        self.follow_configuration();
        self.append_own(Payload::Noop);
        self.heartbeat();
    }

    /// Appends an entry of our own term; it is counted and sent at the end of the turn.
    pub(crate) fn append_own(&mut self, payload: Payload) -> Index {
        let index = self.log.last().index.next();
        let entry = Entry { term: self.hard.term, index, payload };
        if let Some(lead) = self.leading_mut() {
            lead.uncommitted.push_back((index, entry.bytes()));
            lead.uncommitted_bytes += entry.bytes();
        }
        self.append_entry(entry);
        index
    }

    /// Peers are those of the latest configuration, from its append on (S8). New ones start
    /// with a new epoch; those it no longer names are told so for a while.
    pub(crate) fn follow_configuration(&mut self) {
        let Some(latest) = self.configurations.latest() else { return };
        let RoleState::Leader(lead) = &mut self.role else { return };
        let own = &self.identity.server;
        let until = self.now.plus(self.settings.election_timeout * DEPARTING_ELECTION_TIMEOUTS);
        for (_, peer) in lead.peers.iter_mut().filter(|(id, _)| !latest.configuration.contains(id)) {
            peer.departing.get_or_insert(Departing { index: latest.index, until });
        }
        for server in latest.configuration.servers().iter().filter(|server| server.id != *own) {
            if lead.peers.get(&server.id).is_some_and(|peer| peer.departing.is_none()) {
                continue;
            }
            // Added, perhaps again: whatever it answered before belongs to another epoch (O5).
            lead.epoch = Epoch(lead.epoch.0 + 1);
            let progress = Progress::new(lead.epoch, self.log.last().index, self.now, &self.settings);
            lead.peers.insert(server.id.clone(), progress);
        }
    }

    /// A leader's clock.
    pub(crate) fn lead_on(&mut self) {
        let RoleState::Leader(lead) = &mut self.role else { return };
        let now = self.now;
        lead.peers.retain(|_, peer| {
            peer.departing
                .is_none_or(|departing| now < departing.until && peer.commit_known < departing.index)
        });
        let beat = now >= lead.heartbeat_deadline;
        let check = now >= lead.check_deadline;
        if beat {
            self.heartbeat();
        }
        self.expire_transfer();
        self.expire_held_changes();
        self.hand_over_if_level();
        if check {
            self.check_quorum();
        }
    }

    /// Shows every peer that we live; carries the round that reads wait for (S12, K11).
    pub(crate) fn heartbeat(&mut self) {
        let RoleState::Leader(lead) = &mut self.role else { return };
        lead.heartbeat_deadline = self.now.plus(self.settings.heartbeat_interval);
        if let Some(transfer) = &mut lead.transfer {
            // It is asked again: the message may have been lost.
            transfer.is_asked = false;
        }
        let round = lead.reads.round();
        let peers: Vec<(ServerId, Epoch)> =
            lead.peers.iter().map(|(id, peer)| (id.clone(), peer.epoch)).collect();
        for (id, epoch) in peers {
            self.send(id, Body::HeartbeatRequest { epoch, round });
        }
    }

    /// Steps down if a quorum has not been heard from within the window (S11).
    fn check_quorum(&mut self) {
        let (window, now) = (self.settings.check_quorum, self.now);
        let Some(latest) = self.configurations.latest() else { return };
        let RoleState::Leader(lead) = &mut self.role else { return };
        let own = &self.identity.server;
        let age = |id: &ServerId| lead.peers.get(id).map(|peer| now.since(peer.contact));
        let is_heard = |id: &ServerId| id == own || age(id).is_some_and(|age| age <= window);
        if is_quorum(&latest.configuration.majorities(), is_heard) || broken(Mutant::S11) {
            let voters = latest.configuration.voters();
            let oldest = voters.filter_map(|server| age(&server.id)).filter(|age| *age <= window).max();
            let pause =
                window.saturating_sub(oldest.unwrap_or(Duration::ZERO)).max(CHECK_QUORUM_INTERVAL_MIN);
            lead.check_deadline = now.plus(pause);
        } else {
            self.follow(self.hard.term, None, StepDownReason::QuorumLost);
        }
    }

    /// Everybody who waited for this leadership hears how it ended (S17).
    pub(crate) fn dismiss(&mut self, mut lead: Leadership, reason: StepDownReason) {
        let unknown = self.tickets.split_off(&self.commit.next());
        for (index, ticket) in unknown.into_iter().chain(lead.change) {
            self.answer(ticket, Err(Refusal::LeadershipLost { index }));
        }
        let held = lead.held_changes.drain(..).map(|held| held.ticket);
        for ticket in held.chain(lead.reads.drain()).collect::<Vec<_>>() {
            self.answer(ticket, Err(Refusal::NotLeader { leader: None }));
        }
        if let Some(ticket) = lead.transfer.and_then(|transfer| transfer.ticket) {
            // Losing leadership to a higher term is what a transfer is for (S18).
            let is_done = reason == StepDownReason::HigherTerm;
            let result = is_done.then_some(Answer::Transferred);
            self.answer(ticket, result.ok_or(Refusal::NotLeader { leader: None }));
        }
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) {
        self.outbox.push(Output::Answer { ticket, result });
    }

    /// Whether we lead and have committed in our term: before that nothing is changed or read.
    pub(crate) fn is_ready(&self) -> bool {
        self.leading().is_some_and(|lead| self.commit >= lead.term_start)
    }
}
