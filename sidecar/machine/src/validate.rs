//! What may be proposed: the limits of `limits`, checked before a command becomes an entry.
//!
//! A refusal names the key, the limit and the way out, and nothing was changed (P10).

use bytes::Bytes;

use crate::command::{Command, TxnOp};
use crate::entry::KeyText;
use crate::limits::{
    APPLICATION_ENTRY_BYTES_MAX, AUTOPILOT_TEXT_BYTES_MAX, KEY_BYTES_MAX, OWNER_BYTES_MAX,
    SERVERS_REMEMBERED_MAX, SESSION_TEXT_BYTES_MAX, SESSION_TTL_MAX, SESSION_TTL_MIN, TXN_BYTES_MAX,
    TXN_OPS_MAX, VALUE_BYTES_MAX,
};
use crate::session::{SessionId, SessionSpec};

/// Why a command may not be proposed. It was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// No key.
    #[error("the key is empty: name one; not applied")]
    KeyEmpty,
    /// The key, or the prefix, is too long.
    #[error(
        "key {key} is {bytes} bytes, the limit is {limit} (KEY_BYTES_MAX): use a shorter key; not applied",
        limit = KEY_BYTES_MAX
    )]
    KeyTooLong {
        /// Its beginning.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// The value is too long.
    #[error(
        "value of key {key} is {bytes} bytes, the limit is {limit} (VALUE_BYTES_MAX): store the blob elsewhere and keep a reference here; not applied",
        limit = VALUE_BYTES_MAX
    )]
    ValueTooLarge {
        /// The key.
        key: String,
        /// The value's length.
        bytes: usize,
    },
    /// Too many operations.
    #[error(
        "the transaction has {ops} operations, the limit is {limit} (TXN_OPS_MAX): split it; not applied",
        limit = TXN_OPS_MAX
    )]
    TooManyOps {
        /// How many.
        ops: usize,
    },
    /// Keys and values together are too long.
    #[error(
        "the transaction's keys and values are {bytes} bytes, the limit is {limit} (TXN_BYTES_MAX): split it; not applied",
        limit = TXN_BYTES_MAX
    )]
    TxnTooLarge {
        /// The sum.
        bytes: usize,
    },
    /// An entry of an application is too long.
    #[error(
        "the entry is {bytes} bytes, the limit is {limit} (APPLICATION_ENTRY_BYTES_MAX): split it, or store the blob elsewhere and propose a reference; not applied",
        limit = APPLICATION_ENTRY_BYTES_MAX
    )]
    EntryTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A restore is no client's command: it needs a right of its own, and an archive that members hold (K17, K23).
    #[error(
        "a restore is not a command of clients: send the archive to PUT /v1/snapshot or Cluster.Restore; not applied"
    )]
    Restore,
    /// A text of a session is too long.
    #[error(
        "{what} is {bytes} bytes, the limit is {limit} (SESSION_TEXT_BYTES_MAX): use a shorter one; not applied",
        limit = SESSION_TEXT_BYTES_MAX
    )]
    SessionTextTooLong {
        /// Which of its texts.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A session's time to live is out of range. The words are Consul's, which clients match.
    #[error("Invalid Session TTL '{nanoseconds}', must be between [10s=24h0m0s]")]
    SessionTtl {
        /// What was asked for.
        nanoseconds: u128,
    },
    /// A session without an ID: those are drawn by whoever proposes it.
    #[error("the session has no ID; not applied")]
    SessionIdMissing,
    /// A text of autopilot's is too long.
    #[error(
        "{what} is {bytes} bytes, the limit is {limit} (AUTOPILOT_TEXT_BYTES_MAX): use a shorter one; not applied",
        limit = AUTOPILOT_TEXT_BYTES_MAX
    )]
    AutopilotTextTooLong {
        /// Which.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// More servers than a configuration has.
    #[error(
        "{servers} servers are to be remembered, the limit is {limit} (SERVERS_REMEMBERED_MAX); not applied",
        limit = SERVERS_REMEMBERED_MAX
    )]
    TooManyServers {
        /// How many.
        servers: usize,
    },
    /// A member's name is too long.
    #[error(
        "the owner's name is {bytes} bytes, the limit is {limit} (OWNER_BYTES_MAX): not registered",
        limit = OWNER_BYTES_MAX
    )]
    OwnerTooLong {
        /// Its length.
        bytes: usize,
    },
}

