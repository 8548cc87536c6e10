//! A base in memory: what the store does with a flush, in the order the flush asks for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::base::{Base, KeyRange, Table, Visit};
use crate::flush::Flush;

type Tables = BTreeMap<Table, BTreeMap<Bytes, Bytes>>;

/// Clones share their rows, as two openings of one file would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    tables: Arc<Mutex<Tables>>,
    /// Rows that scans visited.
    visited: Arc<AtomicUsize>,
}

impl Memory {
    pub(crate) fn write(&self, flush: &Flush) {
        let mut tables = self.tables.lock().unwrap();
        for table in Table::ALL {
            let rows = tables.entry(table).or_default();
            for range in flush.cleared(table) {
                let is_in =
                    |key: &Bytes| *key >= range.start && range.end.as_ref().is_none_or(|end| key < end);
                rows.retain(|key, _| !is_in(key));
            }
            for (key, row) in flush.rows(table) {
                match row {
                    Some(row) => rows.insert(key.clone(), row.clone()),
                    None => rows.remove(key),
                };
            }
        }
    }

    /// Write a row past the machine.
    pub(crate) fn put(&self, table: Table, key: &'static str, row: &Bytes) {
        self.tables.lock().unwrap().entry(table).or_default().insert(key.into(), row.clone());
    }

    /// How many rows scans have visited so far.
    pub(crate) fn visited(&self) -> usize {
        self.visited.load(Ordering::Relaxed)
    }

    /// Everything it holds, to compare with.
    pub(crate) fn rows(&self) -> Tables {
        self.tables.lock().unwrap().clone()
    }
}

impl Base for Memory {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.tables.lock().unwrap().get(&table).and_then(|rows| rows.get(key).cloned()))
    }

    fn scan(&self, table: Table, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), Infallible> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(rows) = self.tables.lock().unwrap().get(&table) {
            for (key, row) in rows.range::<[u8], _>(range.bounds()) {
                self.visited.fetch_add(1, Ordering::Relaxed);
                if visit(key, row).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}
