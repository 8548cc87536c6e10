//! Restores, as far as the core has to do with them (K17): who carries them, and who lacks an archive.
//!
//! To the core a restore is a command as any other; its driver says when the machine has come to one, and when nobody
//! gives the archive it needs. A member *carries* a restore whose archive it has, or that is in its state.
//! ```text
//! proposed                 a quorum has the archive, and the voters stay as they are until it is committed
//! change of voters         a quorum of the new ones has it in its state
//! so, at any time          a quorum carries it, and of any voters that a loss leaves a majority of, one does
//! who lacks the archive    gets it from one that has it, or a snapshot from a leader whose state has the restore
//! a leader that lacks it   hands over to a voter whose state has it
//! ```
//! The snapshot becomes the machine's state and nothing else: what the machine applied ends before the restore, which is
//! at or before the snapshot's last entry, and that entry is in the log. So the state only goes forward, along this very
//! log, and no entry, term, vote or configuration is touched (N3, K5).

use quorate_mutants::{Mutant, broken};

use crate::limits::SNAPSHOT_STALL_ELECTION_TIMEOUTS;
use crate::membership::Configuration;
use crate::output::Output;
use crate::progress::Supply;
use crate::quorum::majority;
use crate::raft::{Raft, RoleState};
use crate::refusal::Refusal;
use crate::types::{Epoch, Index, LogId, Now, ServerId};

/// What is known of restores here.
pub(crate) struct Restores {
    /// No restore that the machine has come to is behind a state at this entry.
    last: Index,
    /// The one whose archive nobody gives, or gave.
    missing: Index,
    /// The last entry of a snapshot that the machine may move to.
    adoptable: Index,
}

impl Restores {
    /// Those up to `applied` are in the state.
    pub(crate) const fn new(applied: Index) -> Self {
        Self { last: applied, missing: Index(0), adoptable: Index(0) }
    }

    /// The machine has come to the restore at `at`, or is on a state that may have one there.
    pub(crate) fn begun(&mut self, at: Index) {
        self.last = self.last.max(at);
    }

    pub(crate) fn missing(&mut self, at: Index) {
        self.missing = self.missing.max(at);
    }
}

impl Raft {
    /// The restore that the machine waits at because its archive is not to be had; 0 if there is none.
    pub(crate) fn lacked(&self) -> Index {
        if self.restores.missing > self.applier.index() { self.restores.missing } else { Index(0) }
    }

    /// The machine has applied up to `upto`, or moved there by a snapshot.
    pub(crate) fn machine_applied(&mut self, upto: Index) {
        if upto <= self.restores.adoptable {
            self.applier.jump(upto);
            self.restores.begun(upto);
            // It holds their effect, and nobody will say what they answered.
            let above = self.tickets.split_off(&upto.next());
            for (index, ticket) in std::mem::replace(&mut self.tickets, above) {
                self.answer(ticket, Err(Refusal::LeadershipLost { index }));
            }
        }
        self.applier.applied(upto);
    }

    /// A snapshot whose last entry is in the log, or was: the machine needs it only past a restore that it cannot make.
    pub(crate) fn adopt_or_discard(&mut self, last: LogId) {
        let lacked = self.lacked();
        let helps = lacked > Index(0) && last.index >= lacked && self.log.matches(last);
        if helps && !broken(Mutant::K17Adopt) {
            self.restores.adoptable = self.restores.adoptable.max(last.index);
            self.outbox.push(Output::AdoptSnapshot { last });
        } else {
            self.outbox.push(Output::DiscardSnapshot { last });
        }
    }

    /// A peer said how far its machine is, and what it lacks.
    pub(crate) fn restores_reported(&mut self, id: &ServerId, epoch: Epoch, applied: Index, lacks: Index) {
        let (now, term, previous) = (self.now, self.hard.term, self.log.previous());
        let (to, stalled_at) = (id.clone(), self.stalled_at());
        let has_it = lacks > Index(0) && self.durable_applied >= lacks;
        let at_least = self.log.term_at(lacks).map_or(previous, |term| LogId::new(term, lacks));
        let Some(peer) = self.peer_in_epoch(id, epoch) else { return };
        peer.applied = peer.applied.max(applied);
        let is_supplied = !matches!(peer.supply, Supply::Snapshot { .. }) && peer.departing.is_none();
        if has_it && is_supplied && now >= peer.rescue_after {
            peer.rescue_after = stalled_at;
            self.outbox.push(Output::SendSnapshot { to, term, epoch, at_least });
        }
    }

    /// When a snapshot that moves now counts as stalled.
    pub(crate) fn stalled_at(&self) -> Now {
        self.now.plus(self.settings.election_timeout * SNAPSHOT_STALL_ELECTION_TIMEOUTS)
    }

    /// Whether a quorum of the new voters has every restore in its state that this leader's machine has come to.
    pub(crate) fn check_carried(&self, next: &Configuration) -> Result<(), Refusal> {
        let (Some(latest), RoleState::Leader(lead)) = (self.configurations.latest(), &self.role) else {
            return Err(self.not_leader());
        };
        // The old half, if there is one, carries it: that is what this check was for when it came about.
        let (before, mut after) = (latest.configuration.majorities(), next.majorities());
        let Some(voters) = after.pop().filter(|voters| !before.contains(voters)) else { return Ok(()) };
        let last = self.restores.last;
        let applied = |id: &ServerId| {
            let own = (id == self.id()).then(|| self.applier.index());
            own.or_else(|| lead.peers.get(id).map(|peer| peer.applied))
        };
        let carries = |id: &&&ServerId| applied(id).is_some_and(|applied| applied >= last);
        let (having, needed) = (voters.iter().filter(carries).count(), majority(voters.len()));
        if having >= needed || broken(Mutant::K17Carried) {
            return Ok(());
        }
        Err(Refusal::NotRestored { index: last, voters: voters.len(), having, needed })
    }
}
