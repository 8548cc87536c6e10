//! What a client may ask of the replicated state: the commands, and the envelope that makes a retry harmless.
//!
//! A command is decided by its bytes and its place in the log alone. Everything that needs a clock,
//! a random number or the network was settled before it was proposed.
//!
//! Not here: the bytes ([`crate::codec`] and `encode`/`decode` below it), the limits
//! ([`Command::validate`]), and what a command does ([`crate::Machine::apply`]).

use bytes::Bytes;
use quorate_autopilot::SettingsChange;

use crate::application::ApplicationSnapshot;
use crate::servers::RememberedServer;
use crate::session::{SessionId, SessionSpec};

/// An index as the API shows it: log index + `index_base` (K17). All changes of one log entry share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiIndex(pub u64);

impl ApiIndex {
    /// In a compare-and-set: "only if the key is missing".
    pub const MISSING: Self = Self(0);
}

impl std::fmt::Display for ApiIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A registered client: the API index of its registration (K20), so no two ever share one, after a recovery either (K18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which attempt of which client this is (K20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Who asks.
    pub client: ClientId,
    /// Chosen by the client, different for each command, the same for each retry of one.
    pub sequence: u64,
    /// The client has the answers of all sequences below this one; it never falls.
    pub acked_below: u64,
}

/// A command as it stands in the log: with a tag it is applied at most once, whatever the retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// `None`: applied as often as it stands in the log.
    pub tag: Option<Tag>,
    /// What to do.
    pub command: Command,
}

/// One change of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write a key. A write that changes neither value nor flags keeps the modify index.
    Put {
        /// 1 to [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX) bytes.
        key: Bytes,
        /// Up to [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX) bytes.
        value: Bytes,
        /// The client's own mark.
        flags: u64,
    },
    /// Write a key only if its modify index is `expected`; [`ApiIndex::MISSING`]: only if it does not exist.
    CompareAndSet {
        /// See `Put`.
        key: Bytes,
        /// See `Put`.
        value: Bytes,
        /// See `Put`.
        flags: u64,
        /// The modify index the caller saw.
        expected: ApiIndex,
    },
    /// Delete a key. With `expected`: only at that modify index; a missing key is success (Consul's rule).
    Delete {
        /// See `Put`.
        key: Bytes,
        /// The modify index the caller saw, if it matters.
        expected: Option<ApiIndex>,
    },
    /// Delete every key that starts with these bytes; empty: every key.
    DeletePrefix {
        /// Up to [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX) bytes.
        prefix: Bytes,
    },
    /// Write a key and hold it under a session: if nobody holds it, or this session does (then its lock index stays).
    Acquire {
        /// See `Put`.
        key: Bytes,
        /// See `Put`.
        value: Bytes,
        /// See `Put`.
        flags: u64,
        /// It must live.
        session: SessionId,
    },
    /// Write a key that this session holds, and let go of it.
    Release {
        /// See `Put`.
        key: Bytes,
        /// See `Put`.
        value: Bytes,
        /// See `Put`.
        flags: u64,
        /// Who holds it.
        session: SessionId,
    },
    /// Begin a session.
    CreateSession(Box<SessionSpec>),
    /// End a session: asked by a client, or by the leader because its time is over (K21).
    DestroySession {
        /// Which; one that does not live is success.
        session: SessionId,
    },
    /// A lock delay is over, by the leader's clock (K21). Proposed by leaders only.
    EndLockDelay {
        /// The ended session whose keys can be acquired again.
        session: SessionId,
    },
    /// All of these or none. Every operation is evaluated and every failure reported.
    Txn(Vec<TxnOp>),
    /// Become a client whose retries are recognised; the outcome carries its ID (K20).
    RegisterClient {
        /// The member (Raft ID and incarnation) that registers for what it forwards; such a client is evicted
        /// only once the member has left the configuration or registered again. `None` for an application.
        owner: Option<Owner>,
    },
    /// Change autopilot's settings. Validated by whoever proposes: rules may change between versions,
    /// so members only merge.
    SetAutopilot {
        /// The fields to set.
        change: SettingsChange,
        /// `Merge` keeps the fields not named, `Replace` returns them to their defaults.
        mode: SettingsMode,
        /// Only if the settings' modify index is this; [`ApiIndex::MISSING`]: only if never set.
        expected: Option<ApiIndex>,
    },
    /// What servers say of themselves is to outlast their leader. Proposed by leaders only.
    RememberServers(Vec<RememberedServer>),
    /// An archive takes the place of the state (K17). Proposed by a leader that has it staged on a quorum, never by a
    /// client; whoever owns the state's file carries it out ([`Restored`](crate::Restored)).
    Restore(RestoreOrder),
    /// An entry of an application that is its own state machine (K22).
    Propose {
        /// Up to [`APPLICATION_ENTRY_BYTES_MAX`](crate::limits::APPLICATION_ENTRY_BYTES_MAX) bytes, which mean nothing here.
        data: Bytes,
    },
    /// Drop entries of the application up to this one, as far as its snapshot has them (K22). Proposed by leaders only.
    Trim {
        /// The last one to drop.
        upto: ApiIndex,
    },
    /// Members hold this snapshot of the application (K22). Proposed by the member that it was offered to, once a quorum
    /// has it on disk.
    RecordSnapshot(ApplicationSnapshot),
}

