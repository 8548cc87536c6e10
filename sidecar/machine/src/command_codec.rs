//! The bytes of a command in the log (format 1).
//!
//! ```text
//! tagged  = version u8 = 1 | 0 | command   or   version | 1 | client | sequence | acked_below | command
//! command = kind u8 | fields in the order of the enum
//! ```
//! Numbers, byte strings and lists as in `codec`. A new kind or field comes with a new version, which is written
//! only once the cluster version allows it (K24); a kind number is never reused.

use bytes::Bytes;

use crate::application::{read_snapshot, write_snapshot};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{ApiIndex, ClientId, Command, Owner, RestoreOrder, SettingsMode, Tag, Tagged, TxnOp};
use crate::servers;
use crate::session::SessionId;
use crate::session_codec::{read_id, read_spec, write_id, write_spec};
use crate::settings_codec;

const VERSION: u8 = 1;

const PUT: u8 = 1;
const COMPARE_AND_SET: u8 = 2;
const DELETE: u8 = 3;
const DELETE_PREFIX: u8 = 4;
const TXN: u8 = 5;
const REGISTER_CLIENT: u8 = 6;
const SET_AUTOPILOT: u8 = 7;
const RESTORE: u8 = 8;
const ACQUIRE: u8 = 9;
const RELEASE: u8 = 10;
const CREATE_SESSION: u8 = 11;
const DESTROY_SESSION: u8 = 12;
const END_LOCK_DELAY: u8 = 13;
const REMEMBER_SERVERS: u8 = 14;
const PROPOSE: u8 = 15;
const TRIM: u8 = 16;
const RECORD_SNAPSHOT: u8 = 17;

const OP_SET: u8 = 1;
const OP_CAS: u8 = 2;
const OP_GET: u8 = 3;
const OP_GET_OR_EMPTY: u8 = 4;
const OP_GET_TREE: u8 = 5;
const OP_DELETE: u8 = 6;
const OP_DELETE_TREE: u8 = 7;
const OP_DELETE_CAS: u8 = 8;
const OP_CHECK_INDEX: u8 = 9;
const OP_CHECK_NOT_EXISTS: u8 = 10;
const OP_LOCK: u8 = 11;
const OP_UNLOCK: u8 = 12;
const OP_CHECK_SESSION: u8 = 13;

/// What an envelope and a command's fixed fields take at most; only a first guess for the buffer.
const FIXED_BYTES: usize = 64;

impl Tagged {
    /// The bytes for the log.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::with_capacity(FIXED_BYTES + self.command.payload_bytes());
        to.byte(VERSION);
        match self.tag {
            None => to.byte(0),
            Some(Tag { client, sequence, acked_below }) => {
                to.byte(1);
                to.number(client.0);
                to.number(sequence);
                to.number(acked_below);
            }
        }
        encode(&mut to, &self.command);
        to.finish()
    }

    /// Read an entry's bytes. Keys and values share the entry's memory.
    pub fn decode(entry: &Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(entry);
        from.version("command", VERSION)?;
        let tag = if from.flag("tag")? {
            Some(Tag {
                client: ClientId(from.number("client")?),
                sequence: from.number("sequence")?,
                acked_below: from.number("acked_below")?,
            })
        } else {
            None
        };
        let command = decode(&mut from)?;
        from.end()?;
        Ok(Self { tag, command })
    }

    /// The order in an entry's bytes if they are a restore; looked at before an entry is applied, and cheap for any other.
    pub fn restore_order(entry: &Bytes) -> Option<RestoreOrder> {
        if !entry.starts_with(&[VERSION, 0, RESTORE]) {
            return None;
        }
        match Self::decode(entry) {
            Ok(Self { command: Command::Restore(order), .. }) => Some(order),
            _ => None,
        }
    }
}

