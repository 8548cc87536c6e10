//! Every limit of the state machine: value, reason, and what happens there.
//!
//! Limits on input are checked by [`Command::validate`](crate::Command::validate) before anything is
//! proposed, and the caller gets an [`Invalid`](crate::Invalid) that names the limit. Limits on
//! memory are enforced while applying, by position in the log only, so that every member decides alike.

use std::time::Duration;

/// Longest key. Longer is refused. It keeps a row's key well inside one redb page and a tombstone cheap.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// Longest value. Longer is refused. Consul's limit; clients chunk at exactly this size.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// What a recovery adds to every later API index (K18): more than the lost end of any log was long (35 years at 1,000 a
/// second), little enough that 8,000 recoveries stay below 2^53, which is as far as JSON's readers count.
pub const RECOVERY_INDEX_GAP: u64 = 1 << 40;

/// Operations in one transaction. More are refused. Consul's limit.
pub const TXN_OPS_MAX: usize = 128;

/// Keys and values of one transaction, summed. More is refused: an entry must stay below 1 MiB (K25).
pub const TXN_BYTES_MAX: usize = 768 * 1024;

/// What one transaction may read back, summed over its results. Beyond it the transaction fails
/// and nothing is applied: the result travels in one gRPC message of 4 MiB (K25) and is kept for retries (K20).
pub const TXN_RESULT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Name of a member that registers for what it forwards (Raft ID and incarnation). Longer is refused.
pub const OWNER_BYTES_MAX: usize = 128;

/// Sequences a client may have open beyond what it has acknowledged (K20). Later ones are refused without effect.
pub const CLIENT_WINDOW: u64 = 4_096;

/// Registered clients (K20). One more evicts the one whose last entry lies furthest back in the log.
pub const CLIENTS_MAX: usize = 64 * 1024;

/// Bytes of all kept results together, bookkeeping included. Beyond it clients are evicted as at
/// [`CLIENTS_MAX`], so that memory stays bounded whatever the results hold (K29).
pub const CLIENT_RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one client's kept results. Beyond it the client's new commands are refused without effect until it
/// acknowledges answers; this is what bounds members' own clients, which are never evicted.
pub const CLIENT_OWN_RESULT_BYTES_MAX: usize = 1024 * 1024;

/// What one kept result costs besides its bytes: a tree slot and the allocation's own header.
pub const CLIENT_RESULT_OVERHEAD_BYTES: usize = 64;

/// Changes of keys that are noted for watchers are copied into blocks of so many bytes, which are freed as a whole.
pub const CHANGES_BLOCK_BYTES: usize = 256 * 1024;
/// A longer key or row is not copied but shared with the memtable: the rest of a block that it does not fit into is lost.
pub const CHANGE_COPIED_BYTES_MAX: usize = 8 * 1024;
/// Recent writes held in memory before they are flushed (K29). At the limit the table is frozen; while one
/// is being flushed and the next is full, the driver stops applying until the flush is done.
pub const MEMTABLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What one row of a memtable costs besides its key and value: two handles, a tree slot, two allocations.
pub const MEMTABLE_ROW_OVERHEAD_BYTES: usize = 160;

/// Longest entry of an application (K22). Longer is refused: with its envelope it must stay below an entry of 1 MiB (K25).
pub const APPLICATION_ENTRY_BYTES_MAX: usize = 1024 * 1024 - 1024;

/// What the kept entries of an application may count for together (K22). At the limit a proposal is refused, and nothing is
/// dropped, until the slowest application has applied what a snapshot holds, or a newer snapshot is offered.
pub const APPLICATION_LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Above this, entries that a snapshot holds are dropped even if an application has yet to apply them; that one is told to
/// begin from the snapshot. Below it they wait for the slowest (K22).
pub const APPLICATION_LOG_BYTES_PATIENT: u64 = APPLICATION_LOG_BYTES_MAX / 2;

/// What an entry of an application counts for beside its bytes: so that empty ones are bounded too.
pub const APPLICATION_ENTRY_OVERHEAD_BYTES: u64 = 64;

/// Entries of an application dropped at a time, so that no single command does unbounded work.
pub const ENTRIES_TRIMMED_PER_COMMAND: usize = 1_024;

/// Sessions, and lock delays that are not over, together. At the limit no session is created. It bounds what the leader
/// keeps in memory to measure their time.
pub const SESSIONS_MAX: u64 = 16_384;

/// Keys one session may hold. At the limit it acquires no further one: a session ends in one entry, which frees or deletes
/// them all, and writes as many values.
pub const SESSION_KEYS_MAX: usize = 128;

/// A session's name, its node and its TTL as written, each. Longer is refused.
pub const SESSION_TEXT_BYTES_MAX: usize = 256;

/// Longest text autopilot keeps: a zone, a version, a tag. Longer is refused; members cut what they say of themselves.
pub const AUTOPILOT_TEXT_BYTES_MAX: usize = 128;

/// Servers in one report to remember; a configuration has fewer. More is refused.
pub const SERVERS_REMEMBERED_MAX: usize = 256;

/// Shortest time to live of a session. Shorter is refused. Consul's limit: a change of leadership must fit in.
pub const SESSION_TTL_MIN: Duration = Duration::from_secs(10);

/// Longest time to live of a session. Longer is refused. Consul's limit.
pub const SESSION_TTL_MAX: Duration = Duration::from_hours(24);

/// Longest lock delay. Longer counts as this. Consul's limit.
pub const LOCK_DELAY_MAX: Duration = Duration::from_mins(1);

/// Tombstones kept. Beyond it the oldest are dropped and their index becomes a floor under all prefix
/// indexes: an index never falls, a watcher of a prefix may wake once for nothing.
pub const TOMBSTONES_MAX: u64 = 100_000;

/// Tombstones dropped at a time, so that no single command does unbounded work.
pub const TOMBSTONES_DROPPED_PER_COMMAND: usize = 256;

const _: () = assert!(
    TOMBSTONES_DROPPED_PER_COMMAND > SESSION_KEYS_MAX,
    "the end of a session must drop more tombstones than it can make"
);
const _: () = assert!(
    APPLICATION_ENTRY_BYTES_MAX + 64 < 1024 * 1024,
    "an application's entry in its envelope must fit in a log entry of 1 MiB (K25)"
);
const _: () = assert!(
    VALUE_BYTES_MAX + KEY_BYTES_MAX < TXN_BYTES_MAX,
    "the largest single write must also fit in a transaction"
);
const _: () = assert!(
    TXN_BYTES_MAX + TXN_OPS_MAX * 64 < 1024 * 1024,
    "an encoded transaction must fit in a log entry of 1 MiB (K25)"
);
const _: () = assert!(
    CLIENT_OWN_RESULT_BYTES_MAX as u64 > 2 * CLIENT_WINDOW * (CLIENT_RESULT_OVERHEAD_BYTES as u64 + 16),
    "a full window of ordinary results must fit"
);
const _: () = assert!(
    TOMBSTONES_DROPPED_PER_COMMAND > TXN_OPS_MAX,
    "one command must drop more tombstones than it can make"
);
const _: () = assert!(
    TXN_RESULT_BYTES_MAX + CLIENT_OWN_RESULT_BYTES_MAX < CLIENT_RESULT_BYTES_MAX / 4,
    "a single client must not evict every other"
);
