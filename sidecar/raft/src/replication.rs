//! Supplying peers: pipelines, probes, and what their answers mean (S12-S16, K25).
//!
//! The leader's own disk works in parallel: entries leave in the turn that appends them, and the
//! leader's own match moves only when storage confirms (`commit.rs`).
//! A conflict costs one round trip per diverging term, not per entry. The follower answers with
//! the greatest entry that may match, and the leader looks the same way in its own log:
//!
//! ```text
//! leader    1 1 1 2 2 5 5 5 5   sends previous = 5/8
//! follower  1 1 1 2 2 2 2 4 4   no match; hint: greatest below 8 with term <= 5: 2/7
//! leader                        greatest at or below 7 with term <= 2: 2/5, so next = 6: a match
//! ```

use quorate_mutants::{Mutant, broken};

use crate::apply::LOG_READ_BYTES_MAX;
use crate::entry::Entry;
use crate::input::LogReader;
use crate::limits::APPEND_BYTES_MAX;
use crate::log::Read;
use crate::message::{AppendOutcome, Body};
use crate::output::{InvalidMessage, Output};
use crate::progress::{Progress, Supply};
use crate::raft::Raft;
use crate::types::{Epoch, Index, LogId, Round, ServerId};

impl Raft {
    /// Sends every peer what it may be sent now.
    pub(crate) fn supply_peers(&mut self) {
        let Some(lead) = self.leading() else { return };
        let ids: Vec<ServerId> = lead.peers.keys().cloned().collect();
        for id in ids {
            while self.supply(&id) {}
        }
    }

    /// Sends one append; says whether another may follow.
    fn supply(&mut self, id: &ServerId) -> bool {
        let (last, commit) = (self.log.last().index, self.commit);
        let Some(peer) = self.peer_mut(id) else { return false };
        if !peer.may_send() || peer.is_reading {
            return false;
        }
        let (next, is_replicating) = (peer.next, peer.is_replicating());
        let is_told = peer.commit_told >= commit;
        if next > last {
            // Nothing new. A probe still asks; a pipeline only tells what was committed (S12).
            if is_replicating && is_told {
                return false;
            }
            return self.send_append(id, Vec::new());
        }
        match self.log.read(next, last, APPEND_BYTES_MAX) {
            _ if self.log.term_at(next.previous()).is_none() => self.begin_snapshot(id),
            _ if broken(Mutant::O6) && next == self.log.first() && next > Index(1) => self.begin_snapshot(id),
            Read::Compacted => self.begin_snapshot(id),
            Read::Entries(entries) => return self.send_append(id, entries),
            Read::OnDisk => {
                let Some(peer) = self.peer_mut(id) else { return false };
                peer.is_reading = true;
                let reader = LogReader::Peer { id: id.clone(), epoch: peer.epoch };
                let bytes_max = LOG_READ_BYTES_MAX;
                self.outbox.push(Output::ReadLog { reader, from: next, upto: last, bytes_max });
            }
        }
        false
    }

    /// Sends `entries`, which begin at the peer's next index; says whether another may follow.
    fn send_append(&mut self, id: &ServerId, entries: Vec<Entry>) -> bool {
        let (now, commit) = (self.now, self.commit);
        let Some(next) = self.peer_mut(id).map(|peer| peer.next) else { return false };
        let Some(term) = self.log.term_at(next.previous()) else {
            self.begin_snapshot(id);
            return false;
        };
        let previous = LogId::new(term, next.previous());
        let last = entries.last().map_or(previous.index, |entry| entry.index);
        let bytes = entries.iter().map(Entry::bytes).sum();
        let Some(peer) = self.peer_mut(id) else { return false };
        peer.sent(last, bytes, commit, now);
        let (epoch, more) = (peer.epoch, peer.is_replicating());
        self.send(id.clone(), Body::AppendRequest { epoch, previous, entries, commit });
        more
    }

