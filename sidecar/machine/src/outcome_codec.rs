//! The bytes of an outcome: kept for retries in the clients' rows (K20), and sent back to the member that
//! forwarded the command.
//!
//! `version u8 = 1 | kind u8 | fields in the order of the enum`.

use bytes::Bytes;

use crate::application::Mode;
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{ApiIndex, ClientId};
use crate::entry::KvEntry;
use crate::outcome::{Obstacle, Outcome, Refusal, TxnFailure, TxnFailureReason};
use crate::session_codec::{read_id, write_id};

const VERSION: u8 = 1;

impl Outcome {
    /// The outcome's bytes.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::default();
        to.byte(VERSION);
        match self {
            Self::Written { modify_index } => {
                to.byte(1);
                to.number(modify_index.0);
            }
            Self::Mismatch { modify_index } => {
                to.byte(2);
                // An index is never 0, so 0 can say "missing".
                to.number(modify_index.unwrap_or_default().0);
            }
            Self::Deleted { existed } => {
                to.byte(3);
                to.byte(u8::from(*existed));
            }
            Self::Txn(entries) => {
                to.byte(4);
                to.count(entries.len());
                for entry in entries {
                    encode_entry(&mut to, entry);
                }
            }
            Self::TxnFailed(failures) => {
                to.byte(5);
                to.count(failures.len());
                for failure in failures {
                    to.number(u64::from(failure.op_index));
                    encode_reason(&mut to, &failure.reason);
                }
            }
            Self::Registered { client } => {
                to.byte(6);
                to.number(client.0);
            }
            Self::Refused(refusal) => {
                to.byte(7);
                encode_refusal(&mut to, refusal);
            }
            Self::Acquired { modify_index, lock_index } => {
                to.byte(8);
                to.number(modify_index.0);
                to.number(*lock_index);
            }
            Self::NotAcquired(Obstacle::Held { holder }) => {
                to.byte(9);
                write_id(&mut to, *holder);
            }
            Self::NotAcquired(Obstacle::LockDelay) => to.byte(10),
            Self::NotHeld => to.byte(11),
            Self::SessionCreated { session } => {
                to.byte(12);
                write_id(&mut to, *session);
            }
        }
        to.finish()
    }

    /// Read an outcome's bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        from.version("outcome", VERSION)?;
        let outcome = match from.byte("outcome kind")? {
            1 => Self::Written { modify_index: index(&mut from)? },
            2 => {
                let found = index(&mut from)?;
                Self::Mismatch { modify_index: (found != ApiIndex::MISSING).then_some(found) }
            }
            3 => Self::Deleted { existed: from.flag("existed")? },
            4 => Self::Txn(from.list("results", decode_entry)?),
            5 => Self::TxnFailed(from.list("failures", |from| {
                Ok(TxnFailure { op_index: from.number_u32("operation index")?, reason: decode_reason(from)? })
            })?),
            6 => Self::Registered { client: ClientId(from.number("client")?) },
            7 => Self::Refused(decode_refusal(&mut from)?),
            8 => Self::Acquired { modify_index: index(&mut from)?, lock_index: from.number("lock index")? },
            9 => Self::NotAcquired(Obstacle::Held { holder: read_id(&mut from)? }),
            10 => Self::NotAcquired(Obstacle::LockDelay),
            11 => Self::NotHeld,
            12 => Self::SessionCreated { session: read_id(&mut from)? },
            tag => return Err(DecodeError::UnknownTag { what: "outcome kind", tag: u64::from(tag) }),
        };
        from.end()?;
        Ok(outcome)
    }
}

fn index(from: &mut Reader<'_>) -> Result<ApiIndex, DecodeError> {
    from.number("index").map(ApiIndex)
}

fn encode_entry(to: &mut Writer, entry: &KvEntry) {
    to.bytes(&entry.key);
    to.bytes(&entry.value);
    for number in [entry.flags, entry.create_index.0, entry.modify_index.0, entry.lock_index] {
        to.number(number);
    }
    to.byte(u8::from(entry.session.is_some()));
    if let Some(session) = entry.session {
        write_id(to, session);
    }
}

