//! What a round is given. Its sources, in this order of trust: the leader's own replication progress
//! ([`Stats`]), then what servers say of themselves ([`Report`]), then facts from the platform ([`Fact`]); and what the
//! last round remembered ([`crate::Observer`]).
//!
//! What is not known is absent, never guessed: no statistics means "not heard", no fact means "nothing is known",
//! and neither is ever a reason to remove anybody (A15, A16).

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{
    Configuration, Index, LogId, Now, PeerStatus, ReplicationState, ServerId, Status, Term, Version,
};

use crate::report::Report;
use crate::version::VersionInput;

/// Bootstrap writes term 1, so the bootstrapped server's first leadership is in term 2, and no other is (K55).
const FIRST_LEADERSHIP: Term = Term(2);

/// Everything one round needs; nothing else is read.
#[derive(Clone, Debug)]
pub struct Input {
    /// The time of this round.
    pub now: Now,
    /// Who computes it.
    pub own_id: ServerId,
    /// The last entry of the own log.
    pub own_last: LogId,
    /// The group as Raft has it.
    pub membership: Membership,
    /// What is known of each server's progress. The leader's own may be left out.
    pub stats: BTreeMap<ServerId, Stats>,
    /// What the platform says, each the last report about that server.
    pub facts: BTreeMap<ServerId, Fact>,
    /// What servers say of themselves, or were last known to say.
    pub reports: BTreeMap<ServerId, Report>,
    /// What is known of versions.
    pub version: VersionInput,
    /// Whether anything may be done at all; false: the state is computed and nothing else (Vault's
    /// `VAULT_RAFT_AUTOPILOT_DISABLE`).
    pub is_reconciling: bool,
}

impl Input {
    /// What a round of the member with this status is given; none before its first configuration. `outdated` and
    /// `has_operator` are as in [`VersionInput`].
    pub fn of(
        status: &Status,
        now: Now,
        facts: BTreeMap<ServerId, Fact>,
        outdated: Option<bool>,
        has_operator: bool,
    ) -> Option<Self> {
        let latest = status.latest.as_ref()?;
        let membership = Membership {
            term: status.term,
            leader: status.leader.as_ref().map(|leader| leader.id.clone()),
            is_first_leadership: status.term == FIRST_LEADERSHIP,
            configuration: latest.configuration.clone(),
            configuration_index: latest.index,
            is_changing: status.is_changing(),
        };
        let version =
            VersionInput { cluster: status.version, common: common_version(status), outdated, has_operator };
        Some(Self {
            now,
            own_id: status.id.clone(),
            own_last: status.last,
            membership,
            stats: stats(status),
            facts,
            reports: BTreeMap::new(),
            version,
            is_reconciling: true,
        })
    }

    /// The same, with what servers say of themselves.
    #[must_use]
    pub fn with_reports(self, reports: BTreeMap<ServerId, Report>) -> Self {
        Self { reports, ..self }
    }

    /// The same, with how far the snapshots have come that are on their way, by receiver (A18).
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: &BTreeMap<ServerId, SnapshotProgress>) -> Self {
        for (id, progress) in snapshots.iter().filter(|_| !broken(Mutant::A18Bytes)) {
            if let Some(stats) = self.stats.get_mut(id) {
                stats.snapshot = Some(*progress);
            }
        }
        self
    }
}

/// The newest version that everybody speaks; none while a member is not connected.
fn common_version(status: &Status) -> Option<Version> {
    let spoken = status.peers.iter().map(|peer| peer.versions.map(|versions| versions.max));
    spoken.chain([Some(status.versions.max)]).min().flatten()
}

fn stats(status: &Status) -> BTreeMap<ServerId, Stats> {
    let own = Stats { last_contact: Some(Duration::ZERO), last: status.last, snapshot: None };
    let peers = status.peers.iter().map(|peer| (peer.id.clone(), peer_stats(peer)));
    peers.chain([(status.id.clone(), own)]).collect()
}

fn peer_stats(peer: &PeerStatus) -> Stats {
    let snapshot = match peer.replication {
        // How many bytes it has is known to the transfer alone: `with_snapshots`.
        ReplicationState::Snapshot(_) => Some(SnapshotProgress { sent_bytes: 0, total_bytes: 0 }),
        ReplicationState::Probe | ReplicationState::Replicate => None,
    };
    Stats { last_contact: peer.last_ack, last: LogId::new(peer.matched_term, peer.matched), snapshot }
}

/// The group, from one status of the core, so that all of it belongs together.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The present term.
    pub term: Term,
    /// Who leads it, if known.
    pub leader: Option<ServerId>,
    /// Whether that leader is the first one after bootstrap: only then are members that join at the start spared the
    /// stabilization time (A8, K55). True only in the term that the bootstrapped server leads first.
    pub is_first_leadership: bool,
    /// The configuration in effect.
    pub configuration: Configuration,
    /// Its index: what an action expects to find.
    pub configuration_index: Index,
    /// Whether it, or another change, is not committed yet.
    pub is_changing: bool,
}

impl Membership {
    /// Whether `server` leads.
    pub fn is_leader(&self, server: &ServerId) -> bool {
        self.leader.as_ref() == Some(server)
    }
}

/// One server's progress, as the leader's replication knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Age of its last acknowledgement at the leader; `None`: never heard.
    pub last_contact: Option<Duration>,
    /// Its last entry known to be on disk (the match index and that entry's term).
    pub last: LogId,
    /// The snapshot it is being sent, if any.
    pub snapshot: Option<SnapshotProgress>,
}

/// A snapshot on its way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Bytes the server has acknowledged; 0 also before it said anything.
    pub sent_bytes: u64,
    /// Bytes of the whole; 0 while it is being made.
    pub total_bytes: u64,
}

/// What the platform knows of a server (K15: re-sent every round of the operator, and to each new leader).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its Pod.
    pub pod: PodFact,
    /// It is meant to go: scaling in, its claim being deleted, or its replacement was asked for.
    pub has_left: bool,
    /// Its volume claim does not exist any more.
    pub is_claim_gone: bool,
    /// When this was observed, on this process's clock.
    pub observed: Now,
}

/// What is known of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodFact {
    /// It runs and is ready.
    Ready,
    /// It exists and is not ready.
    NotReady,
    /// It does not exist.
    Gone,
    /// The platform could not tell.
    Unknown,
}