fn encode(to: &mut Writer, command: &Command) {
    match command {
        Command::Put { key, value, flags } => {
            to.byte(PUT);
            write(to, key, value, *flags);
        }
        Command::CompareAndSet { key, value, flags, expected } => {
            to.byte(COMPARE_AND_SET);
            write(to, key, value, *flags);
            to.number(expected.0);
        }
        Command::Delete { key, expected } => {
            payload(to, DELETE, key);
            optional_index(to, *expected);
        }
        Command::DeletePrefix { prefix } => payload(to, DELETE_PREFIX, prefix),
        Command::Txn(ops) => {
            to.byte(TXN);
            to.count(ops.len());
            for op in ops {
                encode_op(to, op);
            }
        }
        Command::RegisterClient { owner } => {
            to.byte(REGISTER_CLIENT);
            to.byte(u8::from(owner.is_some()));
            if let Some(owner) = owner {
                to.bytes(owner.0.as_bytes());
            }
        }
        Command::SetAutopilot { change, mode, expected } => {
            to.byte(SET_AUTOPILOT);
            to.byte(match mode {
                SettingsMode::Merge => 0,
                SettingsMode::Replace => 1,
            });
            optional_index(to, *expected);
            settings_codec::encode(to, change);
        }
        Command::RememberServers(servers) => {
            to.byte(REMEMBER_SERVERS);
            servers::encode(to, servers);
        }
        Command::Restore(RestoreOrder { sha256, bytes }) => {
            payload(to, RESTORE, sha256);
            to.number(*bytes);
        }
        Command::Acquire { key, value, flags, session } => {
            to.byte(ACQUIRE);
            write(to, key, value, *flags);
            write_id(to, *session);
        }
        Command::Release { key, value, flags, session } => {
            to.byte(RELEASE);
            write(to, key, value, *flags);
            write_id(to, *session);
        }
        Command::CreateSession(spec) => {
            to.byte(CREATE_SESSION);
            write_spec(to, spec);
        }
        Command::DestroySession { session } => end(to, DESTROY_SESSION, *session),
        Command::EndLockDelay { session } => end(to, END_LOCK_DELAY, *session),
        Command::Propose { data } => payload(to, PROPOSE, data),
        Command::Trim { upto } => {
            to.byte(TRIM);
            to.number(upto.0);
        }
        Command::RecordSnapshot(snapshot) => write_snapshot(to, RECORD_SNAPSHOT, snapshot),
    }
}

fn payload(to: &mut Writer, kind: u8, bytes: &[u8]) {
    to.byte(kind);
    to.bytes(bytes);
}

fn end(to: &mut Writer, kind: u8, session: SessionId) {
    to.byte(kind);
    write_id(to, session);
}

