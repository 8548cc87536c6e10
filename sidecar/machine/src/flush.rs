//! A frozen memtable on its way to the disk: everything of K4 at one index.
//!
//! The store applies it inside one transaction, in this order: for each table delete the ranges of
//! [`Flush::cleared`], then write and delete the rows of [`Flush::rows`], in slices as it likes. When that
//! transaction is synced it tells the machine ([`Machine::flushed`](crate::Machine::flushed)).
//!
//! Two rules of K4 are the store's: a flush begins only when [`Flush::applied`] is at or below the log's
//! persisted index, and it belongs to the file it began on.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{KeyRange, Table};
use crate::layer::Layer;
use crate::meta::{Meta, Position};

/// See the module. Cheap to clone; holds no lock.
#[derive(Clone, Debug)]
pub struct Flush {
    layer: Arc<Layer>,
    meta: Arc<Meta>,
}

impl Flush {
    pub(crate) fn new(layer: Arc<Layer>, meta: Meta) -> Self {
        Self { layer, meta: Arc::new(meta) }
    }

    /// The state after this flush stands at this entry.
    pub fn applied(&self) -> Position {
        self.meta.applied
    }

    /// The state's own numbers at that entry; also among the rows of [`Table::Meta`].
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Ranges of the table to delete before any of its rows is written. They do not overlap.
    pub fn cleared(&self, table: Table) -> impl Iterator<Item = KeyRange> + '_ {
        let affected = Table::CLEARED.contains(&table);
        self.layer.cleared().iter().filter(move |_| affected).map(|prefix| KeyRange::prefix(prefix))
    }

    /// The rows to write (`Some`) and to delete (`None`), in key order.
    pub fn rows(&self, table: Table) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> + '_ {
        self.layer.rows(table).iter().map(|(key, row)| (key, row.as_ref()))
    }

    /// About how many bytes it is, to choose slices by.
    pub fn bytes(&self) -> usize {
        self.layer.bytes()
    }
}
