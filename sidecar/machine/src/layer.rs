//! Recent writes in memory: one layer of the memtable (K29).
//!
//! A layer lies over older ones and over the base. For a key it says one of three things: *here is the row*, *it is
//! deleted*, or *ask below*. A deleted prefix is remembered as such, so that deleting a million keys costs one
//! entry and not a million:
//!
//! ```text
//!   delete-prefix "a/"  then  put "a/1"      cleared {"a/"}   rows {"a/1": row}
//!   "a/1" -> row      "a/2" -> deleted      "b" -> ask below
//! ```
//!
//! Invariants: `cleared` is prefix-free; clearing a prefix drops the layer's own rows under it, so a row that is
//! present is always newer than every cleared prefix. Clearing takes the keys and the tombstones under the
//! prefix, never a row of another table.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::Bound;

use bytes::Bytes;

use crate::base::{KeyRange, Table, prefix_end};
use crate::change::{Changed, Changes};
use crate::limits::MEMTABLE_ROW_OVERHEAD_BYTES;

pub(crate) type Rows = BTreeMap<Bytes, Option<Bytes>>;
pub(crate) type RowsInRange<'a> = btree_map::Range<'a, Bytes, Option<Bytes>>;

/// What a layer says of a key.
pub(crate) enum Lookup<'a> {
    /// Its row.
    Row(&'a Bytes),
    /// It does not exist, whatever lies below.
    Deleted,
    /// Nothing: ask below.
    Below,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    tables: [Rows; Table::ALL.len()],
    cleared: BTreeSet<Bytes>,
    bytes: usize,
    /// What it was told of keys since this was last taken; none: nobody asks.
    changes: Option<Changes>,
}

impl Layer {
    /// From now on changes of keys are kept until they are taken.
    pub(crate) fn note_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// An empty layer that goes on noting changes if this one did.
    pub(crate) fn next(&mut self) -> Self {
        Self { changes: self.changes.take(), ..Self::default() }
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Changed> {
        self.changes.as_mut().map(Changes::take).unwrap_or_default()
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Lookup<'_> {
        match self.tables[table.slot()].get(key) {
            Some(Some(row)) => Lookup::Row(row),
            Some(None) => Lookup::Deleted,
            None if self.covers(table, key) => Lookup::Deleted,
            None => Lookup::Below,
        }
    }

    /// Whether rows of older layers with this key are deleted (unless this layer has a row of its own).
    pub(crate) fn covers(&self, table: Table, key: &[u8]) -> bool {
        self.covering(table, key).is_some()
    }

    /// Whether all rows of older layers in `range` are deleted: then nobody needs to read them.
    pub(crate) fn covers_range(&self, table: Table, range: &KeyRange) -> bool {
        self.covering(table, &range.start).is_some_and(|prefix| match prefix_end(prefix) {
            None => true,
            Some(end) => range.end.as_ref().is_some_and(|range_end| *range_end <= end),
        })
    }

    /// The cleared prefix a key lies under.
    fn covering(&self, table: Table, key: &[u8]) -> Option<&Bytes> {
        if !Table::CLEARED.contains(&table) {
            return None;
        }
        // The set is prefix-free, so only the greatest element <= key can be a prefix of it: whatever
        // sorts between a prefix of the key and the key starts with that prefix too.
        let upto_key = (Bound::Unbounded, Bound::Included(key));
        self.cleared.range::<[u8], _>(upto_key).next_back().filter(|prefix| key.starts_with(prefix))
    }

    /// The layer's own rows in `range`, in key order; `None` is a deletion.
    pub(crate) fn range(&self, table: Table, range: &KeyRange) -> RowsInRange<'_> {
        let rows = &self.tables[table.slot()];
        if range.is_empty() {
            // An ordered map panics on a start beyond the end; an empty stretch at the start says the same.
            return rows.range::<[u8], _>((Bound::Included(&[][..]), Bound::Excluded(&[][..])));
        }
        rows.range::<[u8], _>(range.bounds())
    }

    pub(crate) fn rows(&self, table: Table) -> &Rows {
        &self.tables[table.slot()]
    }

    pub(crate) fn cleared(&self) -> &BTreeSet<Bytes> {
        &self.cleared
    }

    /// Write a row, or with `None` delete it.
    pub(crate) fn set(&mut self, table: Table, key: Bytes, row: Option<Bytes>) {
        let cost = row_cost(&key, row.as_ref());
        let key_bytes = key.len();
        if table == Table::Keys
            && let Some(changes) = &mut self.changes
        {
            changes.set(&key, row.as_ref());
        }
        if let Some(old) = self.tables[table.slot()].insert(key, row) {
            self.bytes -= key_bytes + old.map_or(0, |row| row.len()) + MEMTABLE_ROW_OVERHEAD_BYTES;
        }
        self.bytes += cost;
    }

    /// Delete every key and tombstone that starts with `prefix`, here and below.
    pub(crate) fn clear(&mut self, prefix: Bytes) {
        if let Some(changes) = &mut self.changes {
            changes.clear(&prefix);
        }
        let range = KeyRange::prefix(&prefix);
        for table in Table::CLEARED {
            let rows = &mut self.tables[table.slot()];
            let doomed: Vec<Bytes> =
                rows.range::<[u8], _>(range.bounds()).map(|(key, _)| key.clone()).collect();
            for key in doomed {
                if let Some(row) = rows.remove(&key) {
                    self.bytes -= row_cost(&key, row.as_ref());
                }
            }
        }
        if self.covers(Table::Keys, &prefix) {
            return;
        }
        let within: Vec<Bytes> = self.cleared.range::<[u8], _>(range.bounds()).cloned().collect();
        for inner in within {
            self.cleared.remove(&inner);
            self.bytes -= row_cost(&inner, None);
        }
        self.bytes += row_cost(&prefix, None);
        self.cleared.insert(prefix);
    }

    /// Lay `newer` on top of this layer and make them one.
    pub(crate) fn absorb(&mut self, newer: Self) {
        for prefix in newer.cleared {
            self.clear(prefix);
        }
        for (table, rows) in Table::ALL.into_iter().zip(newer.tables) {
            for (key, row) in rows {
                self.set(table, key, row);
            }
        }
    }

    /// What it occupies: keys, values and what holding them costs.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn row_cost(key: &Bytes, row: Option<&Bytes>) -> usize {
    key.len() + row.map_or(0, Bytes::len) + MEMTABLE_ROW_OVERHEAD_BYTES
}
