//! What a command came to. Every member computes the same outcome; the one that proposed it answers the caller.

use bytes::Bytes;

use crate::command::{ApiIndex, ClientId};
use crate::entry::{KeyText, KvEntry};

/// The result of applying one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written (also when nothing changed: then the index is the old one). For keys and for settings.
    Written {
        /// The modify index now.
        modify_index: ApiIndex,
    },
    /// A condition did not hold; nothing changed.
    Mismatch {
        /// The modify index found; `None`: it does not exist.
        modify_index: Option<ApiIndex>,
    },
    /// Deleted, or already missing.
    Deleted {
        /// Whether anything was there.
        existed: bool,
    },
    /// The transaction was applied. One entry for each result its operations give, in order.
    Txn(Vec<KvEntry>),
    /// The transaction was not applied; every failing operation is named.
    TxnFailed(Vec<TxnFailure>),
    /// The client is registered.
    Registered {
        /// Its ID.
        client: ClientId,
    },
    /// The command was not applied.
    Refused(Refusal),
}

/// Why one operation of a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnFailure {
    /// Which operation, from 0.
    pub op_index: u32,
    /// Why.
    pub reason: TxnFailureReason,
}

/// The reasons of [`TxnFailure`]. The texts are Consul's, which clients match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxnFailureReason {
    /// `get` of a key that is missing.
    #[error("key \"{}\" doesn't exist", KeyText(.key))]
    Missing {
        /// The key.
        key: Bytes,
    },
    /// `cas` at another index.
    #[error("failed to set key \"{}\", index is stale", KeyText(.key))]
    SetStale {
        /// The key.
        key: Bytes,
    },
    /// `delete-cas` at another index.
    #[error("failed to delete key \"{}\", index is stale", KeyText(.key))]
    DeleteStale {
        /// The key.
        key: Bytes,
    },
    /// `check-index` of a key that is missing.
    #[error("failed to check index, key \"{}\" doesn't exist", KeyText(.key))]
    CheckMissing {
        /// The key.
        key: Bytes,
    },
    /// `check-index` at another index.
    #[error("failed index check for key \"{}\", current modify index {actual} != {expected}", KeyText(.key))]
    CheckStale {
        /// The key.
        key: Bytes,
        /// What it has.
        actual: ApiIndex,
        /// What was asked for.
        expected: ApiIndex,
    },
    /// `check-not-exists` of a key that exists.
    #[error("key \"{}\" exists", KeyText(.key))]
    Exists {
        /// The key.
        key: Bytes,
    },
    /// The results together are longer than one answer may be.
    #[error(
        "the transaction's results are longer than {limit} bytes (TXN_RESULT_BYTES_MAX): read fewer or smaller keys, or list them in pages; not applied"
    )]
    ResultTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why a command was not applied. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client is unknown here: it never registered, or was evicted.
    ///
    /// This speaks of this attempt only (K20): what was sent before under that ID may have been applied.
    /// Whoever retried must report *outcome unknown* and never send that command again.
    #[error(
        "client {client} is not registered (any more): this attempt was not applied, the outcome of earlier attempts is unknown; register again and do not resend them"
    )]
    SessionExpired {
        /// The ID that was used.
        client: ClientId,
    },
    /// The client itself said that it has the answer of this sequence.
    #[error(
        "sequence {sequence} of client {client} lies below acked_below={acked_below}: its result was acknowledged and forgotten; use a new sequence for a new command; this attempt was not applied"
    )]
    SequenceAcknowledged {
        /// The client.
        client: ClientId,
        /// The sequence it sent.
        sequence: u64,
        /// The lowest sequence that is still known.
        acked_below: u64,
    },
    /// Too many sequences are open.
    #[error(
        "sequence {sequence} of client {client} is more than {window} above acked_below={acked_below} (CLIENT_WINDOW): wait for answers and raise acked_below; not applied"
    )]
    WindowExceeded {
        /// The client.
        client: ClientId,
        /// The sequence it sent.
        sequence: u64,
        /// The lowest sequence that is still known.
        acked_below: u64,
        /// The window.
        window: u64,
    },
    /// The results kept for the client are too many bytes.
    #[error(
        "{result_bytes} bytes of results are kept for client {client}, the limit is {limit} (CLIENT_OWN_RESULT_BYTES_MAX): raise acked_below; not applied"
    )]
    ResultsUnacknowledged {
        /// The client.
        client: ClientId,
        /// What is kept.
        result_bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Every place is taken by a member's own client.
    #[error(
        "all {limit} client places (CLIENTS_MAX) belong to members of the cluster: not registered; remove members that are gone"
    )]
    TooManyClients {
        /// The limit.
        limit: usize,
    },
    /// The entry's bytes are no command of any known version.
    #[error("the entry is not a command: {reason}; not applied")]
    Unreadable {
        /// What was wrong with the bytes.
        reason: String,
    },
}
