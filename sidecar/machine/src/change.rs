//! What entries changed among the keys, for whoever watches them.
//!
//! Said by rows and not by commands: a lock, a session's end and a transaction change keys like a plain write, and what
//! changes nothing is no change. Of a transaction only what it came to is said.

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::command::ApiIndex;
use crate::entry::KvEntry;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The index of the entry that made it; all changes of one entry have the same.
    pub index: ApiIndex,
    pub(crate) what: Changed,
}

/// What became of keys, as a layer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// This key has this row.
    Row(Bytes, Bytes),
    /// This key does not exist.
    Deleted(Bytes),
    /// No key with this prefix exists.
    Cleared(Bytes),
}

/// A change as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// The key is now so.
    Put(KvEntry),
    /// The key was deleted.
    Deleted(Bytes),
    /// Every key with this prefix was.
    PrefixDeleted(Bytes),
}

impl KeyChange {
    /// A deletion.
    pub const fn deleted(index: ApiIndex, key: Bytes) -> Self {
        Self { index, what: Changed::Deleted(key) }
    }

    /// What it says. Its value shares the row's memory.
    pub fn event(&self) -> Result<KeyEvent, DecodeError> {
        Ok(match &self.what {
            Changed::Row(key, row) => KeyEvent::Put(KvEntry::from_row(key.clone(), row)?),
            Changed::Deleted(key) => KeyEvent::Deleted(key.clone()),
            Changed::Cleared(prefix) => KeyEvent::PrefixDeleted(prefix.clone()),
        })
    }

    /// Whether it may be news to who watches this key.
    pub fn touches_key(&self, key: &[u8]) -> bool {
        match &self.what {
            Changed::Row(changed, _) | Changed::Deleted(changed) => changed == key,
            Changed::Cleared(prefix) => key.starts_with(prefix),
        }
    }

    /// Whether it may be news to who watches all keys with this prefix.
    pub fn touches_prefix(&self, prefix: &[u8]) -> bool {
        match &self.what {
            Changed::Row(changed, _) | Changed::Deleted(changed) => changed.starts_with(prefix),
            Changed::Cleared(cleared) => cleared.starts_with(prefix) || prefix.starts_with(cleared),
        }
    }

    /// About the memory that keeping it takes.
    pub fn bytes(&self) -> usize {
        let held = match &self.what {
            Changed::Row(key, row) => key.len() + row.len(),
            Changed::Deleted(key) | Changed::Cleared(key) => key.len(),
        };
        held + size_of::<Self>()
    }
}
