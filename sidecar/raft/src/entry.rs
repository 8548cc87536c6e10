//! What the log holds, and what must survive a restart beside it.

use bytes::Bytes;

use crate::limits::ENTRY_OVERHEAD_BYTES;
use crate::membership::Configuration;
use crate::types::{ClusterId, Index, LogId, ServerId, Term};

/// One entry of the log. Immutable once committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that wrote it.
    pub term: Term,
    /// Its position.
    pub index: Index,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says. New kinds wait for the version gate (K24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A leader's first entry: with it everything before it commits (S6).
    Noop,
    /// For the machine; the core never looks inside.
    Command(Bytes),
    /// The configuration in effect from here on (S8).
    Configuration(Configuration),
    /// Answered once everything before it is applied (S20).
    Barrier,
}

/// What a member promised and must not forget: stored in one record (O4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: Term,
    /// Who got our vote in it, by identity and not by address.
    pub vote: Option<ServerId>,
    /// This directory has been in a configuration once: only then is absence a removal (K19), and
    /// not a newcomer that has not read so far.
    pub was_member: bool,
}

/// A run of consecutive entries of one term; it ends where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// The first entry of the run.
    pub first: Index,
    /// The term of all its entries.
    pub term: Term,
}

/// A configuration and the index of the entry that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedConfiguration {
    /// Where it stands in the log.
    pub index: Index,
    /// What it says.
    pub configuration: Configuration,
}

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry it contains.
    pub last: LogId,
    /// The configuration in effect at that entry (K4).
    pub configuration: IndexedConfiguration,
}

/// What storage holds when the process starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The cluster this directory belongs to; none if it is empty (K2).
    pub cluster_id: Option<ClusterId>,
    /// Term, vote and membership so far.
    pub hard_state: HardState,
    /// The stored commit index (K6); never above `last`.
    pub commit: Index,
    /// The last entry contained in the synced state file (`durable_applied`, K3).
    pub applied: LogId,
    /// The entry just before the first one in the log: compacted, or in a snapshot. Zero at the
    /// beginning.
    pub previous: LogId,
    /// The last entry of the log; `previous` if it is empty.
    pub last: LogId,
    /// The terms of the whole log, ascending; the first run begins right after `previous`.
    pub terms: Vec<TermRun>,
    /// The configuration at or below `applied` (K4), then all in the log above it, ascending.
    pub configurations: Vec<IndexedConfiguration>,
    /// The newest entries, contiguous up to `last`, as many as are cheap to read.
    pub tail: Vec<Entry>,
    /// Size of the log by [`Entry::bytes`]; an estimate will do.
    pub log_bytes: u64,
}

impl Entry {
    /// Its name.
    pub const fn id(&self) -> LogId {
        LogId::new(self.term, self.index)
    }

    /// What it counts in every limit of bytes.
    pub fn bytes(&self) -> u64 {
        let payload = match &self.payload {
            Payload::Noop | Payload::Barrier => 0,
            Payload::Command(command) => command.len() as u64,
            Payload::Configuration(configuration) => configuration.bytes(),
        };
        payload + ENTRY_OVERHEAD_BYTES
    }
}

impl Payload {
    /// The configuration that it brings, if it is one.
    pub const fn configuration(&self) -> Option<&Configuration> {
        match self {
            Self::Configuration(configuration) => Some(configuration),
            Self::Noop | Self::Command(_) | Self::Barrier => None,
        }
    }
}

impl Stored {
    /// An empty directory is one without cluster ID, term, vote or log (K2).
    pub fn is_empty(&self) -> bool {
        self.cluster_id.is_none()
            && self.hard_state == HardState::default()
            && self.last == LogId::default()
            && self.applied == LogId::default()
    }
}
