//! The state file: what the machine flushed, whole at one index (K4).
//!
//! ```text
//!   keys │ tombstones │ tombstone_order │ clients │ meta      bytes ──▶ bytes, as the machine writes them
//!   store                                                    the format record
//! ```
//!
//! Invariant: `durable_applied` and the configuration are read from the same transaction as the rows, and
//! change only after a flush was synced. Reads come from one [`View`] at a time: before or after a
//! flush, never between.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use quorate_machine::{Base, Flush, KeyRange, Meta, Table, Visit};
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, IndexedConfiguration, LogId, Term};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::codec::configuration;
use crate::database::{self, Kind};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::limits::STATE_CACHE_BYTES;
use crate::site::Site;
use crate::watermarks::Watermarks;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The definition of one of the machine's tables.
pub(crate) fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// One state file, open. Flushed by one thread, read by any; clones are the same file.
#[derive(Debug, Clone)]
pub struct StateFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    site: Site,
    database: Database,
    view: RwLock<Arc<View>>,
    watermarks: Arc<Watermarks>,
    /// A flush failed, or is under way.
    is_stopped: AtomicBool,
    /// Another file took this one's place.
    is_retired: AtomicBool,
}

/// All tables as of one flush.
#[derive(Debug)]
pub(crate) struct View {
    site: Site,
    tables: [Rows; Table::ALL.len()],
    pub(crate) meta: Meta,
    pub(crate) configuration: Option<IndexedConfiguration>,
}

impl View {
    fn open(site: &Site, database: &Database) -> Result<Self, StoreError> {
        let reading = |error: redb::Error| site.redb("reading the state", error);
        let transaction = database.begin_read().map_err(|error| reading(error.into()))?;
        let open = |table| transaction.open_table(definition(table)).map_err(|error| reading(error.into()));
        let tables = [
            open(Table::Keys)?,
            open(Table::Tombstones)?,
            open(Table::TombstoneOrder)?,
            open(Table::Clients)?,
            open(Table::Meta)?,
            open(Table::Sessions)?,
            open(Table::SessionKeys)?,
            open(Table::LockDelays)?,
            open(Table::DelayedKeys)?,
            open(Table::ApplicationLog)?,
        ];
        let mut view = Self { site: site.clone(), tables, meta: Meta::default(), configuration: None };
        if let Some(row) = view.get(Table::Meta, Meta::KEY)? {
            view.meta =
                Meta::decode(&row).map_err(|error| site.corrupt(format!("the state's meta row: {error}")))?;
        }
        view.configuration = view
            .meta
            .configuration
            .as_ref()
            .map(|applied| {
                let configuration =
                    configuration::decode(&applied.encoded).map_err(|error| site.decode(error))?;
                Ok(IndexedConfiguration { index: Index(applied.index), configuration })
            })
            .transpose()?;
        Ok(view)
    }

    /// The last applied entry in it.
    pub(crate) fn applied(&self) -> LogId {
        LogId::new(Term(self.meta.applied.term), Index(self.meta.applied.index))
    }

    pub(crate) fn rows(&self, table: Table) -> &Rows {
        let [
            keys,
            tombstones,
            tombstone_order,
            clients,
            meta,
            sessions,
            session_keys,
            lock_delays,
            delayed_keys,
            application_log,
        ] = &self.tables;
        match table {
            Table::Keys => keys,
            Table::Tombstones => tombstones,
            Table::TombstoneOrder => tombstone_order,
            Table::Clients => clients,
            Table::Meta => meta,
            Table::Sessions => sessions,
            Table::SessionKeys => session_keys,
            Table::LockDelays => lock_delays,
            Table::DelayedKeys => delayed_keys,
            Table::ApplicationLog => application_log,
        }
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        self.site.redb("reading the state", error)
    }
}