fn decode(from: &mut Reader<'_>) -> Result<Command, DecodeError> {
    Ok(match from.byte("command kind")? {
        PUT => {
            let (key, value, flags) = read(from)?;
            Command::Put { key, value, flags }
        }
        COMPARE_AND_SET => {
            let (key, value, flags) = read(from)?;
            Command::CompareAndSet { key, value, flags, expected: index(from)? }
        }
        DELETE => Command::Delete { key: from.bytes("key")?, expected: read_optional_index(from)? },
        DELETE_PREFIX => Command::DeletePrefix { prefix: from.bytes("prefix")? },
        TXN => Command::Txn(from.list("operations", decode_op)?),
        REGISTER_CLIENT => {
            let owner = if from.flag("owner")? { Some(Owner(from.text("owner")?)) } else { None };
            Command::RegisterClient { owner }
        }
        SET_AUTOPILOT => {
            let mode = match from.byte("settings mode")? {
                0 => SettingsMode::Merge,
                1 => SettingsMode::Replace,
                tag => return Err(DecodeError::UnknownTag { what: "settings mode", tag: u64::from(tag) }),
            };
            let expected = read_optional_index(from)?;
            Command::SetAutopilot { change: settings_codec::decode(from)?, mode, expected }
        }
        REMEMBER_SERVERS => Command::RememberServers(servers::decode(from)?),
        RESTORE => {
            let sha256 = <[u8; 32]>::try_from(&*from.bytes("sha256")?);
            let sha256 = sha256.map_err(|_| DecodeError::OutOfRange { what: "length of a SHA-256" })?;
            Command::Restore(RestoreOrder { sha256, bytes: from.number("bytes of the state")? })
        }
        ACQUIRE => {
            let (key, value, flags) = read(from)?;
            Command::Acquire { key, value, flags, session: read_id(from)? }
        }
        RELEASE => {
            let (key, value, flags) = read(from)?;
            Command::Release { key, value, flags, session: read_id(from)? }
        }
        CREATE_SESSION => Command::CreateSession(Box::new(read_spec(from)?)),
        DESTROY_SESSION => Command::DestroySession { session: read_id(from)? },
        END_LOCK_DELAY => Command::EndLockDelay { session: read_id(from)? },
        PROPOSE => Command::Propose { data: from.bytes("data")? },
        TRIM => Command::Trim { upto: ApiIndex(from.number("upto")?) },
        RECORD_SNAPSHOT => Command::RecordSnapshot(read_snapshot(from)?),
        tag => return Err(DecodeError::UnknownTag { what: "command kind", tag: u64::from(tag) }),
    })
}

fn encode_op(to: &mut Writer, op: &TxnOp) {
    let plain = |to: &mut Writer, kind, key: &Bytes| {
        to.byte(kind);
        to.bytes(key);
    };
    match op {
        TxnOp::Set { key, value, flags } => {
            to.byte(OP_SET);
            write(to, key, value, *flags);
        }
        TxnOp::Cas { key, value, flags, expected } => {
            to.byte(OP_CAS);
            write(to, key, value, *flags);
            to.number(expected.0);
        }
        TxnOp::Get { key } => plain(to, OP_GET, key),
        TxnOp::GetOrEmpty { key } => plain(to, OP_GET_OR_EMPTY, key),
        TxnOp::GetTree { prefix } => plain(to, OP_GET_TREE, prefix),
        TxnOp::Delete { key } => plain(to, OP_DELETE, key),
        TxnOp::DeleteTree { prefix } => plain(to, OP_DELETE_TREE, prefix),
        TxnOp::DeleteCas { key, expected } => {
            plain(to, OP_DELETE_CAS, key);
            to.number(expected.0);
        }
        TxnOp::CheckIndex { key, expected } => {
            plain(to, OP_CHECK_INDEX, key);
            to.number(expected.0);
        }
        TxnOp::CheckNotExists { key } => plain(to, OP_CHECK_NOT_EXISTS, key),
        TxnOp::Lock { key, value, flags, session } => {
            to.byte(OP_LOCK);
            write(to, key, value, *flags);
            to.bytes(session.as_bytes());
        }
        TxnOp::Unlock { key, value, flags, session } => {
            to.byte(OP_UNLOCK);
            write(to, key, value, *flags);
            to.bytes(session.as_bytes());
        }
        TxnOp::CheckSession { key, session } => {
            plain(to, OP_CHECK_SESSION, key);
            to.bytes(session.as_bytes());
        }
    }
}

