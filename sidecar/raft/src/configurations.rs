//! The configurations that may be in effect: the newest committed one and all above it (S8, S9).
//!
//! Invariant: ascending by index; at most the first one is at or below the commit index.

use crate::entry::IndexedConfiguration;
use crate::types::Index;

#[derive(Clone, Debug, Default)]
pub(crate) struct Configurations {
    known: Vec<IndexedConfiguration>,
    commit: Index,
}

impl Configurations {
    /// Takes what storage kept; none if it is out of order or beyond the log.
    pub(crate) fn new(known: Vec<IndexedConfiguration>, commit: Index, last: Index) -> Option<Self> {
        let ascend = known.windows(2).all(|pair| pair[0].index < pair[1].index);
        let inside = known.last().is_none_or(|newest| newest.index <= last);
        let mut configurations = Self { known, commit };
        configurations.commit(commit);
        (ascend && inside).then_some(configurations)
    }

    /// The one in effect.
    pub(crate) fn latest(&self) -> Option<&IndexedConfiguration> {
        self.known.last()
    }

    /// The newest committed one.
    pub(crate) fn committed(&self) -> Option<&IndexedConfiguration> {
        self.known.first().filter(|oldest| oldest.index <= self.commit)
    }

    /// Whether the one in effect is committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.latest().is_none_or(|latest| latest.index <= self.commit)
    }

    pub(crate) fn append(&mut self, next: IndexedConfiguration) {
        assert!(self.latest().is_none_or(|latest| latest.index < next.index), "configurations ascend");
        self.known.push(next);
    }

    /// Drops those at or above `index`; says whether the one in effect changed (S9).
    pub(crate) fn truncate_from(&mut self, index: Index) -> bool {
        let before = self.known.len();
        self.known.retain(|each| each.index < index);
        self.known.len() < before
    }

    /// Only the snapshot's remains (K5).
    pub(crate) fn reset(&mut self, only: IndexedConfiguration, commit: Index) {
        self.known = vec![only];
        self.commit = commit;
    }

    /// Moves the commit index; says whether another configuration is committed now.
    pub(crate) fn commit(&mut self, commit: Index) -> bool {
        let before = self.committed().map(|committed| committed.index);
        self.commit = commit;
        let committed = self.known.partition_point(|each| each.index <= commit);
        self.known.drain(..committed.saturating_sub(1));
        self.committed().map(|committed| committed.index) != before
    }
}
