//! The one transaction per commit, and compaction riding on it.

use std::ops::Bound;

use bytes::Bytes;
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Entry, Index, LogId, Persist, RecoveryEpoch};
use redb::{ReadableTable, Table, WriteTransaction};

use super::draft::Draft;
use super::{CONFIGURATIONS, Committed, ENTRIES, HEAD, IDENTITY, Log, STATE_NAME, TERMS};
use crate::codec::configuration;
use crate::codec::meta::{DirectoryIdentity, encode_state_name};
use crate::codec::row;
use crate::database::STORE;
use crate::error::StoreError;
use crate::limits::COMPACT_ROWS_MAX;
use crate::names::{restored_name, state_index, state_name};
use crate::site::Site;

type Entries<'t> = Table<'t, u64, &'static [u8]>;

/// Where the log begins after a compaction step.
#[derive(Debug, Clone, Copy)]
struct Cut {
    first: Index,
    /// Whether anything was removed.
    moved: bool,
    pending: bool,
}

impl Log {
    /// Makes all of `persists` durable, in order, in one transaction and one fdatasync.
    ///
    /// Group commit: later ones may cut what earlier ones appended; only the outcome is written. On an
    /// error nothing of it counts as stored and the log is stopped for good.
    pub fn commit(&mut self, persists: &[Persist]) -> Result<Committed, StoreError> {
        self.commit_and_compact(persists, None)
    }

    /// Forgets entries up to and including `upto`, as far as K3 allows, in a bounded step.
    ///
    /// Whole rows go, so the log may keep a few entries more than asked. `compaction_pending` says
    /// whether to call again.
    pub fn compact(&mut self, upto: Index) -> Result<Committed, StoreError> {
        self.commit_and_compact(&[], Some(upto))
    }

