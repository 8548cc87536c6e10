//! An application's own entries, for a cluster founded in mode `Log` (K22).
//!
//! ```text
//!            trimmed            snapshot                 last
//!   ──────────┼─────────────────────┼──────────────────────┼──▶ API index
//!     gone:   │  kept, and also in  │  kept: the only copy │
//!     in the  │  the snapshot       │  there is            │
//!     snapshot
//! ```
//!
//! An entry is opaque bytes under the API index of its proposal; indexes grow and have holes, where the cluster wrote
//! entries of its own. A snapshot is the application's; the state holds its name only, members hold the file.
//!
//! Invariants: `trimmed` ≤ the snapshot's index, whatever a command asks, so that what is gone is always in the snapshot
//! and a new member can always be made; what is kept never exceeds [`APPLICATION_LOG_BYTES_MAX`]: beyond it a proposal is
//! refused and nothing is dropped.
//!
//! Not here: what each application has applied. Who leads is told of that, and asks for a trim.
//!
//! Row in [`Table::ApplicationLog`]: the index in 8 bytes, big endian, to the bytes as they were proposed.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_mutants::{Mutant, broken};

use crate::base::{Base, KeyRange, Table};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{ApiIndex, Command};
use crate::layer::Layer;
use crate::limits::{
    APPLICATION_ENTRY_OVERHEAD_BYTES, APPLICATION_LOG_BYTES_MAX, ENTRIES_TRIMMED_PER_COMMAND,
};
use crate::machine::Machine;
use crate::meta::StateError;
use crate::outcome::{Outcome, Refusal};
use crate::read::PageLimit;
use crate::view::View;

/// What a cluster is for. It is part of the configuration, from the first one on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Keys, sessions, transactions.
    #[default]
    KeyValue,
    /// An application's own state machine.
    Log,
}

impl Mode {
    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyValue => "KeyValue",
            Self::Log => "Log",
        }
    }

    /// What to say to whoever asks for what this mode does not have.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::KeyValue => {
                "it has keys and sessions, and no log of an application; use those, or found a cluster in mode Log"
            }
            Self::Log => {
                "an application brings its own state machine over the gRPC service Log, and there are no keys or sessions; use that, or found a cluster in mode KeyValue"
            }
        }
    }

    /// Whether a command means something in this mode.
    pub fn takes(self, command: &Command) -> bool {
        match command {
            Command::Put { .. }
            | Command::CompareAndSet { .. }
            | Command::Delete { .. }
            | Command::DeletePrefix { .. }
            | Command::Acquire { .. }
            | Command::Release { .. }
            | Command::CreateSession(_)
            | Command::DestroySession { .. }
            | Command::EndLockDelay { .. }
            | Command::Txn(_)
            | Command::Restore(_) => self == Self::KeyValue,
            Command::Propose { .. } | Command::Trim { .. } | Command::RecordSnapshot(_) => self == Self::Log,
            Command::RegisterClient { .. } | Command::SetAutopilot { .. } | Command::RememberServers(_) => {
                true
            }
        }
    }

    pub(crate) fn number(self) -> u64 {
        match self {
            Self::KeyValue => 1,
            Self::Log => 2,
        }
    }

    pub(crate) fn from_number(number: u64) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(Self::KeyValue),
            2 => Ok(Self::Log),
            tag => Err(DecodeError::UnknownTag { what: "mode", tag }),
        }
    }
}

/// A snapshot that an application offered: members hold a file of these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationSnapshot {
    /// The last entry that is in it.
    pub index: ApiIndex,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// How many they are.
    pub bytes: u64,
}

/// The application's log as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplicationMeta {
    /// The last entry that was trimmed; 0: none was.
    pub trimmed: ApiIndex,
    /// The last entry; 0: there was none.
    pub last: ApiIndex,
    /// Entries kept.
    pub entries: u64,
    /// What they count for: their bytes, and [`APPLICATION_ENTRY_OVERHEAD_BYTES`] each.
    pub bytes: u64,
    /// The latest one offered.
    pub snapshot: Option<ApplicationSnapshot>,
}

