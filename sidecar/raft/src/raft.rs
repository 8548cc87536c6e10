//! `Raft`: the one state machine that joins the parts.
//!
//! `step` takes what happened, changes the state, and at the end of the turn writes, sends and
//! applies once for all of it (`turn.rs`). The parts live beside: `receive.rs` (the door),
//! `election.rs` and `early.rs` (who leads), `leader.rs` and `replication.rs` (leading, supplying peers),
//! `follower.rs` (taking entries), `commit.rs`, `apply.rs`, `propose.rs`, `change.rs` (membership),
//! `replace.rs`, `transfer.rs`, `read.rs`, `snapshot.rs`, `restore.rs`.
//!
//! Invariants: committed <= last; applied <= handed out <= committed; `previous` <= `durable_applied`;
//! term never falls; a vote never changes within its term. Only `set_term` and `vote_for` write
//! term and vote.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_mutants::{Mutant, broken};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use thiserror::Error;

use crate::apply::Applier;
use crate::configurations::Configurations;
use crate::early::Early;
use crate::entry::{HardState, IndexedConfiguration, Payload, SnapshotMeta, Stored};
use crate::input::Input;
use crate::leader::Leadership;
use crate::limits::HANDED_OVER_ELECTION_TIMEOUTS;
use crate::log::Log;
use crate::outbox::Outbox;
use crate::output::{Event, Output};
use crate::restore::Restores;
use crate::settings::{InvalidSettings, Settings};
use crate::types::{
    ClusterId, Identity, Index, LogId, Now, Sequence, ServerId, Term, Ticket, Version, Versions,
};

/// One member of a Raft group: pure, without clock, disk or network.
pub struct Raft {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) rng: SmallRng,
    pub(crate) now: Now,
    /// The cluster on disk; none as long as the directory is empty (K2).
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) hard: HardState,
    pub(crate) role: RoleState,
    pub(crate) leader: Option<ServerId>,
    pub(crate) last_contact: Option<Now>,
    pub(crate) election_deadline: Now,
    pub(crate) is_handed_over: bool,
    /// Set while the leader's process is known to be gone and nobody leads since (K12).
    pub(crate) early: Option<Early>,
    pub(crate) log: Log,
    pub(crate) configurations: Configurations,
    pub(crate) commit: Index,
    /// When a commit index that was learned without a write must be stored (K6).
    pub(crate) commit_deadline: Option<Now>,
    pub(crate) applier: Applier,
    pub(crate) durable_applied: Index,
    pub(crate) is_compacting: bool,
    /// A snapshot to be named in the next write, and the write that names it.
    pub(crate) install: Option<SnapshotMeta>,
    pub(crate) installing: Option<Sequence>,
    pub(crate) restores: Restores,
    /// What peers' present connections say they speak (K24).
    pub(crate) versions: BTreeMap<ServerId, Versions>,
    /// Callers waiting for the entry at an index.
    pub(crate) tickets: BTreeMap<Index, Ticket>,
    pub(crate) outbox: Outbox,
}

/// What a member does, with what it needs for that.
pub(crate) enum RoleState {
    Follower,
    PreCandidate { votes: BTreeMap<ServerId, bool> },
    Candidate { votes: BTreeMap<ServerId, bool>, own_vote_at: Sequence },
    Leader(Box<Leadership>),
}

/// Why a member cannot start from what storage holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings contradict each other.
    #[error("invalid settings: {0}")]
    Settings(#[from] InvalidSettings),
    /// The directory belongs to another cluster.
    #[error(
        "this directory belongs to cluster {found}, but this member was started for {expected}: mount the right volume"
    )]
    WrongCluster {
        /// On disk.
        found: ClusterId,
        /// Started for.
        expected: ClusterId,
    },
    /// The log begins after what the state file holds: entries between are lost (K3).
    #[error(
        "the log begins after entry {previous} but the state file ends at {applied}: entries are missing, the directory is damaged; let the member be replaced"
    )]
    Gap {
        /// The entry before the first one.
        previous: LogId,
        /// The last one in the state file.
        applied: LogId,
    },
    /// The cluster writes what this build does not read (K24).
    #[error(
        "this cluster is at version {cluster}, this build reads versions {ours}: start a release that reads {cluster}; nothing is known to be lost"
    )]
    Version {
        /// What the directory says.
        cluster: Version,
        /// What this build speaks.
        ours: Versions,
    },
    /// The parts contradict each other.
    #[error(
        "the stored {part} contradicts the rest of the log: the directory is damaged; let the member be replaced"
    )]
    Inconsistent {
        /// Which part.
        part: &'static str,
    },
}