    /// [`Log::commit`] with a step of [`Log::compact`] in the same transaction.
    pub fn commit_and_compact(
        &mut self,
        persists: &[Persist],
        compact_upto: Option<Index>,
    ) -> Result<Committed, StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped);
        }
        // Until the end is reached the log counts as stopped: an early return is an error.
        self.is_stopped = !broken(Mutant::P1Retry);
        let committed = self.write(persists, compact_upto, self.identity.recovery_epoch)?;
        self.is_stopped = false;
        Ok(committed)
    }

    /// Makes a quorum recovery durable (K18): what it writes and the epoch, in one transaction, so that a crash leaves
    /// the directory as it was or recovered. The epoch rises; refused otherwise, without effect.
    pub fn recover(&mut self, epoch: RecoveryEpoch, persist: &Persist) -> Result<(), StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped);
        }
        let before = self.identity.recovery_epoch;
        if epoch <= before {
            let why = format!("the recovery epoch is {} and would become {}", before.0, epoch.0);
            return Err(StoreError::Refused { doing: "recovering the quorum", why });
        }
        self.is_stopped = true;
        let written = if broken(Mutant::K18Directory) { before } else { epoch };
        self.write(std::slice::from_ref(persist), None, written)?;
        self.is_stopped = false;
        Ok(())
    }

    /// Names the state file made by the restore that is the entry `at`, which is durable and committed here (K5, K17): the one
    /// transaction that makes it the state. The log itself stays as it is, so there is no gap in it (B14).
    ///
    /// Nothing is done, and `installed` is none, if the state is that of a later entry already.
    pub fn name_restored(&mut self, at: LogId) -> Result<Committed, StoreError> {
        if self.is_stopped {
            return Err(StoreError::Stopped);
        }
        let doing = "naming a restored state";
        if at.index > self.head.last.index {
            let why = format!("the log ends at {}, the restore is the entry {at}", self.head.last);
            return Err(StoreError::Refused { doing, why });
        }
        let is_past = state_index(&self.state_name).is_some_and(|index| index >= at.index);
        if is_past || at.index <= self.watermarks.durable_applied() {
            return Ok(Committed::default());
        }
        let name = self.check_file(at, restored_name(at))?;
        self.is_stopped = true;
        let transaction = self.begin()?;
        {
            let mut store = transaction.open_table(STORE).map_err(|error| self.failed(error))?;
            store
                .insert(STATE_NAME, encode_state_name(&name).as_slice())
                .map_err(|error| self.failed(error))?;
        }
        transaction.commit().map_err(|error| self.failed(error))?;
        self.state_name.clone_from(&name);
        self.is_stopped = false;
        Ok(Committed { installed: Some(at), named: Some(name), ..Committed::default() })
    }

    fn write(
        &mut self,
        persists: &[Persist],
        compact_upto: Option<Index>,
        recovery_epoch: RecoveryEpoch,
    ) -> Result<Committed, StoreError> {
        let mut draft = Draft::new(self.head.clone(), self.terms.clone(), self.identity.cluster_id);
        for persist in persists {
            draft.fold(persist).map_err(|why| StoreError::Refused { doing: "committing to the log", why })?;
        }
        let identity =
            DirectoryIdentity { cluster_id: draft.cluster_id, recovery_epoch, ..self.identity.clone() };
        let named = draft.install.map(|last| self.check_file(last, state_name(last))).transpose()?;
        let transaction = self.begin()?;
        let compacted = self.write_entries(&transaction, &mut draft, compact_upto)?;
        let is_compacted = compacted.is_some_and(|cut| cut.moved);
        self.write_terms(&transaction, &draft, is_compacted).map_err(|error| self.failed(error))?;
        write_configurations(&transaction, &draft, is_compacted).map_err(|error| self.failed(error))?;
        self.write_records(&transaction, &draft, &identity, named.as_deref())
            .map_err(|error| self.failed(error))?;
        transaction.commit().map_err(|error| self.failed(error))?;

        // Durable: only now may anything be said about it.
        self.watermarks.set_persisted(draft.head.last.index);
        self.head = draft.head;
        self.terms = draft.terms;
        self.identity = identity;
        if let Some(named) = &named {
            self.state_name.clone_from(named);
        }
        Ok(Committed {
            sequence: persists.last().map(|persist| persist.sequence),
            installed: draft.install,
            named,
            compacted: compacted.map(|cut| cut.first),
            compaction_pending: compacted.is_some_and(|cut| cut.pending),
        })
    }

    /// K5: the file must be there before the log names it, and newer than what it replaces.
    fn check_file(&self, last: LogId, name: String) -> Result<String, StoreError> {
        let doing = "installing a snapshot";
        let durable_applied = self.watermarks.durable_applied();
        if last.index <= durable_applied {
            let why =
                format!("the state is at {durable_applied} already, the snapshot ends at {}", last.index);
            return Err(StoreError::Refused { doing, why });
        }
        let names = self.site.disk.names().map_err(|error| self.site.io(doing, error))?;
        if !names.contains(&name) && !broken(Mutant::K5Named) {
            return Err(StoreError::Refused { doing, why: format!("{name} was never received") });
        }
        Ok(name)
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        self.database.begin_write().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        self.site.redb("committing to the log", error)
    }

    fn write_entries(
        &self,
        transaction: &WriteTransaction,
        draft: &mut Draft,
        compact_upto: Option<Index>,
    ) -> Result<Option<Cut>, StoreError> {
        let mut table = transaction.open_table(ENTRIES).map_err(|error| self.failed(error))?;
        let mut entries = Vec::new();
        if let Some(from) = draft.cut {
            let (kept, removed_bytes) = cut(&self.site, &mut table, from)?;
            draft.head.bytes = draft.head.bytes.saturating_sub(removed_bytes);
            entries = kept;
        }
        let rows = if entries.is_empty() {
            row::pack(&draft.entries)
        } else {
            entries.extend_from_slice(&draft.entries);
            row::pack(&entries)
        };
        draft.head.bytes += rows.iter().map(|(_, row)| row.len() as u64).sum::<u64>();
        append(&mut table, &rows).map_err(|error| self.failed(error))?;
        // K3: what the synced state does not hold is never forgotten, whoever asks.
        let durable =
            if broken(Mutant::K3Store) { Index(u64::MAX) } else { self.watermarks.durable_applied() };
        let upto = compact_upto.map(|upto| upto.min(durable));
        upto.map(|upto| compact(&mut table, draft, upto)).transpose().map_err(|error| self.failed(error))
    }

    fn write_terms(
        &self,
        transaction: &WriteTransaction,
        draft: &Draft,
        is_compacted: bool,
    ) -> Result<(), redb::Error> {
        if draft.terms == self.terms && draft.cut.is_none() && !is_compacted {
            return Ok(());
        }
        // Few rows, seldom changed: rewritten from the first difference on.
        let mut table = transaction.open_table(TERMS)?;
        if is_compacted {
            table.retain(|_, _| false)?;
        } else if let Some(from) = draft.cut {
            table.retain_in(from.0.., |_, _| false)?;
        }
        for run in draft.terms.runs() {
            if table.get(run.first.0)?.is_none() {
                table.insert(run.first.0, run.term.0)?;
            }
        }
        Ok(())
    }

    fn write_records(
        &self,
        transaction: &WriteTransaction,
        draft: &Draft,
        identity: &DirectoryIdentity,
        state_name: Option<&str>,
    ) -> Result<(), redb::Error> {
        let mut store = transaction.open_table(STORE)?;
        store.insert(HEAD, draft.head.encode().as_slice())?;
        if *identity != self.identity {
            store.insert(IDENTITY, identity.encode().as_slice())?;
        }
        if let Some(name) = state_name {
            store.insert(STATE_NAME, encode_state_name(name).as_slice())?;
        }
        Ok(())
    }
}