/// Which archive is to be restored: the state in it, as members hold it staged (K17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestoreOrder {
    /// SHA-256 of the state.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
}

/// The member a client belongs to, as Raft ID and incarnation in one text; compared for equality only.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub String);

/// What becomes of the fields a settings change does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsMode {
    /// They stay.
    Merge,
    /// They return to their defaults (Consul's PUT).
    Replace,
}

/// One operation of a transaction. Operations run in order and see the effects of earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// Write. Result: the entry, without its value.
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// Its new flags.
        flags: u64,
    },
    /// Write if the modify index is `expected` ([`ApiIndex::MISSING`]: if missing). Result: the entry, without its value.
    Cas {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// Its new flags.
        flags: u64,
        /// The modify index the caller saw.
        expected: ApiIndex,
    },
    /// Read; fails if missing. Result: the whole entry.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Read. Result: the whole entry, or an empty one with indexes 0.
    GetOrEmpty {
        /// The key.
        key: Bytes,
    },
    /// Read every key under a prefix. Results: whole entries in byte order.
    GetTree {
        /// The prefix, not empty.
        prefix: Bytes,
    },
    /// Delete. No result.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Delete every key under a prefix. No result.
    DeleteTree {
        /// The prefix; empty: everything.
        prefix: Bytes,
    },
    /// Delete if the modify index is `expected`; a missing key is success. No result.
    DeleteCas {
        /// The key.
        key: Bytes,
        /// The modify index the caller saw.
        expected: ApiIndex,
    },
    /// Fail unless the key exists at this modify index. Result: the entry, without its value.
    CheckIndex {
        /// The key.
        key: Bytes,
        /// The modify index it must have.
        expected: ApiIndex,
    },
    /// Fail if the key exists. No result.
    CheckNotExists {
        /// The key.
        key: Bytes,
    },
    /// Write a key and hold it, as [`Command::Acquire`]. Result: the entry, without its value.
    Lock {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// Its new flags.
        flags: u64,
        /// The session as the client wrote it: what is none fails with every other failure of the transaction.
        session: String,
    },
    /// Write a key and let go of it, as [`Command::Release`]. Result: the entry, without its value.
    Unlock {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// Its new flags.
        flags: u64,
        /// As in `Lock`.
        session: String,
    },
    /// Fail unless this session holds the key. Result: the entry, without its value.
    CheckSession {
        /// The key.
        key: Bytes,
        /// As in `Lock`; empty: nobody may hold it.
        session: String,
    },
}

impl Command {
    /// Since which version of the cluster it is written (K24): before that a member may not read it. Whoever adds a kind
    /// decides here, and gives its bytes a version of their own.
    pub const fn since(&self) -> u32 {
        match self {
            Self::Put { .. }
            | Self::CompareAndSet { .. }
            | Self::Delete { .. }
            | Self::DeletePrefix { .. }
            | Self::Txn(_)
            | Self::RegisterClient { .. }
            | Self::SetAutopilot { .. }
            // Nothing was released before these.
            | Self::RememberServers(_)
            | Self::Restore(_)
            | Self::Propose { .. }
            | Self::Trim { .. }
            | Self::RecordSnapshot(_)
            | Self::Acquire { .. }
            | Self::Release { .. }
            | Self::CreateSession(_)
            | Self::DestroySession { .. }
            | Self::EndLockDelay { .. } => 1,
        }
    }
}

impl TxnOp {
    /// The key or prefix it is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Set { key, .. }
            | Self::Cas { key, .. }
            | Self::Get { key }
            | Self::GetOrEmpty { key }
            | Self::Delete { key }
            | Self::DeleteCas { key, .. }
            | Self::CheckIndex { key, .. }
            | Self::CheckNotExists { key }
            | Self::Lock { key, .. }
            | Self::Unlock { key, .. }
            | Self::CheckSession { key, .. } => key,
            Self::GetTree { prefix } | Self::DeleteTree { prefix } => prefix,
        }
    }

    /// Whether it can change the state. A transaction without such an operation needs no log entry:
    /// [`Machine::read_txn`](crate::Machine::read_txn) answers it.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Set { .. }
            | Self::Cas { .. }
            | Self::Delete { .. }
            | Self::DeleteTree { .. }
            | Self::DeleteCas { .. }
            | Self::Lock { .. }
            | Self::Unlock { .. } => true,
            Self::Get { .. }
            | Self::GetOrEmpty { .. }
            | Self::GetTree { .. }
            | Self::CheckIndex { .. }
            | Self::CheckNotExists { .. }
            | Self::CheckSession { .. } => false,
        }
    }
}
