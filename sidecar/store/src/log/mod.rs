//! `log.redb`: entries, hard state, commit index, identity, and the name of the state file.
//!
//! ```text
//!   store           identity │ head (term, vote, commit, previous, last) │ state file's name
//!   entries         first index of a row ──▶ many packed entries
//!   terms           first index of a run ──▶ its term
//!   configurations  index ──▶ the configuration entry there
//! ```
//!
//! One [`Log::commit`] is one transaction and one fdatasync, whatever it holds: hard state,
//! truncation, entries and commit index become durable together or not at all (O4, K6).
//! What the core asks at start (terms, configurations) has its own small tables, so opening a
//! large log reads a few pages.
//!
//! Invariant: the fields of [`Log`] say what the last synced transaction holds. After an error the
//! log is stopped: nothing is tried again, because after a failed fsync nobody knows what is on disk.

mod draft;
mod read;
mod terms;
mod write;

use std::sync::Arc;

use quorate_raft::{Index, IndexedConfiguration, LogId, Sequence, Stored, Term, TermRun};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::codec::configuration;
use crate::codec::meta::{DirectoryIdentity, Head, decode_state_name, encode_state_name};
use crate::database::{self, Kind, STORE};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::limits::{LOG_CACHE_BYTES, TAIL_BYTES_MAX, TAIL_ENTRIES_MAX};
use crate::site::Site;
use crate::state::StateFile;
use crate::watermarks::Watermarks;
pub use read::LogReader;
use terms::Terms;

/// The file's name in the data directory.
pub(crate) const LOG_NAME: &str = "log.redb";

pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
pub(super) const TERMS: TableDefinition<'_, u64, u64> = TableDefinition::new("terms");
pub(super) const CONFIGURATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("configurations");

// Keys of the table `store`.
const IDENTITY: &str = "identity";
const HEAD: &str = "head";
const STATE_NAME: &str = "state";

/// The log of one data directory. Only one thread writes it (see [`crate::LogThread`]).
#[derive(Debug)]
pub struct Log {
    site: Site,
    database: Arc<Database>,
    identity: DirectoryIdentity,
    state_name: String,
    head: Head,
    terms: Terms,
    watermarks: Arc<Watermarks>,
    is_stopped: bool,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The last sequence that is durable now; none if nothing had one.
    pub sequence: Option<Sequence>,
    /// The state file named by an install in it (K5): the machine must move there before the
    /// core hears of the commit.
    pub installed: Option<LogId>,
    /// That file's name.
    pub named: Option<String>,
    /// The first index kept, if a compaction was asked for, also if it removed nothing.
    pub compacted: Option<Index>,
    /// Whether more can be compacted right away; a step is bounded.
    pub compaction_pending: bool,
}

