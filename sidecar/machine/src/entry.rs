//! One key and its row: what clients see of it, and the bytes it is stored as.
//!
//! Row, little endian: `format u8 = 1 | flags u64 | create u64 | modify u64 | lock_index u64 |
//! session_bytes u8 = 0 or 16 | session, big endian | value`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::DecodeError;
use crate::command::ApiIndex;
use crate::session::SessionId;
use crate::session_codec::{ID_BYTES, id_of};

const FORMAT: u8 = 1;
const SESSION_AT: usize = 1 + 4 * 8;
/// Bytes of a session in a row.
const SESSION_BYTES: u8 = 16;
const _: () = assert!(SESSION_BYTES as usize == ID_BYTES, "a session is stored by its ID");
/// Without a session.
const HEADER_BYTES: usize = SESSION_AT + 1;

/// A key with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvEntry {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only the entry's marks were asked for.
    pub value: Bytes,
    /// The client's own mark.
    pub flags: u64,
    /// The index at which the key came into being.
    pub create_index: ApiIndex,
    /// The index of its last change.
    pub modify_index: ApiIndex,
    /// How often the key was locked since it was last plainly written.
    pub lock_index: u64,
    /// Who holds it.
    pub session: Option<SessionId>,
}

impl KvEntry {
    /// The same entry with an empty value.
    #[must_use]
    pub fn without_value(mut self) -> Self {
        self.value = Bytes::new();
        self
    }

    /// What `get-or-empty` answers for a missing key.
    pub(crate) fn missing(key: Bytes) -> Self {
        let (create_index, modify_index) = (ApiIndex::MISSING, ApiIndex::MISSING);
        Self { key, value: Bytes::new(), flags: 0, create_index, modify_index, lock_index: 0, session: None }
    }

    /// The entry without its value.
    pub(crate) fn of_head(key: Bytes, head: &Head) -> Self {
        Self {
            key,
            value: Bytes::new(),
            flags: head.flags,
            create_index: head.create_index,
            modify_index: head.modify_index,
            lock_index: head.lock_index,
            session: head.session,
        }
    }

    pub(crate) fn to_row(&self) -> Bytes {
        let Self { flags, create_index, modify_index, lock_index, session, .. } = *self;
        Head { flags, create_index, modify_index, lock_index, session }.to_row(&self.value)
    }

    /// The entry of a row; its value shares the row's memory.
    pub(crate) fn from_row(key: Bytes, row: &Bytes) -> Result<Self, DecodeError> {
        let head = Head::of(row)?;
        Ok(Self { value: row.slice(head.value_at()..), ..Self::of_head(key, &head) })
    }
}

/// A row without its value: enough for indexes and conditions.
pub(crate) struct Head {
    pub(crate) flags: u64,
    pub(crate) create_index: ApiIndex,
    pub(crate) modify_index: ApiIndex,
    pub(crate) lock_index: u64,
    pub(crate) session: Option<SessionId>,
}

impl Head {
    /// Where the value begins in its row.
    pub(crate) fn value_at(&self) -> usize {
        HEADER_BYTES + self.session.map_or(0, |_| ID_BYTES)
    }

    pub(crate) fn to_row(&self, value: &[u8]) -> Bytes {
        let mut row = BytesMut::with_capacity(self.value_at() + value.len());
        row.put_u8(FORMAT);
        row.put_u64_le(self.flags);
        row.put_u64_le(self.create_index.0);
        row.put_u64_le(self.modify_index.0);
        row.put_u64_le(self.lock_index);
        match self.session {
            None => row.put_u8(0),
            Some(session) => {
                row.put_u8(SESSION_BYTES);
                row.put_u128(session.0);
            }
        }
        row.put_slice(value);
        row.freeze()
    }

    pub(crate) fn of(row: &[u8]) -> Result<Self, DecodeError> {
        let format = *row.first().ok_or(DecodeError::Truncated { what: "row format" })?;
        if format > FORMAT {
            return Err(DecodeError::NewerVersion { what: "key row", found: format, known: FORMAT });
        }
        if row.len() < HEADER_BYTES {
            return Err(DecodeError::Truncated { what: "key row" });
        }
        let session = match usize::from(row[SESSION_AT]) {
            0 => None,
            ID_BYTES => {
                let id = row.get(HEADER_BYTES..HEADER_BYTES + ID_BYTES);
                Some(id_of(id.ok_or(DecodeError::Truncated { what: "key row" })?)?)
            }
            _ => return Err(DecodeError::OutOfRange { what: "length of a session's ID" }),
        };
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&row[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Self {
            flags: number(1),
            create_index: ApiIndex(number(9)),
            modify_index: ApiIndex(number(17)),
            lock_index: number(25),
            session,
        })
    }
}

/// A key as a message shows it: printable, and cut after 64 bytes.
pub struct KeyText<'a>(pub &'a [u8]);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES_MAX: usize = 64;
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        for chunk in shown.utf8_chunks() {
            for letter in chunk.valid().chars() {
                if letter.is_control() {
                    write!(f, "{}", letter.escape_default())?;
                } else {
                    write!(f, "{letter}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if self.0.len() > SHOWN_BYTES_MAX { write!(f, "…") } else { Ok(()) }
    }
}
