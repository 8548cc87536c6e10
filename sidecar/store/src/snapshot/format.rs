//! The snapshot file, byte by byte (drawn in `FORMAT.md`).
//!
//! ```text
//!   magic 16 │ version u32 │ header length u32 │ header record
//!   chunk: length u32 │ crc32 u32 │ data           … each full but the last
//!   end:   length u32 = 0 │ sha256 of everything before the end
//!   data of all chunks, joined: table u8 │ key length u32 │ value length u32 │ key │ value …
//! ```
//!
//! Invariant: a reader allocates no more than the limits here, whatever the bytes say.

use quorate_machine::{ApiIndex, Meta, Table};
use quorate_raft::{ClusterId, IndexedConfiguration, LogId, SnapshotMeta};

use crate::codec::configuration::{read_indexed, write_indexed};
use crate::codec::meta::{read_log_id, write_log_id};
use crate::codec::record::{DecodeError, Reader, Writer};

/// The first bytes of every snapshot file.
pub(super) const MAGIC: &[u8; 16] = b"quorate snapshot";

/// Bytes before the header record.
pub(super) const PREAMBLE_BYTES: usize = MAGIC.len() + 4 + 4;

/// Bytes before a chunk's data.
pub(super) const CHUNK_HEADER_BYTES: usize = 4 + 4;

/// Bytes of the end: a length of zero, and the hash.
pub(super) const END_BYTES: usize = 4 + 32;

/// Bytes before a record's key.
pub(super) const RECORD_HEADER_BYTES: usize = 1 + 4 + 4;

const HEADER_VERSION: u8 = 1;

/// What a snapshot file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The cluster it was taken in.
    pub cluster_id: ClusterId,
    /// The last entry it contains.
    pub last: LogId,
    /// The configuration in effect there, with its index (K4).
    pub configuration: IndexedConfiguration,
    /// API index = log index + this (K17).
    pub index_base: u64,
}

impl SnapshotHeader {
    /// As the core wants it.
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last: self.last, configuration: self.configuration.clone() }
    }

    /// The API index of its last entry.
    pub fn api_index(&self) -> ApiIndex {
        ApiIndex(self.last.index.0.saturating_add(self.index_base))
    }

    /// Whether the machine's own row says the same.
    pub(super) fn agrees_with(&self, meta: &Meta) -> bool {
        meta.applied.index == self.last.index.0
            && meta.applied.term == self.last.term.0
            && meta.index_base == self.index_base
            && meta.configuration.as_ref().is_some_and(|applied| applied.index == self.configuration.index.0)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(HEADER_VERSION);
        writer.u128(self.cluster_id.0);
        write_log_id(&mut writer, self.last);
        write_indexed(&mut writer, &self.configuration);
        writer.u64(self.index_base);
        writer.seal()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::open(bytes, HEADER_VERSION)?;
        let header = Self {
            cluster_id: ClusterId(reader.u128()?),
            last: read_log_id(&mut reader)?,
            configuration: read_indexed(&mut reader)?,
            index_base: reader.u64()?,
        };
        reader.end()?;
        Ok(header)
    }
}

/// Stored numbers of tables: never changed, never reused.
pub(super) fn table_number(table: Table) -> u8 {
    match table {
        Table::Keys => 1,
        Table::Tombstones => 2,
        Table::TombstoneOrder => 3,
        Table::Clients => 4,
        Table::Meta => 5,
        Table::Sessions => 6,
        Table::SessionKeys => 7,
        Table::LockDelays => 8,
        Table::DelayedKeys => 9,
        Table::ApplicationLog => 10,
    }
}

pub(super) fn table_of(number: u8) -> Option<Table> {
    Table::ALL.into_iter().find(|&table| table_number(table) == number)
}
