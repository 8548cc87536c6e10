//! What a command came to. Every member computes the same outcome; the one that proposed it answers the caller.

use bytes::Bytes;

use crate::application::Mode;
use crate::command::{ApiIndex, ClientId};
use crate::entry::{KeyText, KvEntry};
use crate::session::SessionId;

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
    /// The session holds the key.
    Acquired {
        /// The modify index now. Of a key's acquires the later has the higher, whoever leads: a fencing token (K17).
        modify_index: ApiIndex,
        /// How often the key was locked since it was last plainly written.
        lock_index: u64,
    },
    /// The key was not acquired; nothing changed.
    NotAcquired(Obstacle),
    /// The key was not released, because the session does not hold it; nothing changed.
    NotHeld,
    /// The session lives.
    SessionCreated {
        /// Its ID.
        session: SessionId,
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

/// Why a key cannot be acquired now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Another session holds it.
    Held {
        /// Which.
        holder: SessionId,
    },
    /// A session that held it ended, and its lock delay is not over.
    LockDelay,
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
    /// `lock` or `unlock` without a session.
    #[error("missing session")]
    SessionEmpty,
    /// `lock` under what is no session.
    #[error("invalid session \"{session}\"")]
    InvalidSession {
        /// As the client wrote it.
        session: String,
    },
    /// `lock` of a key that another session holds.
    #[error("failed to lock key \"{}\", lock is already held", KeyText(.key))]
    LockHeld {
        /// The key.
        key: Bytes,
    },
    /// `lock` of a key that was held by a session that ended a short time ago.
    #[error("failed to lock key \"{}\" due to lock delay", KeyText(.key))]
    LockDelay {
        /// The key.
        key: Bytes,
    },
    /// `lock` under a session that holds as many keys as one may.
    #[error(
        "failed to lock key \"{}\", its session holds {limit} keys already (SESSION_KEYS_MAX): use another session",
        KeyText(.key)
    )]
    TooManySessionKeys {
        /// The key.
        key: Bytes,
        /// The limit.
        limit: usize,
    },
    /// `unlock` of a key that this session does not hold.
    #[error(
        "failed to unlock key \"{}\", lock isn't held, or is held by another session",
        KeyText(.key)
    )]
    NotHeld {
        /// The key.
        key: Bytes,
    },
    /// `check-session` of a key that is missing.
    #[error("failed to check session, key \"{}\" doesn't exist", KeyText(.key))]
    CheckSessionMissing {
        /// The key.
        key: Bytes,
    },
    /// `check-session` of a key that is held otherwise.
    #[error(
        "failed session check for key \"{}\", current session \"{actual}\" != \"{expected}\"",
        KeyText(.key)
    )]
    CheckSessionOther {
        /// The key.
        key: Bytes,
        /// Who holds it; empty: nobody.
        actual: String,
        /// As the client wrote it.
        expected: String,
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
    /// There is no such session, or not any more. The words are Consul's, which clients match.
    #[error("invalid session \"{session}\"")]
    InvalidSession {
        /// Its ID as text.
        session: String,
    },
    /// Every place is taken.
    #[error(
        "there are {limit} sessions, with lock delays that are not over (SESSIONS_MAX): destroy what is not needed, or give sessions a TTL; not created"
    )]
    TooManySessions {
        /// The limit.
        limit: u64,
    },
    /// The session holds as many keys as one may.
    #[error(
        "session {session} holds {limit} keys already (SESSION_KEYS_MAX): use another session; not acquired"
    )]
    TooManySessionKeys {
        /// Which.
        session: SessionId,
        /// The limit.
        limit: usize,
    },
    /// The command means nothing in a cluster of this mode (K22).
    #[error(
        "this cluster was founded in mode {}: {}; not applied", .mode.name(), .mode.way_out()
    )]
    WrongMode {
        /// The cluster's.
        mode: Mode,
    },
    /// The application's entries that are kept are too many bytes (K22).
    #[error(
        "{kept} bytes of entries are kept, the limit is {limit} (APPLICATION_LOG_BYTES_MAX), and the latest snapshot covers them up to index {covered} only: offer a newer snapshot (Log.SnapshotOffer), or wait for its trim; not applied, nothing is lost"
    )]
    LogFull {
        /// What is kept.
        kept: u64,
        /// The limit in bytes.
        limit: u64,
        /// The index of the latest snapshot; 0: none was offered.
        covered: ApiIndex,
    },
    /// A snapshot that is no newer than the one there is (K22).
    #[error(
        "a snapshot of index {covered} is there, the one offered is of index {index}: offer one of a later index; not taken"
    )]
    SnapshotStale {
        /// The index of the one offered.
        index: ApiIndex,
        /// The index of the one there is.
        covered: ApiIndex,
    },
    /// A snapshot of an index where the log has no entry (K22).
    #[error(
        "the log has no entry at index {index}: offer a snapshot of the last entry that the application applied; not taken"
    )]
    NoSuchEntry {
        /// The index.
        index: ApiIndex,
    },
    /// The entry's bytes are no command of any known version.
    #[error("the entry is not a command: {reason}; not applied")]
    Unreadable {
        /// What was wrong with the bytes.
        reason: String,
    },
}
