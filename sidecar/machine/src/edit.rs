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

impl<B: Base> Edit<'_, B> {
    pub(crate) fn view(&self) -> View<'_, B> {
        View::new([Some(self.target), self.below[0], self.below[1]], self.base)
    }

    pub(crate) fn entry(&self, key: &Bytes) -> Result<Option<KvEntry>, StateError<B::Error>> {
        let row = self.view().get(Table::Keys, key)?;
        Ok(row.map(|row| KvEntry::from_row(key.clone(), &row)).transpose()?)
    }

    pub(crate) fn modify_index(&self, key: &[u8]) -> Result<Option<ApiIndex>, StateError<B::Error>> {
        let row = self.view().get(Table::Keys, key)?;
        Ok(row.map(|row| Head::of(&row)).transpose()?.map(|head| head.modify_index))
    }

    /// Write a key; returns the entry as it is now. Whoever holds it keeps it.
    pub(crate) fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        flags: u64,
    ) -> Result<KvEntry, StateError<B::Error>> {
        let old = self.entry(key)?;
        let session = old.as_ref().and_then(|old| old.session);
        // Consul's rule: a plain write starts the count of locks anew.
        Ok(self.write(key, old, value, (flags, 0, session)))
    }

    /// Write a key that is now as in `old`. What changes nothing keeps its index and wakes nobody.
    pub(crate) fn write(
        &mut self,
        key: &Bytes,
        old: Option<KvEntry>,
        value: &Bytes,
        (flags, lock_index, session): (u64, u64, Option<SessionId>),
    ) -> KvEntry {
        if let Some(old) = &old
            && (old.flags, &old.value, old.lock_index, old.session) == (flags, value, lock_index, session)
        {
            return old.clone();
        }
        // Copied: a slice would keep its whole message of up to 256 KiB in memory for one small value.
        let key = Bytes::copy_from_slice(key);
        let create_index = old.map_or(self.index, |old| old.create_index);
        let modify_index = self.index;
        let value = value.clone();
        let mut entry =
            KvEntry { key: key.clone(), value, flags, create_index, modify_index, lock_index, session };
        let row = entry.to_row();
        entry.value = entry.value_of(&row);
        self.target.set(Table::Keys, key, Some(row));
        self.keys.index = self.index;
        entry
    }

    /// Delete a key, and the lock on it; returns whether it existed.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool, StateError<B::Error>> {
        let Some(row) = self.view().get(Table::Keys, key)? else { return Ok(false) };
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
