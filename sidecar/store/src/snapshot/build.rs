//! From a received file to a state file, in one pass: every byte is checked before it counts.
//!
//! A snapshot becomes the state as it is; of an archive only the keys do, changed as a restore changes them (K17).

use std::ops::Bound;

use bytes::Bytes;
use quorate_machine::{ARCHIVE_INDEX_MAX, ApiIndex, Here, Meta, Position, Restored, Table};
use quorate_raft::{ClusterId, LogId};
use redb::{Database, StorageBackend};
use sha2::{Digest, Sha256};

use super::format::{
    CHUNK_HEADER_BYTES, END_BYTES, MAGIC, PREAMBLE_BYTES, RECORD_HEADER_BYTES, SnapshotHeader, table_of,
};
use super::receive::refused;
use crate::error::StoreError;
use crate::limits::{
    FORMAT_VERSION, FORMAT_VERSION_OLDEST, SNAPSHOT_BUILD_BYTES, SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_HEADER_BYTES_MAX, SNAPSHOT_RECORD_BYTES_MAX,
};
use crate::site::Site;
use crate::state::{create_tables, definition};

/// Builds the state file `name`. Its caller syncs the names, or removes it after an error.
pub(super) fn build(
    site: &Site,
    file: &dyn StorageBackend,
    bytes: u64,
    last: LogId,
    cluster_id: Option<ClusterId>,
    name: &str,
) -> Result<SnapshotHeader, StoreError> {
    let mut source = Source { site, file, bytes, offset: 0, hash: Sha256::new() };
    let header = source.header()?;
    if header.last != last {
        return Err(refused(format!("it ends at {}, not at {last} as announced", header.last)));
    }
    if cluster_id.is_some_and(|ours| ours != header.cluster_id) {
        return Err(refused(format!("it is of cluster {}, not ours", header.cluster_id)));
    }
    let (target, database) = create_tables(&site.disk, name)?;
    let mut builder = Builder::new(target, database);
    let mut meta = None;
    source.pour(&mut |table, key, value| {
        note_meta(&mut meta, table, key, value)?;
        builder.push(table, key, value)
    })?;
    agree(&header, meta.as_ref())?;
    // The last commit syncs the file, with everything before it.
    builder.write()?;
    Ok(header)
}

/// Builds the state file `name`, of the restore that is the entry at `at`, the next one after `here`; the API index of the
/// restore.
pub(crate) fn build_restored(
    site: &Site,
    file: &dyn StorageBackend,
    bytes: u64,
    here: &Here,
    at: Position,
    name: &str,
) -> Result<ApiIndex, StoreError> {
    let mut source = Source { site, file, bytes, offset: 0, hash: Sha256::new() };
    let mut restored = Restored::new(here, at, source.header()?.api_index());
    let (target, database) = create_tables(&site.disk, name)?;
    let mut builder = Builder::new(target, database);
    source.pour(&mut |table, key, value| match table {
        Table::Keys => builder.push(table, key, &key_row(&mut restored, key, value)?),
        // The archive's clients, sessions, tombstones and numbers stay behind.
        Table::Tombstones
        | Table::TombstoneOrder
        | Table::Clients
        | Table::Meta
        | Table::Sessions
        | Table::SessionKeys
        | Table::LockDelays
        | Table::DelayedKeys
        // A cluster of an application's log is not restored, and an archive has none (K22).
        | Table::ApplicationLog => Ok(()),
    })?;
    if let Some((key, row)) = restored.lock_delay() {
        builder.push(Table::LockDelays, &key, &row)?;
    }
    builder.push(Table::Meta, Meta::KEY, &restored.meta().encode())?;
    builder.write()?;
    Ok(restored.index())
}

/// Looks at everything a restore will look at, so that one that was begun cannot fail for what it reads (S25).
pub(crate) fn check(
    site: &Site,
    file: &dyn StorageBackend,
    bytes: u64,
) -> Result<SnapshotHeader, StoreError> {
    let mut source = Source { site, file, bytes, offset: 0, hash: Sha256::new() };
    let header = source.header()?;
    if header.api_index() > ARCHIVE_INDEX_MAX {
        return Err(refused(format!("its index would be {}", header.api_index())));
    }
    let mut restored = Restored::new(&Here::default(), Position { index: 1, term: 1 }, header.api_index());
    let (mut meta, mut last) = (None, None);
    source.pour(&mut |table, key, value| {
        let here = (table, key.to_vec());
        if last.as_ref().is_some_and(|last| *last >= here) {
            return Err(refused("its records are not in order"));
        }
        last = Some(here);
        if table == Table::Keys {
            key_row(&mut restored, key, value)?;
        }
        note_meta(&mut meta, table, key, value)
    })?;
    agree(&header, meta.as_ref())?;
    Ok(header)
}

fn key_row(restored: &mut Restored, key: &[u8], value: &[u8]) -> Result<Bytes, StoreError> {
    restored.key_row(key, &Bytes::copy_from_slice(value)).map_err(|error| refused(error.to_string()))
}

/// Remembers the machine's own row when it comes by.
fn note_meta(meta: &mut Option<Meta>, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if table == Table::Meta && key == Meta::KEY {
        let found =
            Meta::decode(&Bytes::copy_from_slice(value)).map_err(|error| refused(error.to_string()))?;
        *meta = Some(found);
    }
    Ok(())
}

fn agree(header: &SnapshotHeader, meta: Option<&Meta>) -> Result<(), StoreError> {
    if meta.is_some_and(|meta| header.agrees_with(meta)) {
        return Ok(());
    }
    Err(refused("its header and its content are of different entries"))
}