impl Raft {
    /// Starts a member from what storage holds. `seed` drives its timers' randomness.
    pub fn new(
        identity: Identity,
        settings: Settings,
        mut stored: Stored,
        seed: u64,
        now: Now,
    ) -> Result<Self, StartError> {
        settings.validate()?;
        check(&identity, &stored)?;
        let inconsistent = |part| StartError::Inconsistent { part };
        let commit = stored.commit.max(stored.applied.index);
        let log = Log::new(&mut stored, &settings).ok_or(inconsistent("tail or terms"))?;
        if !log.matches(stored.applied) {
            return Err(inconsistent("applied entry"));
        }
        let configurations = Configurations::new(stored.configurations, commit, stored.last.index)
            .ok_or(inconsistent("configurations"))?;
        let mut raft = Self {
            identity,
            settings,
            rng: SmallRng::seed_from_u64(seed),
            now,
            cluster_id: stored.cluster_id,
            hard: stored.hard_state,
            role: RoleState::Follower,
            leader: None,
            last_contact: None,
            election_deadline: now,
            is_handed_over: false,
            early: None,
            log,
            configurations,
            commit,
            commit_deadline: None,
            applier: Applier::new(stored.applied.index),
            durable_applied: stored.applied.index,
            is_compacting: false,
            install: None,
            installing: None,
            restores: Restores::new(stored.applied.index),
            versions: BTreeMap::new(),
            tickets: BTreeMap::new(),
            outbox: Outbox::default(),
        };
        raft.rest_election_timer();
        Ok(raft)
    }