impl Base for View {
    type Error = StoreError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let row = self.rows(table).get(key).map_err(|error| self.error(error))?;
        Ok(row.map(|row| Bytes::copy_from_slice(row.value())))
    }

    fn scan(&self, table: Table, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        for row in self.rows(table).range::<&[u8]>(range.bounds()).map_err(|error| self.error(error))? {
            let (key, value) = row.map_err(|error| self.error(error))?;
            if visit(key.value(), value.value()) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl StateFile {
    /// Creates an empty one, whole and synced, and closes it. The caller syncs the names.
    pub(crate) fn create(disk: &Arc<dyn Disk>, name: &str) -> Result<(), StoreError> {
        create_tables(disk, name).map(drop)
    }

    /// Opens the one of that name.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        name: &str,
        watermarks: Arc<Watermarks>,
    ) -> Result<Self, StoreError> {
        let (site, database) = database::open(disk, name, Kind::State, STATE_CACHE_BYTES)?;
        Self::assemble(site, database, watermarks)
    }

    fn assemble(site: Site, database: Database, watermarks: Arc<Watermarks>) -> Result<Self, StoreError> {
        let view = View::open(&site, &database)?;
        watermarks.raise_durable_applied(view.applied().index);
        let view = RwLock::new(Arc::new(view));
        Ok(Self {
            shared: Arc::new(Shared {
                site,
                database,
                view,
                watermarks,
                is_stopped: AtomicBool::new(false),
                is_retired: AtomicBool::new(false),
            }),
        })
    }

    /// The last entry in the last synced flush (K3).
    pub fn durable_applied(&self) -> LogId {
        self.view().applied()
    }

    /// The configuration of the last configuration entry at or below [`StateFile::durable_applied`] (K4).
    pub fn configuration(&self) -> Option<IndexedConfiguration> {
        self.view().configuration.clone()
    }

    /// The file's name inside the data directory.
    pub fn name(&self) -> &str {
        &self.shared.site.file
    }

    /// Another file took its place (K5): no flush begins any more.
    pub(crate) fn retire(&self) {
        self.shared.is_retired.store(true, Ordering::Release);
    }

    /// One consistent picture; it keeps its pages from being reused, so it should not live long.
    pub(crate) fn view(&self) -> Arc<View> {
        // The lock guards one pointer, which is whole even if a holder panicked.
        Arc::clone(&self.shared.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a frozen memtable: one transaction, synced, at one index (K4).
    ///
    /// Refused with [`StoreError::FlushAheadOfLog`], without effect, while the log is not durable up to it.
    /// Any other error stops this file for good.
    pub fn flush(&self, flush: &Flush) -> Result<LogId, StoreError> {
        let applied = LogId::new(Term(flush.applied().term), Index(flush.applied().index));
        let persisted = self.shared.watermarks.persisted();
        if applied.index > persisted && !broken(Mutant::K4Ahead) {
            return Err(StoreError::FlushAheadOfLog { applied: applied.index, persisted });
        }
        let before = self.durable_applied();
        if applied.index < before.index {
            let why = format!(
                "the state is durable at {} already, a flush at {} is older",
                before.index, applied.index
            );
            return Err(StoreError::Refused { doing: "flushing the state", why });
        }
        if self.shared.is_retired.load(Ordering::Acquire) && !broken(Mutant::K5Retired)
            || self.shared.is_stopped.swap(true, Ordering::AcqRel)
        {
            return Err(StoreError::Stopped);
        }
        self.write(flush).map_err(|error| self.shared.site.redb("flushing the state", error))?;
        let view = View::open(&self.shared.site, &self.shared.database)?;
        *self.shared.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.shared.watermarks.raise_durable_applied(applied.index);
        self.shared.is_stopped.store(false, Ordering::Release);
        Ok(applied)
    }

    fn write(&self, flush: &Flush) -> Result<(), redb::Error> {
        let mut transaction = self.shared.database.begin_write()?;
        // Flushes are rare: two syncs instead of one buy an open in under a millisecond after a crash.
        transaction.set_quick_repair(true);
        for table in Table::ALL {
            write_table(&transaction, flush, table)?;
            if broken(Mutant::K4) {
                transaction.commit()?;
                transaction = self.shared.database.begin_write()?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn write_table(transaction: &WriteTransaction, flush: &Flush, table: Table) -> Result<(), redb::Error> {
    let mut rows = transaction.open_table(definition(table))?;
    for range in flush.cleared(table).filter(|range| !range.is_empty()) {
        rows.retain_in::<&[u8], _>(range.bounds(), |_, _| false)?;
    }
    for (key, value) in flush.rows(table) {
        match value {
            Some(value) => rows.insert(&**key, &**value)?,
            None => rows.remove(&**key)?,
        };
    }
    Ok(())
}

/// A new file with all tables, empty and synced.
pub(crate) fn create_tables(disk: &Arc<dyn Disk>, name: &str) -> Result<(Site, Database), StoreError> {
    let (site, database) = database::create(disk, name, STATE_CACHE_BYTES)?;
    let creating = |error: redb::Error| site.redb("creating", error);
    let transaction = database.begin_write().map_err(|error| creating(error.into()))?;
    database::write_format(&site, &transaction, Kind::State)?;
    for table in Table::ALL {
        transaction.open_table(definition(table)).map_err(|error| creating(error.into()))?;
    }
    transaction.commit().map_err(|error| creating(error.into()))?;
    Ok((site, database))
}

impl Base for StateFile {
    type Error = StoreError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.view().get(table, key)
    }

    fn scan(&self, table: Table, range: &KeyRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.view().scan(table, range, visit)
    }
}