impl Command {
    /// Whether it may be proposed. (Autopilot's settings have their own
    /// [`validate`](quorate_autopilot::validate), which needs the stored ones.)
    pub fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Put { key, value, .. }
            | Self::CompareAndSet { key, value, .. }
            | Self::Acquire { key, value, .. }
            | Self::Release { key, value, .. } => {
                check_key(key)?;
                check_value(key, value)
            }
            Self::Delete { key, .. } => check_key(key),
            Self::DeletePrefix { prefix } => check_length(prefix),
            Self::Txn(ops) => {
                if ops.len() > TXN_OPS_MAX {
                    return Err(Invalid::TooManyOps { ops: ops.len() });
                }
                ops.iter().try_for_each(TxnOp::validate)?;
                match self.payload_bytes() {
                    bytes if bytes > TXN_BYTES_MAX => Err(Invalid::TxnTooLarge { bytes }),
                    _ => Ok(()),
                }
            }
            Self::RegisterClient { owner } => match owner.as_ref().map_or(0, |owner| owner.0.len()) {
                bytes if bytes > OWNER_BYTES_MAX => Err(Invalid::OwnerTooLong { bytes }),
                _ => Ok(()),
            },
            Self::CreateSession(spec) => check_session(spec),
            Self::SetAutopilot { change, .. } => {
                let tags = [
                    ("redundancy_zone_tag", &change.redundancy_zone_tag),
                    ("upgrade_version_tag", &change.upgrade_version_tag),
                ];
                let check = |(what, tag): (_, &Option<String>)| check_autopilot_text(what, tag.as_deref());
                tags.into_iter().try_for_each(check)
            }
            Self::RememberServers(servers) => {
                if servers.len() > SERVERS_REMEMBERED_MAX {
                    return Err(Invalid::TooManyServers { servers: servers.len() });
                }
                servers.iter().try_for_each(|server| {
                    let bytes = server.owner.0.len();
                    if bytes > OWNER_BYTES_MAX {
                        return Err(Invalid::OwnerTooLong { bytes });
                    }
                    server
                        .texts()
                        .into_iter()
                        .try_for_each(|(what, text)| check_autopilot_text(what, Some(text)))
                })
            }
            Self::DestroySession { .. }
            | Self::EndLockDelay { .. }
            | Self::Trim { .. }
            | Self::RecordSnapshot(_) => Ok(()),
            Self::Propose { data } => match data.len() {
                bytes if bytes > APPLICATION_ENTRY_BYTES_MAX => Err(Invalid::EntryTooLarge { bytes }),
                _ => Ok(()),
            },
            Self::Restore(_) => Err(Invalid::Restore),
        }
    }

    /// Its keys and values, summed.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. }
            | Self::CompareAndSet { key, value, .. }
            | Self::Acquire { key, value, .. }
            | Self::Release { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
            Self::DeletePrefix { prefix } => prefix.len(),
            Self::Txn(ops) => ops.iter().map(TxnOp::payload_bytes).sum(),
            Self::RegisterClient { owner } => owner.as_ref().map_or(0, |owner| owner.0.len()),
            Self::CreateSession(spec) => spec.name.len() + spec.node.len() + spec.ttl.text.len(),
            Self::SetAutopilot { .. }
            | Self::RememberServers(_)
            | Self::Restore(_)
            | Self::Trim { .. }
            | Self::RecordSnapshot(_)
            | Self::DestroySession { .. }
            | Self::EndLockDelay { .. } => 0,
            Self::Propose { data } => data.len(),
        }
    }
}

fn check_autopilot_text(what: &'static str, text: Option<&str>) -> Result<(), Invalid> {
    match text.map_or(0, str::len) {
        bytes if bytes > AUTOPILOT_TEXT_BYTES_MAX => Err(Invalid::AutopilotTextTooLong { what, bytes }),
        _ => Ok(()),
    }
}

impl TxnOp {
    /// Whether it may be part of a transaction; a caller that reports every bad operation asks each.
    pub fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::DeleteTree { prefix } => check_length(prefix)?,
            _ => check_key(self.key())?,
        }
        check_text("the operation's session", self.session())?;
        self.value().map_or(Ok(()), |value| check_value(self.key(), value))
    }

    fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Set { value, .. }
            | Self::Cas { value, .. }
            | Self::Lock { value, .. }
            | Self::Unlock { value, .. } => Some(value),
            _ => None,
        }
    }

    fn session(&self) -> &str {
        match self {
            Self::Lock { session, .. }
            | Self::Unlock { session, .. }
            | Self::CheckSession { session, .. } => session,
            _ => "",
        }
    }

    fn payload_bytes(&self) -> usize {
        self.key().len() + self.value().map_or(0, Bytes::len) + self.session().len()
    }
}

fn check_key(key: &[u8]) -> Result<(), Invalid> {
    if key.is_empty() {
        return Err(Invalid::KeyEmpty);
    }
    check_length(key)
}

