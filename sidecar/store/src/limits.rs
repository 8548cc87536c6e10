//! Every limit of the store: its value, its reason, what happens at it, and how it is seen.

use std::time::Duration;

use quorate_raft::limits::ENTRY_BYTES_MAX;

/// Format of `log.redb`, the state file and snapshot files written by this build (K24).
///
/// Files of a newer format are refused with both versions in the message; see `FORMAT.md`.
pub const FORMAT_VERSION: u32 = 1;

/// The oldest format this build still reads (K24: a binary reads N and N−1).
pub const FORMAT_VERSION_OLDEST: u32 = 1;

/// Bytes of one log row, at most, unless a single entry alone is larger.
///
/// redb puts a large value into a run of pages rounded up to a power of two: with its own key and
/// header a value of this size still fits 32 KiB, one byte more than that would take 64 KiB.
pub const ROW_BYTES_MAX: usize = 32_600;

/// Page cache of `log.redb`. The log is written in order and read rarely (the core caches its tail),
/// so more would only cost memory.
pub const LOG_CACHE_BYTES: usize = 2 * 1024 * 1024;

/// Page cache of the state file. Hot keys are in the machine's memtable (K29); this serves the rest.
pub const STATE_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of page writes held back to be merged before a sync; beyond it they are written out early.
///
/// Bounds memory during a large state flush. Writing early is always safe: nothing is promised
/// before the sync.
pub const COALESCE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries in one commit of the storage thread, at most; further requests wait for the next one.
pub const BATCH_ENTRIES_MAX: usize = 1_024;

/// Payload bytes in one commit of the storage thread, at most; a single request may exceed it.
///
/// Larger batches add latency without adding throughput (measured: beyond this the sync no longer
/// dominates).
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Requests waiting for the storage thread; beyond it the sender waits (or is told `Full`).
///
/// The core bounds what is uncommitted to 64 MiB (K25), so this bounds only the count.
pub const QUEUE_REQUESTS_MAX: usize = 1_024;

/// Log rows removed by one compaction step (K3, K7), so that a step adds little to the commit it
/// rides on. What is left over is removed by the following commits.
pub const COMPACT_ROWS_MAX: usize = 256;

/// Entries handed to the core at start for its cache of the log's tail.
pub const TAIL_ENTRIES_MAX: usize = 1_024;

/// A recovery looks through the log in pieces of this many bytes (K18).
pub const RECOVERY_READ_BYTES: u64 = 1024 * 1024;

/// Bytes of entries handed to the core at start for its cache of the log's tail.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Data bytes in one chunk of a snapshot file; each chunk has its own checksum, and a transfer
/// resumes at a chunk's end.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

/// Bytes of a snapshot's header, at most. It holds the configuration; a reader refuses more, so that
/// a damaged length cannot make it allocate without bound.
pub const SNAPSHOT_HEADER_BYTES_MAX: usize = 1024 * 1024;

/// Format of an archive written by this build (K17): its `meta.json` says so. The state in it has a version of its own.
pub const ARCHIVE_FORMAT_VERSION: u32 = 1;

/// The oldest archive this build still restores. Archives are kept for long, so raising it needs a reason.
pub const ARCHIVE_FORMAT_VERSION_OLDEST: u32 = 1;

/// Bytes of `meta.json` and of `SHA256SUMS` in an archive, each; more is refused as no archive of ours.
pub const ARCHIVE_META_BYTES_MAX: usize = 64 * 1024;

/// Zeros that may follow an archive's end inside its gzip: tar fills up to blocks of 10 KiB.
pub const ARCHIVE_PADDING_BYTES_MAX: usize = 10 * 1024;

/// Bytes of one key or value in a snapshot record, at most; a reader refuses more.
pub const SNAPSHOT_RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of rows per transaction when a state file is built from a snapshot; bounds memory and dirty pages.
pub const SNAPSHOT_BUILD_BYTES: usize = 8 * 1024 * 1024;

/// Least free space on the data volume, absolute (K8). Below it growing writes are refused.
pub const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// Least free space on the data volume, in percent of its size (K8).
pub const FREE_PERCENT_MIN: u64 = 5;

/// A snapshot of an application that was offered and not recorded (K22) is removed after so long; an offer takes seconds to
/// be recorded once a quorum has the file.
pub const APPLICATION_OFFER_LIFE: Duration = Duration::from_mins(10);

/// The volume's free space is looked at whenever so much of an application's snapshot was written; below the floor (K8) it
/// is refused.
pub const APPLICATION_SPACE_CHECK_BYTES: u64 = 16 * 1024 * 1024;

/// Held back on the data volume for deletes, membership and compaction (K8), as a file that holds nothing.
pub const BALLAST_BYTES: u64 = 64 * 1024 * 1024;

/// With less free space than this the ballast is given up.
pub const BALLAST_GIVEN_UP_BELOW_BYTES: u64 = 32 * 1024 * 1024;

const _: () = assert!(
    BALLAST_GIVEN_UP_BELOW_BYTES + BALLAST_BYTES < FREE_BYTES_MIN,
    "a ballast that was given up must not let growing writes in again (K8)"
);

const _: () = assert!(ROW_BYTES_MAX < 32 * 1024, "a full row must fit a 32 KiB run of pages");
const _: () = assert!(
    ENTRY_BYTES_MAX <= SNAPSHOT_RECORD_BYTES_MAX as u64,
    "what one entry wrote must fit one snapshot record"
);
const _: () = assert!(FORMAT_VERSION_OLDEST <= FORMAT_VERSION, "a build reads what it writes");
const _: () =
    assert!(ARCHIVE_FORMAT_VERSION_OLDEST <= ARCHIVE_FORMAT_VERSION, "a build restores what it archives");