/// What is done with each record.
type Take<'a> = dyn FnMut(Table, &[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Reads the file front to back, checking as it goes.
struct Source<'a> {
    site: &'a Site,
    file: &'a dyn StorageBackend,
    bytes: u64,
    offset: u64,
    hash: Sha256,
}

impl Source<'_> {
    fn read(&mut self, len: usize) -> Result<Vec<u8>, StoreError> {
        if len as u64 > self.bytes - self.offset {
            return Err(refused("it ends too early"));
        }
        let mut bytes = vec![0; len];
        self.file
            .read(self.offset, &mut bytes)
            .map_err(|error| self.site.io("reading a received snapshot", error))?;
        self.offset += len as u64;
        Ok(bytes)
    }

    fn hashed(&mut self, len: usize) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(len)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn header(&mut self) -> Result<SnapshotHeader, StoreError> {
        let preamble = self.hashed(PREAMBLE_BYTES)?;
        let (magic, numbers) = preamble.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(refused("it is no snapshot of quorate"));
        }
        let version = number(&numbers[..4]);
        if !(FORMAT_VERSION_OLDEST..=FORMAT_VERSION).contains(&version) {
            return Err(refused(format!(
                "it has format version {version}, this build reads {FORMAT_VERSION_OLDEST} to {FORMAT_VERSION}"
            )));
        }
        let len = size(&numbers[4..]);
        if len > SNAPSHOT_HEADER_BYTES_MAX {
            return Err(refused(format!("its header would have {len} bytes")));
        }
        let header = self.hashed(len)?;
        SnapshotHeader::decode(&header).map_err(|error| refused(error.to_string()))
    }

    /// The data of the next chunk; `None` at a good end.
    fn chunk(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.bytes - self.offset == END_BYTES as u64 {
            return self.end();
        }
        let header = self.hashed(CHUNK_HEADER_BYTES)?;
        let len = size(&header[..4]);
        if len == 0 || len > SNAPSHOT_CHUNK_BYTES {
            return Err(refused(format!("a chunk at {} would have {len} bytes", self.offset)));
        }
        let data = self.hashed(len)?;
        if crc32fast::hash(&data) != number(&header[4..]) {
            return Err(refused(format!("the chunk that ends at {} has a wrong checksum", self.offset)));
        }
        Ok(Some(data))
    }

    /// Gives every record to `take`, to the end of the file.
    fn pour(&mut self, take: &mut Take<'_>) -> Result<(), StoreError> {
        let mut data = Vec::new();
        while let Some(mut chunk) = self.chunk()? {
            data.append(&mut chunk);
            let used = records(&data, take)?;
            data.drain(..used);
        }
        if data.is_empty() { Ok(()) } else { Err(refused("it ends within a record")) }
    }

    fn end(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mark = self.read(4)?;
        let expected = self.hash.clone().finalize();
        let found = self.read(END_BYTES - mark.len())?;
        if mark != [0; 4] || found != expected.as_slice() {
            return Err(refused("the checksum of the whole does not match"));
        }
        Ok(None)
    }
}

/// Writes rows in bounded transactions; they count only once the log names the file.
struct Builder {
    site: Site,
    database: Database,
    rows: Vec<(Table, Vec<u8>, Vec<u8>)>,
    rows_bytes: usize,
}

/// Gives all whole records in `data` to `take`; how many bytes those are.
fn records(data: &[u8], take: &mut Take<'_>) -> Result<usize, StoreError> {
    let mut used = 0;
    while let Some((header, rest)) = data[used..].split_at_checked(RECORD_HEADER_BYTES) {
        let table = table_of(header[0]).ok_or_else(|| refused(format!("table {} is unknown", header[0])))?;
        let (key_len, value_len) = (size(&header[1..5]), size(&header[5..]));
        if key_len > SNAPSHOT_RECORD_BYTES_MAX || value_len > SNAPSHOT_RECORD_BYTES_MAX {
            return Err(refused(format!("a record would have {key_len} + {value_len} bytes")));
        }
        let Some((record, _)) = rest.split_at_checked(key_len + value_len) else { break };
        let (key, value) = record.split_at(key_len);
        take(table, key, value)?;
        used += RECORD_HEADER_BYTES + key_len + value_len;
    }
    Ok(used)
}

impl Builder {
    fn new(site: Site, database: Database) -> Self {
        Self { site, database, rows: Vec::new(), rows_bytes: 0 }
    }

    fn push(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.rows_bytes += key.len() + value.len();
        self.rows.push((table, key.to_vec(), value.to_vec()));
        if self.rows_bytes >= SNAPSHOT_BUILD_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.rows_bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        match write_rows(&self.database, &rows) {
            Ok(()) => Ok(()),
            Err(redb::Error::UnorderedKey) => Err(refused("its records are not in order")),
            Err(error) => Err(self.site.redb("building the state from a snapshot", error)),
        }
    }
}

fn write_rows(database: &Database, rows: &[(Table, Vec<u8>, Vec<u8>)]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    for run in rows.chunk_by(|one, next| one.0 == next.0) {
        let Some((table, ..)) = run.first() else { continue };
        let mut table = transaction.open_table(definition(*table))?;
        let mut cursor = table.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
        for (_, key, value) in run {
            cursor.insert_before(key.as_slice(), value.as_slice())?;
        }
        cursor.close()?;
    }
    transaction.commit()?;
    Ok(())
}

/// A little-endian u32 from exactly four bytes, which the callers cut.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn size(bytes: &[u8]) -> usize {
    usize::try_from(number(bytes)).unwrap_or(usize::MAX)
}
