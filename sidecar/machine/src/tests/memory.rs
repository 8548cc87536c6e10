//! A base in memory: what the store does with a flush, in the order the flush asks for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::base::{Base, KeyRange, Table, Visit};
use crate::flush::Flush;

type Tables = BTreeMap<Table, BTreeMap<Bytes, Bytes>>;

/// Clones share their rows, as two openings of one file would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Tables>>);

impl Memory {
    pub(crate) fn write(&self, flush: &Flush) {
        let mut tables = self.0.lock().unwrap();
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

    /// Everything it holds, to compare with.
    pub(crate) fn rows(&self) -> Tables {
        self.0.lock().unwrap().clone()
    }
}

impl Base for Memory {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.lock().unwrap().get(&table).and_then(|rows| rows.get(key).cloned()))
    }

    fn scan(&self, table: Table, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), Infallible> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(rows) = self.0.lock().unwrap().get(&table) {
            for (key, row) in rows.range::<[u8], _>(range.bounds()) {
                if visit(key, row).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}