fn decode_entry(from: &mut Reader<'_>) -> Result<KvEntry, DecodeError> {
    Ok(KvEntry {
        key: from.bytes("key")?,
        value: from.bytes("value")?,
        flags: from.number("flags")?,
        create_index: index(from)?,
        modify_index: index(from)?,
        lock_index: from.number("lock index")?,
        session: if from.flag("session")? { Some(read_id(from)?) } else { None },
    })
}

fn encode_reason(to: &mut Writer, reason: &TxnFailureReason) {
    let (kind, key): (u8, &[u8]) = match reason {
        TxnFailureReason::Missing { key } => (1, key),
        TxnFailureReason::SetStale { key } => (2, key),
        TxnFailureReason::DeleteStale { key } => (3, key),
        TxnFailureReason::CheckMissing { key } => (4, key),
        TxnFailureReason::CheckStale { key, .. } => (5, key),
        TxnFailureReason::Exists { key } => (6, key),
        TxnFailureReason::ResultTooLarge { .. } => (7, b""),
        TxnFailureReason::SessionEmpty => (8, b""),
        TxnFailureReason::InvalidSession { .. } => (9, b""),
        TxnFailureReason::LockHeld { key } => (10, key),
        TxnFailureReason::LockDelay { key } => (11, key),
        TxnFailureReason::TooManySessionKeys { key, .. } => (12, key),
        TxnFailureReason::NotHeld { key } => (13, key),
        TxnFailureReason::CheckSessionMissing { key } => (14, key),
        TxnFailureReason::CheckSessionOther { key, .. } => (15, key),
    };
    to.byte(kind);
    to.bytes(key);
    match reason {
        TxnFailureReason::CheckStale { actual, expected, .. } => {
            to.number(actual.0);
            to.number(expected.0);
        }
        TxnFailureReason::ResultTooLarge { limit } | TxnFailureReason::TooManySessionKeys { limit, .. } => {
            to.count(*limit);
        }
        TxnFailureReason::InvalidSession { session } => to.bytes(session.as_bytes()),
        TxnFailureReason::CheckSessionOther { actual, expected, .. } => {
            to.bytes(actual.as_bytes());
            to.bytes(expected.as_bytes());
        }
        TxnFailureReason::Missing { .. }
        | TxnFailureReason::SetStale { .. }
        | TxnFailureReason::DeleteStale { .. }
        | TxnFailureReason::CheckMissing { .. }
        | TxnFailureReason::Exists { .. }
        | TxnFailureReason::SessionEmpty
        | TxnFailureReason::LockHeld { .. }
        | TxnFailureReason::LockDelay { .. }
        | TxnFailureReason::NotHeld { .. }
        | TxnFailureReason::CheckSessionMissing { .. } => {}
    }
}

fn decode_reason(from: &mut Reader<'_>) -> Result<TxnFailureReason, DecodeError> {
    let kind = from.byte("failure kind")?;
    let key = from.bytes("key")?;
    Ok(match kind {
        1 => TxnFailureReason::Missing { key },
        2 => TxnFailureReason::SetStale { key },
        3 => TxnFailureReason::DeleteStale { key },
        4 => TxnFailureReason::CheckMissing { key },
        5 => TxnFailureReason::CheckStale { key, actual: index(from)?, expected: index(from)? },
        6 => TxnFailureReason::Exists { key },
        7 => TxnFailureReason::ResultTooLarge { limit: from.size("limit")? },
        8 => TxnFailureReason::SessionEmpty,
        9 => TxnFailureReason::InvalidSession { session: from.text("session")? },
        10 => TxnFailureReason::LockHeld { key },
        11 => TxnFailureReason::LockDelay { key },
        12 => TxnFailureReason::TooManySessionKeys { key, limit: from.size("limit")? },
        13 => TxnFailureReason::NotHeld { key },
        14 => TxnFailureReason::CheckSessionMissing { key },
        15 => TxnFailureReason::CheckSessionOther {
            key,
            actual: from.text("session")?,
            expected: from.text("session")?,
        },
        tag => return Err(DecodeError::UnknownTag { what: "failure kind", tag: u64::from(tag) }),
    })
}