fn check_session(spec: &SessionSpec) -> Result<(), Invalid> {
    if spec.id == SessionId::NONE {
        return Err(Invalid::SessionIdMissing);
    }
    check_text("the session's name", &spec.name)?;
    check_text("the session's node", &spec.node)?;
    check_text("the session's TTL", &spec.ttl.text)?;
    let ttl = spec.ttl.duration;
    if !ttl.is_zero() && !(SESSION_TTL_MIN..=SESSION_TTL_MAX).contains(&ttl) {
        return Err(Invalid::SessionTtl { nanoseconds: ttl.as_nanos() });
    }
    Ok(())
}

fn check_text(what: &'static str, text: &str) -> Result<(), Invalid> {
    match text.len() {
        bytes if bytes > SESSION_TEXT_BYTES_MAX => Err(Invalid::SessionTextTooLong { what, bytes }),
        _ => Ok(()),
    }
}

fn check_length(key: &[u8]) -> Result<(), Invalid> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Invalid::KeyTooLong { key: KeyText(key).to_string(), bytes: key.len() });
    }
    Ok(())
}

fn check_value(key: &[u8], value: &[u8]) -> Result<(), Invalid> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Invalid::ValueTooLarge { key: KeyText(key).to_string(), bytes: value.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Owner;

    fn put(key_bytes: usize, value_bytes: usize) -> Command {
        Command::Put { key: vec![b'k'; key_bytes].into(), value: vec![0; value_bytes].into(), flags: 0 }
    }

    /// P10, vector 22 of the HTTP page: the limit itself is allowed, one byte more is not.
    #[test]
    fn a_value_of_exactly_the_limit_is_accepted_and_one_byte_more_is_refused() {
        assert_eq!(put(1, VALUE_BYTES_MAX).validate(), Ok(()));
        assert_eq!(
            put(1, VALUE_BYTES_MAX + 1).validate().unwrap_err().to_string(),
            "value of key k is 524289 bytes, the limit is 524288 (VALUE_BYTES_MAX): store the blob elsewhere and keep a reference here; not applied"
        );
    }

    /// P10.
    #[test]
    fn keys_are_one_byte_to_the_limit() {
        assert_eq!(put(0, 1).validate(), Err(Invalid::KeyEmpty));
        assert_eq!(put(KEY_BYTES_MAX, 1).validate(), Ok(()));
        let text = put(KEY_BYTES_MAX + 1, 1).validate().unwrap_err().to_string();
        assert!(text.contains("is 4097 bytes, the limit is 4096 (KEY_BYTES_MAX)"), "{text}");
        assert!(text.len() < 200, "a message must not repeat the whole key: {text}");
        assert_eq!(
            Command::DeletePrefix { prefix: Bytes::new() }.validate(),
            Ok(()),
            "the empty prefix is everything"
        );
    }

    /// P10, vectors 65, 66 and 71 of the HTTP page.
    #[test]
    fn transactions_are_bounded_in_operations_and_bytes() {
        let get = |key: &'static str| TxnOp::Get { key: key.into() };
        assert_eq!(Command::Txn(vec![get("k"); TXN_OPS_MAX]).validate(), Ok(()));
        assert_eq!(
            Command::Txn(vec![get("k"); TXN_OPS_MAX + 1]).validate(),
            Err(Invalid::TooManyOps { ops: 129 })
        );
        assert_eq!(Command::Txn(vec![get("k"), get("")]).validate(), Err(Invalid::KeyEmpty));
        assert_eq!(TxnOp::GetTree { prefix: Bytes::new() }.validate(), Err(Invalid::KeyEmpty));
        assert_eq!(TxnOp::DeleteTree { prefix: Bytes::new() }.validate(), Ok(()));
        let set = TxnOp::Set { key: "k".into(), value: vec![0; VALUE_BYTES_MAX / 2].into(), flags: 0 };
        assert_eq!(Command::Txn(vec![set.clone(); 2]).validate(), Ok(()));
        assert!(matches!(Command::Txn(vec![set; 4]).validate(), Err(Invalid::TxnTooLarge { .. })));
    }

    /// P10.
    #[test]
    fn an_owner_is_a_short_name() {
        let register = |bytes| Command::RegisterClient { owner: Some(Owner("x".repeat(bytes))) }.validate();
        assert_eq!(register(OWNER_BYTES_MAX), Ok(()));
        assert_eq!(register(OWNER_BYTES_MAX + 1), Err(Invalid::OwnerTooLong { bytes: OWNER_BYTES_MAX + 1 }));
    }
}
