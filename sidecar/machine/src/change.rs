//! What entries changed among the keys, for whoever watches them.
//!
//! Said by rows and not by commands: a lock, a session's end and a transaction change keys like a plain write, and what
//! changes nothing is no change. Of a transaction only what it came to is said.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::DecodeError;
use crate::command::ApiIndex;
use crate::entry::KvEntry;
use crate::limits::{CHANGE_COPIED_BYTES_MAX, CHANGES_BLOCK_BYTES};

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

/// What a layer was told of keys since this was last taken.
///
/// Keys and rows are copied into blocks, side by side. Shared with the memtable each would have to be freed by itself, long
/// after the last time it was in any cache: with small values that took longer than applying.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    list: Vec<Changed>,
    /// Room for the next ones.
    block: BytesMut,
}

impl Changes {
    /// A key has this row now, or none.
    pub(crate) fn set(&mut self, key: &Bytes, row: Option<&Bytes>) {
        let key = self.copy(key);
        let changed = match row {
            Some(row) => Changed::Row(key, self.copy(row)),
            None => Changed::Deleted(key),
        };
        self.list.push(changed);
    }

    /// No key has this prefix now.
    pub(crate) fn clear(&mut self, prefix: &Bytes) {
        let prefix = self.copy(prefix);
        self.list.push(Changed::Cleared(prefix));
    }

    pub(crate) fn take(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.list)
    }

    /// A copy, if that is cheap.
    fn copy(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.len() > CHANGE_COPIED_BYTES_MAX {
            return bytes.clone();
        }
        if self.block.capacity() < bytes.len() {
            self.block = BytesMut::with_capacity(CHANGES_BLOCK_BYTES);
        }
        self.block.put_slice(bytes);
        self.block.split().freeze()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept for watchers keeps nothing of the memtable in memory, unless that is worth it.
    #[test]
    fn small_rows_are_copied_side_by_side_and_large_ones_shared() {
        let mut changes = Changes::default();
        let (key, row) = (Bytes::from(vec![b'k'; 10]), Bytes::from(vec![b'r'; 100]));
        let large = Bytes::from(vec![b'l'; CHANGE_COPIED_BYTES_MAX + 1]);
        changes.set(&key, Some(&row));
        changes.set(&key, Some(&large));
        changes.set(&key, None);
        changes.clear(&key);
        let taken = changes.take();
        assert_eq!(
            taken,
            [
                Changed::Row(key.clone(), row.clone()),
                Changed::Row(key.clone(), large.clone()),
                Changed::Deleted(key.clone()),
                Changed::Cleared(key.clone())
            ]
        );
        let Changed::Row(key_copy, row_copy) = &taken[0] else { unreachable!("checked above") };
        assert_eq!(key_copy.as_ptr().wrapping_add(key.len()), row_copy.as_ptr());
        assert!(matches!(&taken[1], Changed::Row(_, shared) if shared.as_ptr() == large.as_ptr()));
        assert!(changes.take().is_empty());
    }

    /// A full block is followed by another.
    #[test]
    fn any_number_of_changes_is_kept_as_it_was() {
        let mut changes = Changes::default();
        let row = |number: u32| Bytes::from(vec![number.to_le_bytes()[0]; 1_000]);
        (0..1_000).for_each(|number| changes.set(&Bytes::from_static(b"k"), Some(&row(number))));
        for (number, changed) in (0..).zip(changes.take()) {
            assert_eq!(changed, Changed::Row("k".into(), row(number)));
        }
    }
}
