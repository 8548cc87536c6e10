//! What the rest of the process may see of the core without asking it: the latest picture, always there.
//!
//! Leadership changes and configuration changes are published at once; numbers that grow with every write
//! (commit, applied) at most every [`VIEW_EVERY`](crate::limits::VIEW_EVERY).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_autopilot::SnapshotProgress;
use quorate_raft::{Identity, LogId, RaftId, Role, ServerId, Status, Term};
use tokio::sync::watch;

use crate::limits::VIEW_EVERY;

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
    /// Elections it won on evidence that the leader's process was gone, since it started (K12).
    pub early_elections: u64,
    /// The volume's free bytes are below the floor (K8).
    pub is_space_low: bool,
    /// On a leader: the voters that say the same of theirs, if they are a majority, itself counted; else none (K8).
    pub low_majority: Vec<RaftId>,
    /// How far the snapshots have come that this member sends, by receiver; one that nothing was heard of yet is not there.
    pub snapshots: BTreeMap<ServerId, SnapshotProgress>,
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
            early_elections: 0,
            is_space_low: false,
            low_majority: Vec::new(),
            snapshots: BTreeMap::new(),
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
    fn none(term: Term) -> Self {
        Self { number: 0, term, leader: None, is_self: false }
    }
}

/// What the driver has seen beside the core.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) applied: LogId,
    pub(super) durable_applied: LogId,
    pub(super) leader_heard: Option<Instant>,
    pub(super) early_elections: u64,
    pub(super) is_caught_up: bool,
    pub(super) is_volume_lost: bool,
}

/// Where the driver publishes what it sees.
pub(super) struct Outlook {
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) leadership: watch::Sender<Leadership>,
    /// Something changed that must not wait.
    pub(super) view_is_due: bool,
    published: Instant,
}

impl Outlook {
    pub(super) fn new(first: View) -> Self {
        let leadership = watch::Sender::new(Leadership::none(first.status.term));
        Self {
            view: watch::Sender::new(Arc::new(first)),
            leadership,
            view_is_due: true,
            published: Instant::now(),
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.view_is_due || self.published.elapsed() >= VIEW_EVERY
    }

    pub(super) fn publish(&mut self, view: View) {
        self.view_is_due = false;
        self.published = Instant::now();
        self.view.send_replace(Arc::new(view));
    }
}
