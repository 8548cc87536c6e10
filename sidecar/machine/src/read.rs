//! What can be asked of the state, each answer with the index that goes with it (consul-http.md §3).
//!
//! An answer speaks of one applied index: nothing is applied while it is made. Which index may be
//! answered at all (linearizable, stale) is decided before, by the driver.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::{Base, KeyRange, Table, prefix_end};
use crate::codec::DecodeError;
use crate::command::{ApiIndex, TxnOp};
use crate::edit::Edit;
use crate::entry::{Head, KvEntry};
use crate::layer::Layer;
use crate::machine::Machine;
use crate::meta::StateError;
use crate::outcome::Outcome;
use crate::{tombstones, txn};

/// One key, or its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRead {
    /// The entry.
    pub entry: Option<KvEntry>,
    /// Its modify index; of a missing key that of all keys. Never 0.
    pub index: ApiIndex,
}

/// How much of a list to answer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Rows at most.
    pub rows_max: usize,
    /// Keys and values at most, summed; one row is answered whatever its size.
    pub bytes_max: usize,
}

/// Entries under a prefix in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The entries.
    pub entries: Vec<KvEntry>,
    /// The prefix's index if this is all of it, else that of all keys (which is never lower). Never 0.
    pub index: ApiIndex,
    /// Whether there is more: ask again with the last key as `after`.
    pub is_cut: bool,
}

/// Keys under a prefix in byte order, each cut after the separator if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The keys, each once.
    pub keys: Vec<Bytes>,
    /// As in [`List`].
    pub index: ApiIndex,
    /// Whether there is more: ask again with the last key as `after`.
    pub is_cut: bool,
}

impl<B: Base> Machine<B> {
    /// Read one key.
    pub fn get(&self, key: &[u8]) -> Result<KeyRead, StateError<B::Error>> {
        let row = self.view().get(Table::Keys, key)?;
        let entry = row.map(|row| KvEntry::from_row(Bytes::copy_from_slice(key), &row)).transpose()?;
        let index = entry.as_ref().map_or(self.meta().keys.index, |entry| entry.modify_index);
        Ok(KeyRead { entry, index: shown(index) })
    }

    /// Read the entries under a prefix, those after the key `after` if it is given.
    pub fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<List, StateError<B::Error>> {
        let mut entries: Vec<KvEntry> = Vec::new();
        let mut bytes = 0;
        let mut scan = Scan::default();
        let range =
            after.map_or_else(|| KeyRange::prefix(prefix), |after| page(prefix, Some(next_key(after))));
        self.view().scan(Table::Keys, &range, &mut |key, row| {
            let is_full = entries.len() >= limit.rows_max || bytes + key.len() + row.len() > limit.bytes_max;
            if is_full && !entries.is_empty() {
                return scan.cut();
            }
            bytes += key.len() + row.len();
            match KvEntry::from_row(Bytes::copy_from_slice(key), &Bytes::copy_from_slice(row)) {
                Ok(entry) => {
                    scan.newest = scan.newest.max(Some(entry.modify_index));
                    entries.push(entry);
                    ControlFlow::Continue(())
                }
                Err(error) => scan.fail(error),
            }
        })?;
        let (index, is_cut) = self.finish(scan, prefix, after)?;
        Ok(List { entries, index, is_cut })
    }

    /// Read the keys under a prefix, those after `after` if it is given; no value is copied.
    ///
    /// With a separator each key is cut after the first separator beyond the prefix, and listed once.
    pub fn keys(
        &self,
        prefix: &[u8],
        separator: Option<&[u8]>,
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Keys, StateError<B::Error>> {
        let separator = separator.filter(|separator| !separator.is_empty());
        let range = match after {
            Some(after) if folder_end(after, prefix, separator) == Some(after.len()) => {
                // Everything under a key that was cut has been told of.
                page(prefix, prefix_end(after))
            }
            Some(after) => page(prefix, Some(next_key(after))),
            None => KeyRange::prefix(prefix),
        };
        let mut keys: Vec<Bytes> = Vec::new();
        let mut scan = Scan::default();
        self.view().scan(Table::Keys, &range, &mut |key, row| {
            let end = folder_end(key, prefix, separator).unwrap_or(key.len());
            let listed = &key[..end];
            if keys.last().is_none_or(|last| *last != listed) {
                if keys.len() >= rows_max.max(1) {
                    return scan.cut();
                }
                keys.push(Bytes::copy_from_slice(listed));
            }
            match Head::of(row) {
                Ok(head) => {
                    scan.newest = scan.newest.max(Some(head.modify_index));
                    ControlFlow::Continue(())
                }
                Err(error) => scan.fail(error),
            }
        })?;
        let (index, is_cut) = self.finish(scan, prefix, after)?;
        Ok(Keys { keys, index, is_cut })
    }

    /// The index of a prefix without its entries: what a blocked query compares.
    pub fn prefix_index(&self, prefix: &[u8]) -> Result<ApiIndex, StateError<B::Error>> {
        tombstones::prefix_index(&self.view(), &self.meta().keys, prefix).map(shown)
    }

    /// Answer a transaction that only reads: [`Outcome::Txn`] or [`Outcome::TxnFailed`].
    pub fn read_txn(&self, ops: &[TxnOp]) -> Result<Outcome, StateError<B::Error>> {
        assert!(!ops.iter().any(TxnOp::is_write), "a transaction that writes needs a log entry");
        let (mut keys, mut sessions) = (self.meta().keys, self.meta().sessions);
        let index = keys.index;
        txn::evaluate(
            &mut Edit {
                target: &mut Layer::default(),
                below: self.layers(),
                base: self.base(),
                keys: &mut keys,
                sessions: &mut sessions,
                index,
            },
            ops,
        )
    }

    fn finish(
        &self,
        scan: Scan,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<(ApiIndex, bool), StateError<B::Error>> {
        if let Some(error) = scan.broken {
            return Err(error.into());
        }
        let keys = &self.meta().keys;
        if scan.is_cut || after.is_some() || prefix.is_empty() {
            return Ok((shown(keys.index), scan.is_cut));
        }
        let newest = scan.newest.max(tombstones::tombstones_index(&self.view(), prefix)?);
        Ok((shown(tombstones::settle(newest, keys)), false))
    }
}

/// What a scan learned beside the rows.
#[derive(Default)]
struct Scan {
    newest: Option<ApiIndex>,
    is_cut: bool,
    broken: Option<DecodeError>,
}

impl Scan {
    fn cut(&mut self) -> ControlFlow<()> {
        self.is_cut = true;
        ControlFlow::Break(())
    }

    fn fail(&mut self, error: DecodeError) -> ControlFlow<()> {
        self.broken = Some(error);
        ControlFlow::Break(())
    }
}

/// An index a client sees is never 0: 0 would mean "do not block".
fn shown(index: ApiIndex) -> ApiIndex {
    index.max(ApiIndex(1))
}

/// The part of a prefix's range from `start` on; without a start nothing of it is left.
fn page(prefix: &[u8], start: Option<Bytes>) -> KeyRange {
    let mut range = KeyRange::prefix(prefix);
    match start {
        Some(start) => range.start = range.start.max(start),
        None => range.end = Some(range.start.clone()),
    }
    range
}

/// The first key after `key`.
fn next_key(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

/// Where a key is cut: after the first separator beyond the prefix.
fn folder_end(key: &[u8], prefix: &[u8], separator: Option<&[u8]>) -> Option<usize> {
    let separator = separator?;
    let beyond = key.get(prefix.len()..)?;
    let at = beyond.windows(separator.len()).position(|window| window == separator)?;
    Some(prefix.len() + at + separator.len())
}