    /// Entries for a peer came from the disk: sent if they still fit.
    pub(crate) fn log_read_for_peer(&mut self, id: &ServerId, epoch: Epoch, entries: Vec<Entry>) {
        let Some(peer) = self.peer_in_epoch(id, epoch) else { return };
        peer.is_reading = false;
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            // What was read may have been compacted, answered or replaced meanwhile.
            let Some(next) = self.peer_mut(id).filter(|peer| peer.may_send()).map(|peer| peer.next) else {
                return;
            };
            if entry.index.0 != next.0 + chunk.len() as u64 || !self.log.matches(entry.id()) {
                break;
            }
            if bytes + entry.bytes() > APPEND_BYTES_MAX && !chunk.is_empty() {
                bytes = 0;
                let full = std::mem::take(&mut chunk);
                if !self.send_append(id, full) {
                    return;
                }
            }
            bytes += entry.bytes();
            chunk.push(entry);
        }
        if !chunk.is_empty() && self.peer_mut(id).is_some_and(|peer| peer.may_send()) {
            self.send_append(id, chunk);
        }
    }

    /// The log does not reach back to what the peer needs (S15).
    fn begin_snapshot(&mut self, id: &ServerId) {
        let (now, at_least, term) = (self.now, self.log.previous(), self.hard.term);
        let Some(peer) = self.peer_mut(id) else { return };
        if peer.departing.is_some() {
            // It is leaving: no snapshot only to tell it so.
            return;
        }
        peer.supply = Supply::Snapshot { last: None, moved: now };
        let epoch = peer.epoch;
        self.outbox.push(Output::SendSnapshot { to: id.clone(), term, epoch, at_least });
    }

    pub(crate) fn append_response(&mut self, from: &ServerId, epoch: Epoch, outcome: AppendOutcome) {
        let (now, last, first) = (self.now, self.log.last().index, self.log.first());
        let settings = self.settings;
        // Where our log may match what the peer holds.
        let candidate = |hint: LogId| {
            let knows_nothing_there = hint.index < self.log.previous().index;
            if knows_nothing_there { hint.index } else { self.log.at_or_below(hint.index, hint.term).index }
        };
        let candidate = match outcome {
            AppendOutcome::Rejected { hint, .. } => candidate(hint),
            AppendOutcome::Accepted { .. } => Index(0),
        };
        let Some(peer) = self.peer_in_epoch(from, epoch) else { return };
        match outcome {
            AppendOutcome::Accepted { matched } if matched > last => {
                self.refuse_message(from.clone(), InvalidMessage::AcknowledgesTooMuch);
            }
            AppendOutcome::Accepted { matched } => {
                peer.heard(now);
                peer.accepted(matched, first);
            }
            AppendOutcome::Rejected { previous, .. } => {
                peer.heard(now);
                peer.rejected(previous, candidate, &settings);
            }
        }
    }

    pub(crate) fn heartbeat_response(&mut self, from: &ServerId, epoch: Epoch, round: Round, commit: Index) {
        let (now, settings, own_commit) = (self.now, self.settings, self.commit);
        let first = self.log.first();
        let newest = self.leading().map_or(Round(0), |lead| lead.reads.round());
        let Some(peer) = self.peer_in_epoch(from, epoch) else { return };
        if round > newest {
            self.refuse_message(from.clone(), InvalidMessage::AcknowledgesTooMuch);
            return;
        }
        if peer.is_replicating() && peer.was_silent(now, &settings) {
            // What was sent meanwhile is lost more likely than late.
            peer.probe(&settings);
        }
        peer.heard(now);
        peer.round = peer.round.max(round);
        peer.commit_known = peer.commit_known.max(commit);
        if commit < own_commit.min(peer.matched) {
            // It was told and did not hear.
            peer.commit_told = peer.commit_told.min(commit);
        }
        peer.resume(first, now, &settings);
    }

    pub(crate) fn peer_unreachable(&mut self, id: &ServerId) {
        let settings = self.settings;
        if let Some(peer) = self.peer_mut(id).filter(|peer| peer.is_replicating()) {
            peer.probe(&settings);
        }
    }

    pub(crate) fn peer_mut(&mut self, id: &ServerId) -> Option<&mut Progress> {
        self.leading_mut()?.peers.get_mut(id)
    }

    /// The peer, if it answers under the replication it is in now (O5).
    pub(crate) fn peer_in_epoch(&mut self, id: &ServerId, epoch: Epoch) -> Option<&mut Progress> {
        self.peer_mut(id).filter(|peer| peer.epoch == epoch || broken(Mutant::O5))
    }
}
