//! Snapshots and compaction: what is sent, received and forgotten (S15, S23, S24, K3, K5, K7, N3).
//!
//! The bytes travel outside; here only decisions. A received snapshot
//! ```text
//! at or below the commit index         changes nothing: we hold all of it (N3);
//! whose last entry is in our log       only commits: the tail and its configuration stay (K5);
//! otherwise                            replaces log and configurations, in one write that names it.
//! ```
//! The last case is the only one that installs: a diverging tail goes in one step (O3). In the others the machine may
//! still need it, and the log does not: `restore.rs`.

use quorate_mutants::{Mutant, broken};

use crate::compaction::Need;
use crate::entry::SnapshotMeta;
use crate::limits::NUMBER_MAX;
use crate::output::{Event, InvalidMessage, Output};
use crate::progress::Supply;
use crate::raft::Raft;
use crate::refusal::Refusal;
use crate::status::Membership;
use crate::types::{Epoch, Index, LogId, ServerId, Term};

impl Raft {
    /// A leader's snapshot is here, whole and verified.
    pub(crate) fn snapshot_received(
        &mut self,
        from: &ServerId,
        term: Term,
        epoch: Epoch,
        meta: SnapshotMeta,
    ) {
        let last = meta.last;
        let is_sane = last.index.0 <= NUMBER_MAX
            && term.0 <= NUMBER_MAX
            && last.term <= term
            && meta.configuration.index <= last.index
            && from != self.id();
        if !is_sane {
            self.refuse_message(from.clone(), InvalidMessage::NumberTooBig);
        }
        let version = Some(meta.configuration.configuration.version());
        if !is_sane
            || term < self.hard.term
            || !self.accept_leader(from, term)
            || self.is_beyond_us(from, version)
        {
            // An old leader learns of our term by its heartbeats.
            self.outbox.push(Output::DiscardSnapshot { last });
            return;
        }
        self.contact();
        if last.index <= self.commit && !broken(Mutant::N3) {
            self.adopt_or_discard(last);
        } else if self.log.matches(last) || broken(Mutant::O3) && self.log.last().index >= last.index {
            self.commit_to(last.index);
            self.adopt_or_discard(last);
        } else {
            self.install(meta);
        }
        self.accept(from.clone(), epoch, self.commit);
    }

    /// The snapshot becomes our state; what the log held goes, both configurations are its own (K5).
    fn install(&mut self, meta: SnapshotMeta) {
        let last = meta.last;
        self.log.reset(last);
        self.outbox.mark_log();
        // Entries of ours that were committed but not applied: the snapshot holds their effect,
        // and nobody will say what they answered.
        for (index, ticket) in std::mem::take(&mut self.tickets) {
            self.answer(ticket, Err(Refusal::LeadershipLost { index }));
        }
        self.remember_membership(meta.configuration.configuration.contains(self.id()));
        let index = meta.configuration.index;
        self.configurations.reset(meta.configuration.clone(), last.index);
        self.commit = last.index;
        self.commit_deadline = None;
        self.applier.reset(last.index);
        self.restores.begun(last.index);
        self.durable_applied = last.index;
        self.install = Some(meta);
        self.event(Event::ConfigurationChanged { index });
        self.event(Event::ConfigurationCommitted { index });
        let told = if broken(Mutant::B18) { LogId::new(last.term, index) } else { last };
        self.event(Event::SnapshotInstalled { last: told });
        if self.membership() == Membership::Removed {
            self.event(Event::Removed { index });
        }
    }

    pub(crate) fn snapshot_progress(&mut self, to: &ServerId, epoch: Epoch, last: LogId) {
        let (now, stalled_at) = (self.now, self.stalled_at());
        let Some(peer) = self.peer_in_epoch(to, epoch) else { return };
        if let Supply::Snapshot { last: sending, moved } = &mut peer.supply {
            (*sending, *moved) = (Some(last), now);
        }
        peer.rescue_after = stalled_at;
    }

    pub(crate) fn snapshot_sent(&mut self, to: &ServerId, epoch: Epoch, delivered: Option<LogId>) {
        if let Some(last) = delivered {
            // The receiver answers once it is installed; until then nothing else is sent.
            self.snapshot_progress(to, epoch, last);
            return;
        }
        let (first, now, settings) = (self.log.first(), self.now, self.settings);
        let Some(peer) = self.peer_in_epoch(to, epoch) else { return };
        if matches!(peer.supply, Supply::Snapshot { .. }) {
            peer.probe_after_snapshot(first, now, &settings);
        }
        peer.rescue_after = now.plus(settings.election_timeout);
    }

    /// A flush is synced: the log may forget what it holds (K3).
    pub(crate) fn flushed(&mut self, applied: LogId) {
        // Of a file that an install has replaced since, or never ours.
        if applied.index <= self.durable_applied
            || applied.index > self.applier.index()
            || !self.log.matches(applied)
        {
            return;
        }
        self.durable_applied = applied.index;
        if self.is_compacting || self.install.is_some() || self.installing.is_some() {
            return;
        }
        let need = Need { durable_applied: self.durable_applied, slowest: self.slowest_needed() };
        if let Some(upto) = self.log.compactable(&self.settings, need) {
            self.log.compact(upto);
            self.is_compacting = true;
            self.outbox.push(Output::Compact { upto });
        }
    }

    /// The last entry that every live peer has, or will have by the snapshot it is being sent (K7).
    fn slowest_needed(&self) -> Option<Index> {
        let lead = self.leading().filter(|_| !broken(Mutant::K7))?;
        let (window, now) = (self.settings.election_timeout, self.now);
        lead.peers
            .values()
            .filter(|peer| peer.departing.is_none() && peer.answered_within(window, now))
            .map(|peer| match &peer.supply {
                Supply::Snapshot { last: Some(last), .. } => last.index,
                Supply::Snapshot { last: None, .. } => self.durable_applied,
                Supply::Probe { .. } | Supply::Replicate(_) => peer.matched,
            })
            .min()
    }
}