fn decode_op(from: &mut Reader<'_>) -> Result<TxnOp, DecodeError> {
    let kind = from.byte("operation kind")?;
    Ok(match kind {
        OP_SET => {
            let (key, value, flags) = read(from)?;
            TxnOp::Set { key, value, flags }
        }
        OP_CAS => {
            let (key, value, flags) = read(from)?;
            TxnOp::Cas { key, value, flags, expected: index(from)? }
        }
        OP_GET => TxnOp::Get { key: from.bytes("key")? },
        OP_GET_OR_EMPTY => TxnOp::GetOrEmpty { key: from.bytes("key")? },
        OP_GET_TREE => TxnOp::GetTree { prefix: from.bytes("prefix")? },
        OP_DELETE => TxnOp::Delete { key: from.bytes("key")? },
        OP_DELETE_TREE => TxnOp::DeleteTree { prefix: from.bytes("prefix")? },
        OP_DELETE_CAS => TxnOp::DeleteCas { key: from.bytes("key")?, expected: index(from)? },
        OP_CHECK_INDEX => TxnOp::CheckIndex { key: from.bytes("key")?, expected: index(from)? },
        OP_CHECK_NOT_EXISTS => TxnOp::CheckNotExists { key: from.bytes("key")? },
        OP_LOCK => {
            let (key, value, flags) = read(from)?;
            TxnOp::Lock { key, value, flags, session: from.text("session")? }
        }
        OP_UNLOCK => {
            let (key, value, flags) = read(from)?;
            TxnOp::Unlock { key, value, flags, session: from.text("session")? }
        }
        OP_CHECK_SESSION => TxnOp::CheckSession { key: from.bytes("key")?, session: from.text("session")? },
        tag => return Err(DecodeError::UnknownTag { what: "operation kind", tag: u64::from(tag) }),
    })
}

fn write(to: &mut Writer, key: &[u8], value: &[u8], flags: u64) {
    to.bytes(key);
    to.bytes(value);
    to.number(flags);
}

fn read(from: &mut Reader<'_>) -> Result<(Bytes, Bytes, u64), DecodeError> {
    Ok((from.bytes("key")?, from.bytes("value")?, from.number("flags")?))
}

fn index(from: &mut Reader<'_>) -> Result<ApiIndex, DecodeError> {
    from.number("expected index").map(ApiIndex)
}

fn optional_index(to: &mut Writer, index: Option<ApiIndex>) {
    to.byte(u8::from(index.is_some()));
    if let Some(index) = index {
        to.number(index.0);
    }
}

fn read_optional_index(from: &mut Reader<'_>) -> Result<Option<ApiIndex>, DecodeError> {
    if from.flag("expected index")? { index(from).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::generate;

    proptest! {
        /// K24: what one member writes, every other reads as the same command.
        #[test]
        fn a_command_survives_its_bytes(tagged in generate::tagged()) {
            prop_assert_eq!(Tagged::decode(&tagged.encode()).unwrap(), tagged);
        }
    }

    /// Architecture: a newer format is refused, and the message says which version it is.
    #[test]
    fn a_newer_command_is_refused_by_its_version() {
        let mut bytes = Tagged { tag: None, command: Command::Txn(vec![]) }.encode().to_vec();
        bytes[0] = VERSION + 1;
        let error = Tagged::decode(&bytes.into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "command has format version 2, this binary knows up to 1: run a newer version of quorate on this member"
        );
    }

    /// The format is on disks: these bytes must be readable for as long as version 1 is.
    #[test]
    fn version_1_bytes_are_what_they_were() {
        let put = Tagged {
            tag: Some(Tag { client: ClientId(300), sequence: 7, acked_below: 5 }),
            command: Command::Put { key: "k".into(), value: "value".into(), flags: 42 },
        };
        assert_eq!(&put.encode()[..], b"\x01\x01\xac\x02\x07\x05\x01\x01k\x05value\x2a");
        let delete =
            Tagged { tag: None, command: Command::Delete { key: "k".into(), expected: Some(ApiIndex(9)) } };
        assert_eq!(&delete.encode()[..], b"\x01\x00\x03\x01k\x01\x09");
    }

    /// A list that claims more items than there are bytes is refused before anything is allocated for it.
    #[test]
    fn a_lying_count_is_refused() {
        let bytes = Bytes::from_static(b"\x01\x00\x05\xff\xff\xff\xff\x0f");
        assert_eq!(Tagged::decode(&bytes), Err(DecodeError::Truncated { what: "operations" }));
    }
}
