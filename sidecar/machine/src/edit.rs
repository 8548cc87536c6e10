//! How one entry changes keys: its writes go to one layer and see everything below it.
//!
//! A plain command edits the active layer; a transaction edits a layer of its own, which is laid on
//! top when every operation succeeded and dropped when one failed.

use bytes::Bytes;

use crate::base::{Base, KeyRange, Table};
use crate::command::ApiIndex;
use crate::entry::{Head, KvEntry};
use crate::layer::Layer;
use crate::locks::session_key;
use crate::meta::{KeysMeta, SessionsMeta, StateError};
use crate::session::SessionId;
use crate::tombstones;
use crate::view::View;

/// See the module.
pub(crate) struct Edit<'a, B> {
    pub(crate) target: &'a mut Layer,
    /// The layers under the target, the newest first.
    pub(crate) below: [Option<&'a Layer>; 2],
    pub(crate) base: &'a B,
    pub(crate) keys: &'a mut KeysMeta,
    pub(crate) sessions: &'a mut SessionsMeta,
    /// The API index of the entry; everything it changes gets this one.
    pub(crate) index: ApiIndex,
}

/// A key before a write.
pub(crate) struct Before {
    pub(crate) head: Head,
    /// Whether it has the value that is to be written.
    pub(crate) has_value: bool,
}

impl<B: Base> Edit<'_, B> {
    pub(crate) fn view(&self) -> View<'_, B> {
        View::new([Some(self.target), self.below[0], self.below[1]], self.base)
    }

    pub(crate) fn entry(&self, key: &Bytes) -> Result<Option<KvEntry>, StateError<B::Error>> {
        let row = self.view().get(Table::Keys, key)?;
        Ok(row.map(|row| KvEntry::from_row(key.clone(), &row)).transpose()?)
    }

    pub(crate) fn modify_index(&self, key: &[u8]) -> Result<Option<ApiIndex>, StateError<B::Error>> {
        let row = self.view().find(Table::Keys, key)?;
        Ok(row.map(|row| Head::of(&row)).transpose()?.map(|head| head.modify_index))
    }

    /// The key as it is before `value` is written to it.
    pub(crate) fn before(&self, key: &[u8], value: &[u8]) -> Result<Option<Before>, StateError<B::Error>> {
        let Some(row) = self.view().find(Table::Keys, key)? else { return Ok(None) };
        let head = Head::of(&row)?;
        let has_value = row[head.value_at()..] == *value;
        Ok(Some(Before { head, has_value }))
    }

    /// Write a key; returns what it is now. Whoever holds it keeps it.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], flags: u64) -> Result<Head, StateError<B::Error>> {
        let before = self.before(key, value)?;
        let session = before.as_ref().and_then(|before| before.head.session);
        // Consul's rule: a plain write starts the count of locks anew.
        Ok(self.write(key, before, value, (flags, 0, session)))
    }

    /// Write a key that is now as in `before`. What changes nothing keeps its index and wakes nobody.
    pub(crate) fn write(
        &mut self,
        key: &[u8],
        before: Option<Before>,
        value: &[u8],
        (flags, lock_index, session): (u64, u64, Option<SessionId>),
    ) -> Head {
        let create_index = before.as_ref().map_or(self.index, |before| before.head.create_index);
        if let Some(Before { head, has_value: true }) = before
            && (head.flags, head.lock_index, head.session) == (flags, lock_index, session)
        {
            return head;
        }
        let head = Head { flags, create_index, modify_index: self.index, lock_index, session };
        // Copied, as the value is: a slice would keep its whole message of up to 256 KiB in memory for one small value.
        self.target.set(Table::Keys, Bytes::copy_from_slice(key), Some(head.to_row(value)));
        self.keys.index = self.index;
        head
    }

    /// Delete a key, and the lock on it; returns whether it existed.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool, StateError<B::Error>> {
        let Some(row) = self.view().find(Table::Keys, key)? else { return Ok(false) };
        if let Some(session) = Head::of(&row)?.session {
            self.target.set(Table::SessionKeys, session_key(session, key), None);
        }
        self.target.set(Table::Keys, Bytes::copy_from_slice(key), None);
        self.bury(key)?;
        Ok(true)
    }

    /// Delete every key under a prefix; returns whether there was one.
    pub(crate) fn delete_prefix(&mut self, prefix: &[u8]) -> Result<bool, StateError<B::Error>> {
        if !self.view().is_occupied(Table::Keys, &KeyRange::prefix(prefix))? {
            return Ok(false);
        }
        // Takes the tombstones under it along: see `tombstones`.
        self.target.clear(Bytes::copy_from_slice(prefix));
        self.bury(prefix)?;
        Ok(true)
    }

    fn bury(&mut self, key: &[u8]) -> Result<(), StateError<B::Error>> {
        self.keys.index = self.index;
        tombstones::add(self.target, self.keys, key, self.index);
        tombstones::drop_oldest(self)
    }
}