impl Log {
    /// Creates the log of a new directory, under a name of its own; it counts once it is renamed.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        name: &str,
        identity: &DirectoryIdentity,
        state_name: &str,
    ) -> Result<(), StoreError> {
        let (site, database) = database::create(disk, name, LOG_CACHE_BYTES)?;
        let creating = |error: redb::Error| site.redb("creating", error);
        let transaction = database.begin_write().map_err(|error| creating(error.into()))?;
        database::write_format(&site, &transaction, Kind::Log)?;
        {
            transaction.open_table(ENTRIES).map_err(|error| creating(error.into()))?;
            transaction.open_table(TERMS).map_err(|error| creating(error.into()))?;
            transaction.open_table(CONFIGURATIONS).map_err(|error| creating(error.into()))?;
            let mut store = transaction.open_table(STORE).map_err(|error| creating(error.into()))?;
            for (key, record) in [
                (IDENTITY, identity.encode()),
                (HEAD, Head::default().encode()),
                (STATE_NAME, encode_state_name(state_name)),
            ] {
                store.insert(key, record.as_slice()).map_err(|error| creating(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| creating(error.into()))
    }

    /// Opens the log and checks that its parts agree.
    pub(crate) fn open(disk: &Arc<dyn Disk>, watermarks: Arc<Watermarks>) -> Result<Self, StoreError> {
        let (site, database) = database::open(disk, LOG_NAME, Kind::Log, LOG_CACHE_BYTES)?;
        let record = |key: &str| {
            database::record(&site, &database, key)?
                .ok_or_else(|| site.corrupt(format!("the record `{key}` is missing")))
        };
        let identity = DirectoryIdentity::decode(&record(IDENTITY)?).map_err(|error| site.decode(error))?;
        let head = Head::decode(&record(HEAD)?).map_err(|error| site.decode(error))?;
        let state_name = decode_state_name(&record(STATE_NAME)?).map_err(|error| site.decode(error))?;
        let terms = read_terms(&site, &database, &head)?;
        watermarks.set_persisted(head.last.index);
        let database = Arc::new(database);
        let log = Self { site, database, identity, state_name, head, terms, watermarks, is_stopped: false };
        log.check_ends()?;
        Ok(log)
    }

    /// Who the directory belongs to.
    pub fn identity(&self) -> &DirectoryIdentity {
        &self.identity
    }

    /// The state file that belongs to this log (K5).
    pub(crate) fn state_name(&self) -> &str {
        &self.state_name
    }

    /// The first index kept, or the next one to come if the log is empty.
    pub fn first(&self) -> Index {
        self.head.first()
    }

    /// The last entry, durable; the one before the first if the log is empty.
    pub fn last(&self) -> LogId {
        self.head.last
    }

    /// The stored commit index (K6).
    pub fn commit_index(&self) -> Index {
        self.head.commit
    }

    /// Bytes of all rows: what retention counts (K7).
    pub fn bytes(&self) -> u64 {
        self.head.bytes
    }

    /// The term of an entry that is in the log, or just before it.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.head.previous.index {
            return Some(self.head.previous.term);
        }
        (self.first() <= index && index <= self.head.last.index).then(|| self.terms.at(index)).flatten()
    }

    /// A handle that reads entries from any thread, beside the writer.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.site.clone(), Arc::clone(&self.database))
    }

    /// Everything the core wants to know at start.
    pub fn stored(&self, state: &StateFile) -> Result<Stored, StoreError> {
        let applied = state.durable_applied();
        let mut configurations: Vec<_> = state.configuration().into_iter().collect();
        configurations.extend(self.configurations_after(applied.index)?);
        Ok(Stored {
            cluster_id: self.identity.cluster_id,
            hard_state: self.head.hard_state.clone(),
            commit: self.head.commit,
            applied,
            previous: self.head.previous,
            last: self.head.last,
            terms: self.terms.runs().to_vec(),
            configurations,
            tail: self.reader().tail(TAIL_ENTRIES_MAX, TAIL_BYTES_MAX)?,
            log_bytes: self.head.bytes,
        })
    }

    fn configurations_after(&self, applied: Index) -> Result<Vec<IndexedConfiguration>, StoreError> {
        let reading = |error: redb::Error| self.site.redb("reading", error);
        let transaction = self.database.begin_read().map_err(|error| reading(error.into()))?;
        let table = transaction.open_table(CONFIGURATIONS).map_err(|error| reading(error.into()))?;
        let mut found = Vec::new();
        for row in table.range(applied.next().0..).map_err(|error| reading(error.into()))? {
            let (index, encoded) = row.map_err(|error| reading(error.into()))?;
            let configuration =
                configuration::decode(encoded.value()).map_err(|error| self.site.decode(error))?;
            found.push(IndexedConfiguration { index: Index(index.value()), configuration });
        }
        Ok(found)
    }

    /// The rows must begin and end where the head says.
    fn check_ends(&self) -> Result<(), StoreError> {
        let (first, last) = self.reader().ends()?;
        let expected = (self.head.previous < self.head.last).then_some((self.first(), self.head.last));
        match (first.zip(last), expected) {
            (None, None) => Ok(()),
            (Some((row, last)), Some((first, expected))) if row <= first && last == expected => Ok(()),
            (found, expected) => Err(self.site.corrupt(format!(
                "the entries found ({}) are not those recorded ({})",
                describe(found),
                describe(expected)
            ))),
        }
    }
}

fn describe(ends: Option<(Index, LogId)>) -> String {
    ends.map_or_else(|| "none".to_owned(), |(first, last)| format!("{first} to {}", last.index))
}

/// The runs of the kept log; a run that began before the first entry begins at it.
fn read_terms(site: &Site, database: &Database, head: &Head) -> Result<Terms, StoreError> {
    let reading = |error: redb::Error| site.redb("reading", error);
    let transaction = database.begin_read().map_err(|error| reading(error.into()))?;
    let table = transaction.open_table(TERMS).map_err(|error| reading(error.into()))?;
    let mut runs = Vec::new();
    for row in table.iter().map_err(|error| reading(error.into()))? {
        let (first, term) = row.map_err(|error| reading(error.into()))?;
        runs.push(TermRun { first: Index(first.value()), term: Term(term.value()) });
    }
    let mut terms = Terms::new(runs).ok_or_else(|| site.corrupt("the terms of the log do not ascend"))?;
    terms.compact(head.first());
    let is_empty = head.previous == head.last;
    let begins = terms.runs().first().map(|run| run.first);
    let ends = terms.at(head.last.index);
    if is_empty && begins.is_none() || begins == Some(head.first()) && ends == Some(head.last.term) {
        Ok(terms)
    } else {
        Err(site.corrupt("the terms of the log do not match its ends"))
    }
}
