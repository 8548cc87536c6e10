//! Rows of the log: many entries in one value.
//!
//! ```text
//!   key = index of the first entry │ version u8 │ entry … entry │ crc32
//!   entry = term u64 │ kind u8 │ length u32 │ payload
//! ```
//!
//! Entries of a row are consecutive, so only the first index is stored, as the key. A row is at most
//! [`ROW_BYTES_MAX`], or holds one single larger entry.

use std::borrow::Cow;

use bytes::Bytes;
use quorate_raft::{Entry, Index, Payload, Term};

use super::configuration;
use super::record::{CRC_BYTES, DecodeError, Reader, Writer};
use crate::limits::ROW_BYTES_MAX;

/// Version of a row. Changes with the format version of the file.
const ROW_VERSION: u8 = 1;

/// Bytes of an entry beside its payload.
const ENTRY_HEADER_BYTES: usize = 8 + 1 + 4;

// Stored numbers of kinds: never changed, never reused.
const KIND_NOOP: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_CONFIGURATION: u8 = 2;
const KIND_BARRIER: u8 = 3;

/// Packs consecutive entries into rows, in order.
pub(crate) fn pack(entries: &[Entry]) -> Vec<(Index, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut open: Option<(Index, Writer)> = None;
    for entry in entries {
        let (kind, payload) = encode_payload(&entry.payload);
        let bytes = ENTRY_HEADER_BYTES + payload.len() + CRC_BYTES;
        if open.as_ref().is_some_and(|(_, row)| row.len() + bytes > ROW_BYTES_MAX) {
            rows.extend(open.take());
        }
        let (_, row) = open.get_or_insert_with(|| (entry.index, Writer::new(ROW_VERSION)));
        row.u64(entry.term.0).u8(kind).bytes(&payload);
    }
    rows.extend(open);
    rows.into_iter().map(|(first, row)| (first, row.seal())).collect()
}

/// The entries of a row whose key is `first`. Payloads share the row's memory.
pub(crate) fn unpack(first: Index, row: &Bytes) -> Result<Vec<Entry>, DecodeError> {
    let mut reader = Reader::open(row, ROW_VERSION)?;
    let mut entries = Vec::new();
    let mut index = first;
    while !reader.is_at_end() {
        let term = Term(reader.u64()?);
        let kind = reader.u8()?;
        let payload = decode_payload(kind, reader.bytes()?, row)?;
        entries.push(Entry { term, index, payload });
        index = Index(
            index.0.checked_add(1).ok_or_else(|| DecodeError::damaged("a row's index is out of range"))?,
        );
    }
    Ok(entries)
}

fn encode_payload(payload: &Payload) -> (u8, Cow<'_, [u8]>) {
    match payload {
        Payload::Noop => (KIND_NOOP, Cow::Borrowed(&[])),
        Payload::Command(command) => (KIND_COMMAND, Cow::Borrowed(command)),
        Payload::Configuration(configuration) => {
            (KIND_CONFIGURATION, Cow::Owned(configuration::encode(configuration).into()))
        }
        Payload::Barrier => (KIND_BARRIER, Cow::Borrowed(&[])),
    }
}

fn decode_payload(kind: u8, bytes: &[u8], row: &Bytes) -> Result<Payload, DecodeError> {
    match (kind, bytes) {
        (KIND_NOOP, []) => Ok(Payload::Noop),
        (KIND_COMMAND, command) => Ok(Payload::Command(row.slice_ref(command))),
        (KIND_CONFIGURATION, encoded) => Ok(Payload::Configuration(configuration::decode(encoded)?)),
        (KIND_BARRIER, []) => Ok(Payload::Barrier),
        (kind, bytes) => Err(DecodeError::damaged(format!(
            "an entry of kind {kind} with {} bytes is unknown to this build",
            bytes.len()
        ))),
    }
}