fn encode_refusal(to: &mut Writer, refusal: &Refusal) {
    match refusal {
        Refusal::SessionExpired { client } => {
            to.byte(1);
            to.number(client.0);
        }
        Refusal::SequenceAcknowledged { client, sequence, acked_below } => {
            to.byte(2);
            for number in [client.0, *sequence, *acked_below] {
                to.number(number);
            }
        }
        Refusal::WindowExceeded { client, sequence, acked_below, window } => {
            to.byte(3);
            for number in [client.0, *sequence, *acked_below, *window] {
                to.number(number);
            }
        }
        Refusal::ResultsUnacknowledged { client, result_bytes, limit } => {
            to.byte(4);
            to.number(client.0);
            to.count(*result_bytes);
            to.count(*limit);
        }
        Refusal::TooManyClients { limit } => {
            to.byte(5);
            to.count(*limit);
        }
        Refusal::Unreadable { reason } => {
            to.byte(6);
            to.bytes(reason.as_bytes());
        }
        Refusal::InvalidSession { session } => {
            to.byte(7);
            to.bytes(session.as_bytes());
        }
        Refusal::TooManySessions { limit } => {
            to.byte(8);
            to.number(*limit);
        }
        Refusal::TooManySessionKeys { session, limit } => {
            to.byte(9);
            write_id(to, *session);
            to.count(*limit);
        }
        Refusal::WrongMode { mode } => {
            to.byte(10);
            to.number(mode.number());
        }
        Refusal::LogFull { kept, limit, covered } => {
            to.byte(11);
            for number in [*kept, *limit, covered.0] {
                to.number(number);
            }
        }
        Refusal::SnapshotStale { index, covered } => {
            to.byte(12);
            to.number(index.0);
            to.number(covered.0);
        }
        Refusal::NoSuchEntry { index } => {
            to.byte(13);
            to.number(index.0);
        }
    }
}

fn decode_refusal(from: &mut Reader<'_>) -> Result<Refusal, DecodeError> {
    Ok(match from.byte("refusal kind")? {
        1 => Refusal::SessionExpired { client: ClientId(from.number("client")?) },
        2 => Refusal::SequenceAcknowledged {
            client: ClientId(from.number("client")?),
            sequence: from.number("sequence")?,
            acked_below: from.number("acked_below")?,
        },
        3 => Refusal::WindowExceeded {
            client: ClientId(from.number("client")?),
            sequence: from.number("sequence")?,
            acked_below: from.number("acked_below")?,
            window: from.number("window")?,
        },
        4 => Refusal::ResultsUnacknowledged {
            client: ClientId(from.number("client")?),
            result_bytes: from.size("result bytes")?,
            limit: from.size("limit")?,
        },
        5 => Refusal::TooManyClients { limit: from.size("limit")? },
        6 => Refusal::Unreadable { reason: from.text("reason")? },
        7 => Refusal::InvalidSession { session: from.text("session")? },
        8 => Refusal::TooManySessions { limit: from.number("limit")? },
        9 => Refusal::TooManySessionKeys { session: read_id(from)?, limit: from.size("limit")? },
        10 => Refusal::WrongMode { mode: Mode::from_number(from.number("mode")?)? },
        11 => Refusal::LogFull {
            kept: from.number("kept bytes")?,
            limit: from.number("limit")?,
            covered: index(from)?,
        },
        12 => Refusal::SnapshotStale { index: index(from)?, covered: index(from)? },
        13 => Refusal::NoSuchEntry { index: index(from)? },
        tag => return Err(DecodeError::UnknownTag { what: "refusal kind", tag: u64::from(tag) }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::generate;

    proptest! {
        /// K20: a retry gets the outcome the first attempt got.
        #[test]
        fn an_outcome_survives_its_bytes(outcome in generate::outcome()) {
            prop_assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
        }
    }
}
