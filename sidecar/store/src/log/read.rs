//! Reads entries beside the writer: each call is one read transaction.

use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::{Entry, Index, LogId};
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::ENTRIES;
use crate::codec::row;
use crate::error::StoreError;
use crate::site::Site;

/// Reads entries; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct LogReader {
    site: Site,
    database: Arc<Database>,
}

type Rows = ReadOnlyTable<u64, &'static [u8]>;

impl LogReader {
    pub(super) fn new(site: Site, database: Arc<Database>) -> Self {
        Self { site, database }
    }

    /// Entries of `range` in order: at least one if the first is there, then until `bytes_max`
    /// (by [`Entry::bytes`]) is passed or the log ends. Empty if the first one is not there (any more).
    pub fn read(&self, range: Range<Index>, bytes_max: u64) -> Result<Vec<Entry>, StoreError> {
        let table = self.table()?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let Some(start) = self.row_of(&table, range.start)? else { return Ok(entries) };
        for row in table.range(start.0..range.end.0.max(start.0)).map_err(|error| self.error(error))? {
            let (first, row) = row.map_err(|error| self.error(error))?;
            for entry in self.unpack(Index(first.value()), row.value())? {
                if entry.index < range.start {
                    continue;
                }
                if entry.index >= range.end || bytes >= bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                let expected = entries.last().map_or(range.start, |last| last.index.next());
                if entry.index != expected && !entries.is_empty() {
                    return Err(self
                        .site
                        .corrupt(format!("entry {expected} is missing, {} follows", entry.index)));
                }
                if entry.index != expected {
                    return Ok(entries);
                }
                bytes += entry.bytes();
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The last entries, whole rows until either bound is passed.
    pub(super) fn tail(&self, entries_max: usize, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let table = self.table()?;
        let mut rows = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        for row in table.iter().map_err(|error| self.error(error))?.rev() {
            let (first, row) = row.map_err(|error| self.error(error))?;
            bytes += row.value().len();
            let entries = self.unpack(Index(first.value()), row.value())?;
            count += entries.len();
            rows.push(entries);
            if count >= entries_max || bytes >= bytes_max {
                break;
            }
        }
        Ok(rows.into_iter().rev().flatten().collect())
    }

    /// The key of the first row, and the last entry.
    pub(super) fn ends(&self) -> Result<(Option<Index>, Option<LogId>), StoreError> {
        let table = self.table()?;
        let first = table.first().map_err(|error| self.error(error))?.map(|(key, _)| Index(key.value()));
        let last = match table.last().map_err(|error| self.error(error))? {
            Some((key, row)) => self.unpack(Index(key.value()), row.value())?.last().map(Entry::id),
            None => None,
        };
        Ok((first, last))
    }

    fn table(&self) -> Result<Rows, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.error(error))?;
        transaction.open_table(ENTRIES).map_err(|error| self.error(error))
    }

    /// The key of the row that holds `index`, if that index is not before the log.
    fn row_of(&self, table: &Rows, index: Index) -> Result<Option<Index>, StoreError> {
        let bounds = (Bound::Unbounded, Bound::Included(index.0));
        let mut rows = table.range::<u64>(bounds).map_err(|error| self.error(error))?;
        let row = rows.next_back().transpose().map_err(|error| self.error(error))?;
        Ok(row.map(|(first, _)| Index(first.value())))
    }

    fn unpack(&self, first: Index, row: &[u8]) -> Result<Vec<Entry>, StoreError> {
        row::unpack(first, &Bytes::copy_from_slice(row)).map_err(|error| self.site.decode(error))
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        self.site.redb("reading the log", error)
    }
}