impl ApplicationMeta {
    /// Up to where a snapshot holds everything; 0: none was offered.
    pub fn covered(&self) -> ApiIndex {
        self.snapshot.map_or(ApiIndex(0), |snapshot| snapshot.index)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        for number in [self.trimmed.0, self.last.0, self.entries, self.bytes] {
            to.number(number);
        }
        if let Some(snapshot) = &self.snapshot {
            write_snapshot(to, 1, snapshot);
        } else {
            to.byte(0);
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            trimmed: ApiIndex(from.number("trimmed index")?),
            last: ApiIndex(from.number("last index")?),
            entries: from.number("entries of the application")?,
            bytes: from.number("bytes of the application's entries")?,
            snapshot: if from.flag("application snapshot")? { Some(read_snapshot(from)?) } else { None },
        })
    }
}

/// After the byte that says that one follows.
pub(crate) fn write_snapshot(to: &mut Writer, kind: u8, snapshot: &ApplicationSnapshot) {
    to.byte(kind);
    to.number(snapshot.index.0);
    to.bytes(&snapshot.sha256);
    to.number(snapshot.bytes);
}

pub(crate) fn read_snapshot(from: &mut Reader<'_>) -> Result<ApplicationSnapshot, DecodeError> {
    let index = ApiIndex(from.number("snapshot index")?);
    let sha256 = <[u8; 32]>::try_from(&*from.bytes("sha256")?);
    let sha256 = sha256.map_err(|_| DecodeError::OutOfRange { what: "length of a SHA-256" })?;
    Ok(ApplicationSnapshot { index, sha256, bytes: from.number("bytes of the snapshot")? })
}

/// One entry as an application gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationEntry {
    /// Its place.
    pub index: ApiIndex,
    /// What was proposed.
    pub data: Bytes,
}

/// What follows an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntriesAfter {
    /// These, in order and without a gap; none: there is nothing yet.
    Entries(Vec<ApplicationEntry>),
    /// Entries after the index were trimmed: the snapshot has them.
    SnapshotRequired(Option<ApplicationSnapshot>),
    /// The index is beyond what this member has applied.
    Ahead,
    /// There never was an entry at this index: it is of another cluster, or of an end of the log that was lost (K18).
    Unknown,
}

/// The application's entries while one command changes them.
pub(crate) struct Entries<'a, B> {
    pub(crate) target: &'a mut Layer,
    pub(crate) below: Option<&'a Layer>,
    pub(crate) base: &'a B,
    pub(crate) meta: &'a mut ApplicationMeta,
}

