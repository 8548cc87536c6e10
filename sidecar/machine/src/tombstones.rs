//! What is left of deleted keys, so that the index of a prefix rises when something under it disappears.
//!
//! The index of a prefix is the highest among the rows and tombstones under it, or that of all keys when there is
//! neither. A deleted key leaves a tombstone at the key; a deleted tree leaves one at its prefix
//! and takes the tombstones under it along:
//!
//! ```text
//!   5: delete a/b/1     tombstones {a/b/1: 5}        index of a/b/ = 5
//!   9: delete tree a/   tombstones {a/: 9}           index of a/b/ = that of all keys, so at least 9
//!                                                    (with a/b/1 kept it would have stayed 5)
//! ```
//!
//! Invariant: an index never falls. A row written later is newer than any tombstone, the index of all keys is never
//! lower than any other, and when the oldest tombstones are dropped their index becomes a floor.
//! Consul reaps by time instead, and lets an index fall.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::{Base, KeyRange, Table};
use crate::codec::DecodeError;
use crate::command::ApiIndex;
use crate::edit::Edit;
use crate::entry::Head;
use crate::layer::Layer;
use crate::limits::{TOMBSTONES_DROPPED_PER_COMMAND, TOMBSTONES_MAX};
use crate::meta::{KeysMeta, StateError};
use crate::view::View;

const INDEX_BYTES: usize = 8;

pub(crate) fn add(target: &mut Layer, keys: &mut KeysMeta, key: &[u8], index: ApiIndex) {
    let mut order = BytesMut::with_capacity(INDEX_BYTES + key.len());
    // Big endian, so that the rows lie in the order of their indexes.
    order.put_u64(index.0);
    order.put_slice(key);
    let order = order.freeze();
    target.set(Table::Tombstones, order.slice(INDEX_BYTES..), Some(order.slice(..INDEX_BYTES)));
    target.set(Table::TombstoneOrder, order, Some(Bytes::new()));
    keys.tombstones += 1;
}

/// Above the limit, drop the oldest and raise the floor.
pub(crate) fn drop_oldest<B: Base>(edit: &mut Edit<'_, B>) -> Result<(), StateError<B::Error>> {
    if edit.keys.tombstones <= TOMBSTONES_MAX {
        return Ok(());
    }
    let mut oldest = Vec::with_capacity(TOMBSTONES_DROPPED_PER_COMMAND);
    edit.view().scan(Table::TombstoneOrder, &KeyRange::all(), &mut |order, _| {
        oldest.push(Bytes::copy_from_slice(order));
        if oldest.len() < TOMBSTONES_DROPPED_PER_COMMAND {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    for order in oldest {
        let index = index_of(&order)?;
        let key = order.slice(INDEX_BYTES..);
        // A key deleted again, or under a tree deleted since, has a newer tombstone: this row is only a leftover.
        let present = edit.view().get(Table::Tombstones, &key)?.map(|row| index_of(&row)).transpose()?;
        if present == Some(index) {
            edit.target.set(Table::Tombstones, key, None);
            edit.keys.tombstone_floor = edit.keys.tombstone_floor.max(index);
        }
        edit.target.set(Table::TombstoneOrder, order, None);
        edit.keys.tombstones -= 1;
    }
    Ok(())
}

/// The index of everything under a prefix (consul-http.md §3).
pub(crate) fn prefix_index<B: Base>(
    view: &View<'_, B>,
    keys: &KeysMeta,
    prefix: &[u8],
) -> Result<ApiIndex, StateError<B::Error>> {
    if prefix.is_empty() {
        return Ok(keys.index);
    }
    let mut index = tombstones_index(view, prefix)?;
    let mut broken = None;
    view.scan(Table::Keys, &KeyRange::prefix(prefix), &mut |_, row| match Head::of(row) {
        Ok(head) => {
            index = index.max(Some(head.modify_index));
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(settle(index, keys)),
    }
}

/// The highest index among the tombstones under a prefix.
pub(crate) fn tombstones_index<B: Base>(
    view: &View<'_, B>,
    prefix: &[u8],
) -> Result<Option<ApiIndex>, StateError<B::Error>> {
    let mut index = None;
    let mut broken = None;
    view.scan(Table::Tombstones, &KeyRange::prefix(prefix), &mut |_, row| match index_of(row) {
        Ok(found) => {
            index = index.max(Some(found));
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(index), |error| Err(error.into()))
}

/// From the highest index found under a prefix that is not empty to the one that is shown.
pub(crate) fn settle(found: Option<ApiIndex>, keys: &KeysMeta) -> ApiIndex {
    found.map_or(keys.index, |found| found.max(keys.tombstone_floor))
}

fn index_of(row: &[u8]) -> Result<ApiIndex, DecodeError> {
    let bytes = row.first_chunk::<INDEX_BYTES>().ok_or(DecodeError::Truncated { what: "tombstone" })?;
    Ok(ApiIndex(u64::from_be_bytes(*bytes)))
}