    /// Takes one thing that happened; what is to be done is added to `out`.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.step_batch(now, std::iter::once(input), out);
    }

    /// Takes many at once and writes, sends and applies once for all: what a busy driver uses.
    pub fn step_batch(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>, out: &mut Vec<Output>) {
        // A clock that steps back would shorten nothing and lengthen waits: hold it.
        self.now = self.now.max(now);
        for input in inputs {
            self.take(input);
        }
        self.end_turn(out);
    }

    /// When the next `Tick` is due; it moves with every step.
    pub fn next_deadline(&self) -> Now {
        let role = self.leading().map_or(self.election_deadline, Leadership::next_deadline);
        self.commit_deadline.map_or(role, |deadline| deadline.min(role))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Receive(message) => self.receive(message),
            Input::PeerUnreachable(id) => self.peer_unreachable(&id),
            Input::PeerVersions { id, versions } => self.peer_versions(id, versions),
            Input::ProcessGone(id) => self.process_gone(&id),
            Input::Propose { ticket, command } => self.propose_command(ticket, command),
            Input::Barrier { ticket } => self.propose(ticket, Payload::Barrier),
            Input::ChangeMembership { ticket, expected, change } => {
                self.change_membership(ticket, expected, change);
            }
            Input::ReadIndex { ticket } => self.read_index(ticket),
            Input::TransferLeadership { ticket, target } => self.transfer_leadership(ticket, target.as_ref()),
            Input::Bootstrap { ticket, cluster_id, server, address, mode } => {
                self.bootstrap(ticket, cluster_id, &server, address, mode);
            }
            Input::HandOver => self.hand_over(),
            Input::Persisted { sequence } => self.persisted(sequence),
            Input::Applied { upto } => self.machine_applied(upto),
            Input::Restoring { at } => self.restores.begun(at),
            Input::ArchiveMissing { at } => self.restores.missing(at),
            Input::LogRead { reader, entries } => self.log_read(&reader, entries),
            Input::SnapshotReceived { from, term, epoch, meta } => {
                self.snapshot_received(&from, term, epoch, meta);
            }
            Input::SnapshotProgress { to, epoch, last } => self.snapshot_progress(&to, epoch, last),
            Input::SnapshotSent { to, epoch, delivered } => self.snapshot_sent(&to, epoch, delivered),
            Input::DurableApplied { applied } => self.flushed(applied),
            Input::Compacted { .. } => self.is_compacting = false,
        }
    }

    fn tick(&mut self) {
        if self.leading().is_some() {
            self.lead_on();
        } else if self.now >= self.election_deadline {
            self.election_timeout();
        }
    }

    fn persisted(&mut self, sequence: Sequence) {
        self.outbox.confirm(sequence);
        self.log.confirm(sequence);
        if self.installing.is_some_and(|installing| self.outbox.is_persisted(installing)) {
            self.installing = None;
        }
        self.count_own_vote();
    }

    /// Who we are.
    pub(crate) const fn id(&self) -> &ServerId {
        &self.identity.server
    }

    /// What we hold as leader; none if another one leads, or nobody.
    pub(crate) fn leading(&self) -> Option<&Leadership> {
        if let RoleState::Leader(lead) = &self.role { Some(lead) } else { None }
    }

    /// The same, to be changed.
    pub(crate) fn leading_mut(&mut self) -> Option<&mut Leadership> {
        if let RoleState::Leader(lead) = &mut self.role { Some(lead) } else { None }
    }

    /// Enters a higher term, without a vote in it and without a leader: whoever led the last one, the
    /// same one too, must be heard again (S5). It is on disk before anything shows it.
    pub(crate) fn set_term(&mut self, term: Term) {
        assert!(term > self.hard.term, "terms only rise");
        self.hard.term = term;
        self.hard.vote = None;
        self.outbox.mark_hard();
        if !broken(Mutant::B1) {
            self.set_leader(None);
        }
    }

    /// Votes in the current term. It is on disk before anybody, ourselves too, counts it (O4).
    pub(crate) fn vote_for(&mut self, id: ServerId) {
        let is_first = self.hard.vote.is_none() || broken(Mutant::S4Once);
        assert!(is_first || self.hard.vote.as_ref() == Some(&id), "one vote in a term");
        if is_first {
            self.hard.vote = Some(id);
            if !broken(Mutant::O4) {
                self.outbox.mark_hard();
            }
        }
    }

    pub(crate) fn set_leader(&mut self, leader: Option<ServerId>) {
        if leader.is_some() {
            self.early = None;
        }
        if self.leader != leader {
            self.leader.clone_from(&leader);
            self.event(Event::LeaderChanged { term: self.hard.term, leader });
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outbox.push(Output::Event(event));
    }

    /// Draws the next election deadline: one to two timeouts from now, later once handed over (K43).
    pub(crate) fn rest_election_timer(&mut self) {
        let timeout = self.settings.election_timeout;
        let extra =
            if self.is_handed_over { timeout * (HANDED_OVER_ELECTION_TIMEOUTS - 1) } else { Duration::ZERO };
        let drawn = self.draw(timeout);
        self.election_deadline = self.now.plus(timeout + extra + drawn);
    }

    /// A random duration below `limit`.
    pub(crate) fn draw(&mut self, limit: Duration) -> Duration {
        let nanoseconds = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.rng.random_range(0..nanoseconds))
    }
}

/// What can be said without building anything.
fn check(identity: &Identity, stored: &Stored) -> Result<(), StartError> {
    let inconsistent = |part| Err(StartError::Inconsistent { part });
    if let Some(found) = stored.cluster_id.filter(|found| *found != identity.cluster_id) {
        return Err(StartError::WrongCluster { found, expected: identity.cluster_id });
    }
    if stored.applied.index < stored.previous.index {
        return Err(StartError::Gap { previous: stored.previous, applied: stored.applied });
    }
    if stored.last.index < stored.previous.index || stored.applied.index > stored.last.index {
        return inconsistent("last entry");
    }
    let is_later =
        |known: &IndexedConfiguration| known.configuration.recovery_epoch() > identity.recovery_epoch;
    if stored.configurations.iter().any(is_later) {
        return inconsistent("recovery epoch");
    }
    let latest = stored.configurations.last().map(|latest| latest.configuration.version());
    if let Some(cluster) = latest.filter(|cluster| !identity.versions.contains(*cluster)) {
        return Err(StartError::Version { cluster, ours: identity.versions });
    }
    if stored.commit > stored.last.index {
        return inconsistent("commit index");
    }
    if stored.hard_state.term < stored.last.term {
        return inconsistent("term");
    }
    Ok(())
}