impl<B: Base> Entries<'_, B> {
    /// Keeps an entry, or refuses it because too much is kept already.
    pub(crate) fn propose(&mut self, index: ApiIndex, data: &Bytes) -> Outcome {
        let bytes = self.meta.bytes + cost(data);
        if bytes > APPLICATION_LOG_BYTES_MAX {
            let (kept, limit) = (self.meta.bytes, APPLICATION_LOG_BYTES_MAX);
            return Outcome::Refused(Refusal::LogFull { kept, limit, covered: self.meta.covered() });
        }
        // Copied: a slice would keep its whole message in memory for one small entry.
        self.target.set(Table::ApplicationLog, row_key(index), Some(Bytes::copy_from_slice(data)));
        *self.meta = ApplicationMeta { last: index, entries: self.meta.entries + 1, bytes, ..*self.meta };
        Outcome::Written { modify_index: index }
    }

    /// Drops entries up to `upto`, as far as the snapshot has them, a bounded number at a time.
    pub(crate) fn trim(&mut self, upto: ApiIndex) -> Result<Outcome, StateError<B::Error>> {
        let upto = if broken(Mutant::K22) { upto } else { upto.min(self.meta.covered()) };
        let range =
            KeyRange { start: row_key(ApiIndex(0)), end: Some(row_key(ApiIndex(upto.0.saturating_add(1)))) };
        let mut doomed = Vec::new();
        self.view().scan(Table::ApplicationLog, &range, &mut |key, data| {
            doomed.push((Bytes::copy_from_slice(key), cost(data)));
            if doomed.len() < ENTRIES_TRIMMED_PER_COMMAND {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        for (key, bytes) in doomed {
            self.meta.trimmed = row_index(&key)?;
            self.meta.entries -= 1;
            self.meta.bytes -= bytes;
            self.target.set(Table::ApplicationLog, key, None);
        }
        Ok(Outcome::Written { modify_index: self.meta.trimmed })
    }

    /// Takes note of a snapshot that is newer than the one before it, and of an entry that is here.
    pub(crate) fn record(&mut self, snapshot: ApplicationSnapshot) -> Result<Outcome, StateError<B::Error>> {
        if self.meta.snapshot == Some(snapshot) {
            return Ok(Outcome::Written { modify_index: snapshot.index });
        }
        let covered = self.meta.covered();
        if snapshot.index <= covered {
            return Ok(Outcome::Refused(Refusal::SnapshotStale { index: snapshot.index, covered }));
        }
        if self.view().get(Table::ApplicationLog, &row_key(snapshot.index))?.is_none() {
            return Ok(Outcome::Refused(Refusal::NoSuchEntry { index: snapshot.index }));
        }
        self.meta.snapshot = Some(snapshot);
        Ok(Outcome::Written { modify_index: snapshot.index })
    }

    fn view(&self) -> View<'_, B> {
        View::new([Some(self.target), self.below, None], self.base)
    }
}

impl<B: Base> Machine<B> {
    /// What an application gets that has applied everything up to `after` (0: nothing), at most a page of it.
    pub fn entries_after(
        &self,
        after: ApiIndex,
        limit: PageLimit,
    ) -> Result<EntriesAfter, StateError<B::Error>> {
        let ApplicationMeta { trimmed, last, snapshot, .. } = self.meta().application;
        if after < trimmed {
            return Ok(EntriesAfter::SnapshotRequired(snapshot));
        }
        if after > last {
            return Ok(EntriesAfter::Ahead);
        }
        if after > trimmed && self.view().get(Table::ApplicationLog, &row_key(after))?.is_none() {
            return Ok(EntriesAfter::Unknown);
        }
        let (mut entries, mut bytes, mut broken) = (Vec::new(), 0, None);
        let range = KeyRange { start: row_key(ApiIndex(after.0 + 1)), end: None };
        self.view().scan(Table::ApplicationLog, &range, &mut |key, data| {
            let is_full = entries.len() >= limit.rows_max || bytes + data.len() > limit.bytes_max;
            if is_full && !entries.is_empty() {
                return ControlFlow::Break(());
            }
            bytes += data.len();
            match row_index(key) {
                Ok(index) => {
                    entries.push(ApplicationEntry { index, data: Bytes::copy_from_slice(data) });
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        broken.map_or(Ok(EntriesAfter::Entries(entries)), |error| Err(error.into()))
    }
}

fn cost(data: &[u8]) -> u64 {
    data.len() as u64 + APPLICATION_ENTRY_OVERHEAD_BYTES
}

/// Big endian, so that the rows lie in the order of their indexes.
fn row_key(index: ApiIndex) -> Bytes {
    Bytes::copy_from_slice(&index.0.to_be_bytes())
}

fn row_index(key: &[u8]) -> Result<ApiIndex, DecodeError> {
    let bytes = <[u8; 8]>::try_from(key);
    let bytes = bytes.map_err(|_| DecodeError::OutOfRange { what: "key of an application's entry" })?;
    Ok(ApiIndex(u64::from_be_bytes(bytes)))
}
