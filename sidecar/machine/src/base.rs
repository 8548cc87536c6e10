//! The flushed state under the memtable: what the machine asks of `state.redb`, and nothing more.
//!
//! To the store every table is bytes to bytes; what a row means is decided here, so the disk format of
//! the replicated state has one owner and one version.
//!
//! Invariant: a base changes only by a whole [`Flush`](crate::Flush), in one transaction (K4). While a flush is
//! under way or done but not yet reported with [`Machine::flushed`](crate::Machine::flushed), the frozen
//! memtable still answers first, so the machine may read a base from before or after that commit.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

/// The tables of the replicated state. Rows are ordered by key bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Key to value, flags and indexes.
    Keys,
    /// Deleted key or prefix to the index of its deletion.
    Tombstones,
    /// The same tombstones by index, oldest first.
    TombstoneOrder,
    /// Registered clients with the results kept for them (K20).
    Clients,
    /// One row: [`Meta`](crate::Meta), under [`Meta::KEY`](crate::Meta::KEY).
    Meta,
    /// Session to what it is.
    Sessions,
    /// Session and key, for each key acquired under it.
    SessionKeys,
    /// Ended session to what remains of its lock delay.
    LockDelays,
    /// Key that nobody may acquire yet to the ended session it was held by.
    DelayedKeys,
    /// Index to the entry of an application that is its own state machine (K22).
    ApplicationLog,
}

impl Table {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Keys,
        Self::Tombstones,
        Self::TombstoneOrder,
        Self::Clients,
        Self::Meta,
        Self::Sessions,
        Self::SessionKeys,
        Self::LockDelays,
        Self::DelayedKeys,
        Self::ApplicationLog,
    ];

    /// The tables a deleted prefix is taken from: the keys under it, and the tombstones it supersedes.
    pub(crate) const CLEARED: [Self; 2] = [Self::Keys, Self::Tombstones];

    /// The table's name on disk; never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Tombstones => "tombstones",
            Self::TombstoneOrder => "tombstone_order",
            Self::Clients => "clients",
            Self::Meta => "meta",
            Self::Sessions => "sessions",
            Self::SessionKeys => "session_keys",
            Self::LockDelays => "lock_delays",
            Self::DelayedKeys => "delayed_keys",
            Self::ApplicationLog => "application_log",
        }
    }

    pub(crate) fn slot(self) -> usize {
        match self {
            Self::Keys => 0,
            Self::Tombstones => 1,
            Self::TombstoneOrder => 2,
            Self::Clients => 3,
            Self::Meta => 4,
            Self::Sessions => 5,
            Self::SessionKeys => 6,
            Self::LockDelays => 7,
            Self::DelayedKeys => 8,
            Self::ApplicationLog => 9,
        }
    }
}

/// A half-open stretch of keys: from `start` (inclusive) to `end` (exclusive; `None`: to the end of the table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The first key that is not in it.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Everything.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: Bytes::copy_from_slice(prefix), end: prefix_end(prefix) }
    }

    /// As bounds for an ordered map of byte strings.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(&self.start), end)
    }

    /// Whether nothing can be in it. (An ordered map panics when asked for such a range.)
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// The first key after all that start with `prefix`; `None` if there is none (the prefix is empty or all 0xff).
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// What a scan calls for each row, in key order, with key and value; it says whether to go on.
/// Both slices may point into a page: nothing is copied that is not wanted.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Read access to the flushed state.
pub trait Base {
    /// What a failing disk says. It ends the process, so the machine only passes it on.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The row's value.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Self::Error>;

    /// Visit the rows of `range` in key order, within one read transaction, until the visitor breaks.
    /// An empty range visits nothing.
    fn scan(&self, table: Table, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), Self::Error>;
}
