//! What the rest of the process may see of the core without asking it: the latest picture, always there.
//!
//! Leadership changes and configuration changes are published at once; numbers that grow with every write
//! (commit, applied) at most every [`VIEW_EVERY`](crate::limits::VIEW_EVERY).

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_raft::{Identity, LogId, RaftId, Role, Status, Term};

/// One picture of this member.
#[derive(Clone, Debug)]
pub struct View {
    /// Who this is.
    pub identity: Arc<Identity>,
    /// The core's own picture.
    pub status: Arc<Status>,
    /// Up to where the machine has applied the log.
    pub applied: LogId,
    /// Up to where the state file is synced (K3).
    pub durable_applied: LogId,
    /// Caught up once since the process started (K38); never falls back.
    pub is_ready: bool,
    /// When a leader was last known (or this member led); `None`: not since the process started (K6).
    pub leader_heard: Option<Instant>,
    /// The volume's free bytes are below the floor (K8).
    pub is_space_low: bool,
    /// The cluster knows this Raft ID with another volume (K1): nothing is served until it is replaced.
    pub is_volume_lost: bool,
}

impl View {
    pub(super) fn first(identity: Arc<Identity>, status: Status, applied: LogId) -> Self {
        Self {
            identity,
            status: Arc::new(status),
            applied,
            durable_applied: applied,
            is_ready: false,
            leader_heard: None,
            is_space_low: false,
            is_volume_lost: false,
        }
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.status.role == Role::Leader
    }

    /// The age of the last contact with a leader.
    pub fn leader_silence(&self) -> Option<Duration> {
        self.leader_heard.map(|heard| heard.elapsed())
    }
}

/// A change of leadership as this member saw it. Numbered without holes, so that who watches slowly gets
/// the latest and knows how many it missed (B1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Counts changes since the process started.
    pub number: u64,
    /// The term.
    pub term: Term,
    /// Who leads; none while nobody is known to.
    pub leader: Option<RaftId>,
    /// Whether it is this member.
    pub is_self: bool,
}

impl Leadership {
    pub(super) fn none(term: Term) -> Self {
        Self { number: 0, term, leader: None, is_self: false }
    }
}
