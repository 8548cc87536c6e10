//! What the cluster says of a key.

use bytes::Bytes;
use quorate_api::v1;

/// The place of a key's last change in the log. Compare-and-set goes by it; it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModifyIndex(pub u64);

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The application's own mark.
    pub flags: u64,
    /// When it came into being, as a place in the log.
    pub create_index: u64,
    /// When it was last changed.
    pub modify_index: ModifyIndex,
    /// The session that holds it, by ID.
    pub session: Option<String>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// It sees every write acknowledged before it began, through any member.
    #[default]
    Linearizable,
    /// Whatever the sidecar asked has applied; works without a leader.
    Stale,
}

/// An answer and how fresh it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// The index of what was asked for: a key's modify index, a prefix's last change.
    pub index: u64,
    /// Whether the sidecar knows a leader.
    pub leader_known: bool,
    /// Whether the answer was given without asking the leader.
    pub is_stale: bool,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries in byte order of their keys.
    pub entries: Vec<Entry>,
    /// Whether there is more: list again after the last key.
    pub has_more: bool,
}

/// What a compare-and-set came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// Written; this is its modify index now.
    Written(ModifyIndex),
    /// The key is at another index (`None`: it does not exist); nothing changed.
    Mismatch(Option<ModifyIndex>),
}

/// What a conditional delete came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The key is gone; it may have been missing already.
    Deleted {
        /// Whether there was anything to delete.
        existed: bool,
    },
    /// The key is at another index and stays.
    Mismatch(ModifyIndex),
}

impl Entry {
    pub(crate) fn from_wire(entry: v1::Entry) -> Self {
        Self {
            key: entry.key,
            value: entry.value,
            flags: entry.flags,
            create_index: entry.create_index,
            modify_index: ModifyIndex(entry.modify_index),
            session: Some(entry.session).filter(|session| !session.is_empty()),
        }
    }
}

impl Consistency {
    pub(crate) fn to_wire(self) -> i32 {
        let wire = match self {
            Self::Linearizable => v1::Consistency::Linearizable,
            Self::Stale => v1::Consistency::Stale,
        };
        wire.into()
    }
}

impl<T> Read<T> {
    pub(crate) fn new(value: T, mark: Option<v1::ReadMark>) -> Self {
        // A sidecar always sends the mark; without one nothing is known of the answer's freshness.
        let mark = mark.unwrap_or(v1::ReadMark { is_stale: true, ..v1::ReadMark::default() });
        Self { value, index: mark.index, leader_known: mark.leader_known, is_stale: mark.is_stale }
    }
}