/// Keeps the table of configuration entries as the entries are.
fn write_configurations(
    transaction: &WriteTransaction,
    draft: &Draft,
    is_compacted: bool,
) -> Result<(), redb::Error> {
    if draft.cut.is_none() && !is_compacted && draft.configurations().next().is_none() {
        return Ok(());
    }
    let mut table = transaction.open_table(CONFIGURATIONS)?;
    if let Some(from) = draft.cut {
        table.retain_in(from.0.., |_, _| false)?;
    }
    if is_compacted {
        table.retain_in(..draft.head.first().0, |_, _| false)?;
    }
    for (index, configuration) in draft.configurations() {
        table.insert(index.0, &*configuration::encode(configuration))?;
    }
    Ok(())
}

/// Removes entries from `from` on. Only the row that is cut through gives entries back, to be written anew.
fn cut(site: &Site, table: &mut Entries<'_>, from: Index) -> Result<(Vec<Entry>, u64), StoreError> {
    let failed = |error: redb::Error| site.redb("committing to the log", error);
    let mut kept = Vec::new();
    let mut remove_from = from;
    let before = (Bound::Unbounded, Bound::Excluded(from.0));
    let last_before = match table.range::<u64>(before).map_err(|error| failed(error.into()))?.next_back() {
        Some(row) => {
            let (first, row) = row.map_err(|error| failed(error.into()))?;
            Some((Index(first.value()), Bytes::copy_from_slice(row.value())))
        }
        None => None,
    };
    if let Some((first, row)) = last_before {
        let mut entries = row::unpack(first, &row).map_err(|error| site.decode(error))?;
        let count = entries.len();
        entries.retain(|entry| entry.index < from);
        if entries.len() < count {
            remove_from = first;
            kept = entries;
        }
    }
    let mut bytes = 0;
    table
        .retain_in(remove_from.0.., |_, row| {
            bytes += row.len() as u64;
            false
        })
        .map_err(|error| failed(error.into()))?;
    Ok((kept, bytes))
}

/// Appends rows at the end, through one cursor: a quarter faster than single inserts, measured.
fn append(table: &mut Entries<'_>, rows: &[(Index, Vec<u8>)]) -> Result<(), redb::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut cursor = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
    for (first, row) in rows {
        cursor.insert_before(first.0, row.as_slice())?;
    }
    cursor.close()?;
    Ok(())
}

/// Removes up to [`COMPACT_ROWS_MAX`] rows that lie wholly at or below `upto`.
fn compact(table: &mut Entries<'_>, draft: &mut Draft, upto: Index) -> Result<Cut, redb::Error> {
    let upto = upto.min(draft.head.last.index);
    // A row can go if the next one begins at or below `upto` + 1.
    let mut first_kept = draft.head.first();
    let mut seen = 0;
    for row in table.range(..=upto.next().0)?.take(COMPACT_ROWS_MAX + 1) {
        first_kept = first_kept.max(Index(row?.0.value()));
        seen += 1;
    }
    let pending = seen > COMPACT_ROWS_MAX;
    if !pending && upto == draft.head.last.index {
        first_kept = upto.next();
    }
    let previous = first_kept.previous();
    let unchanged = Cut { first: draft.head.first(), moved: false, pending: false };
    if first_kept <= draft.head.first() {
        return Ok(unchanged);
    }
    // The entry is in the log or in what this transaction appended, so its term is known.
    let Some(term) = draft.terms.at(previous) else { return Ok(unchanged) };
    let mut bytes = 0;
    table.retain_in(..first_kept.0, |_, row| {
        bytes += row.len() as u64;
        false
    })?;
    draft.head.bytes = draft.head.bytes.saturating_sub(bytes);
    draft.head.previous = LogId::new(term, previous);
    if first_kept > draft.head.last.index {
        draft.terms.clear();
    } else {
        draft.terms.compact(first_kept);
    }
    Ok(Cut { first: first_kept, moved: true, pending })
}
