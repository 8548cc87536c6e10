//! Every limit of the core with its reason (K25 where it names one).

use std::time::Duration;

use crate::types::Version;

/// The oldest version of formats this build reads and writes (K24: N−1 of the newest, once there is a second).
pub const VERSION_MIN: Version = Version(1);

/// The newest version of formats this build reads and writes (K24).
pub const VERSION_MAX: Version = Version(1);

/// A command may be this big. Refused as too large beyond it: one entry must fit one message.
pub const ENTRY_BYTES_MAX: u64 = 1 << 20;

/// What an entry costs beside its command in every count of bytes: index, term, kind, framing.
/// It keeps a million empty commands from counting as nothing.
pub const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// An append message carries this much, or one entry if that is bigger (K25).
pub const APPEND_BYTES_MAX: u64 = 256 << 10;

/// Append messages sent to one follower and not yet answered (K25).
pub const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// Bytes sent to one follower and not yet answered (K25).
pub const APPEND_BYTES_IN_FLIGHT_MAX: u64 = 4 << 20;

/// Bytes appended by a leader and not committed; beyond it proposals are refused as `Busy` (K25).
pub const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;

/// Entry bodies kept in memory for replication and apply. Entries that storage has not confirmed
/// stay beyond it: they exist nowhere else.
pub const CACHE_BYTES_MAX: u64 = 16 << 20;

/// Bytes handed to the machine and not yet reported applied; the rest waits in the log.
pub const APPLY_BYTES_IN_FLIGHT_MAX: u64 = 8 << 20;

/// One `Apply` carries at most this many bytes (or one entry), so that a long replay yields turns.
pub const APPLY_BYTES_MAX: u64 = 1 << 20;

/// Reads waiting for a heartbeat round; beyond it they are refused as `Busy`.
pub const READS_WAITING_MAX: usize = 4_096;

/// Membership changes held until the first commit of a term (K13); beyond it they are `Busy`.
pub const CHANGES_HELD_MAX: usize = 16;

/// Outputs waiting for storage. Followers and leaders both stay far below it by the limits on
/// bytes in flight; beyond it requests of peers are dropped, and they are sent again.
pub const OUTPUTS_HELD_MAX: usize = 65_536;

/// Servers in one configuration: more than any sane group, few enough to count on every commit.
pub const SERVERS_MAX: usize = 64;

/// A Raft ID's length; it becomes part of a certificate and of labels.
pub const RAFT_ID_BYTES_MAX: usize = 128;

/// A host name has 253 bytes, a port five, one colon; a trailing dot is allowed.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Terms and indexes from peers beyond this are no result of any run: two to the 62nd at a
/// million per second is 146,000 years. It keeps `next()` from overflowing on hostile bytes.
pub const NUMBER_MAX: u64 = 1 << 62;

/// A non-voter that gets its vote may trail the commit index by this many entries (K13): at most
/// one message or two behind. Whether it *keeps up* is the autopilot's judgement.
pub const CAUGHT_UP_ENTRIES_MAX: u64 = 250;

/// Log kept behind the durable applied index, for followers that were away shortly (K7).
pub const RETENTION_BYTES: u64 = 128 << 20;

/// Log kept while a live follower or an advancing snapshot transfer needs it (K7).
pub const RETENTION_BYTES_MAX: u64 = 512 << 20;

/// A commit index learned without a log write is stored within this time (K6).
pub const COMMIT_STORED_WITHIN: Duration = Duration::from_secs(1);

/// A server heard within this time under its recorded incarnation has not lost its volume (K33).
pub const VOLUME_LOST_SILENCE: Duration = Duration::from_secs(10);

/// A voter that acknowledged within this time is replaced only if it was declared to go (K15).
pub const REPLACED_SILENCE: Duration = Duration::from_secs(1);

/// On evidence that the leader's process is gone the first pre-vote comes within this time, and this
/// is the least pause between the next ones (K12): some round trips.
pub const EARLY_PRE_VOTE_PAUSE: Duration = Duration::from_millis(50);

/// A random part of this is added to that pause: it keeps rivals apart (K12).
pub const EARLY_PRE_VOTE_SPREAD: Duration = Duration::from_millis(100);

/// A process that hands over campaigns only after this many election timeouts without a leader (K43).
pub const HANDED_OVER_ELECTION_TIMEOUTS: u32 = 3;

/// A removed server is told so for this many election timeouts, then left alone (S8).
pub const DEPARTING_ELECTION_TIMEOUTS: u32 = 10;

/// A snapshot transfer without any progress for this many election timeouts is begun again.
pub const SNAPSHOT_STALL_ELECTION_TIMEOUTS: u32 = 10;

/// The check-quorum loop never turns faster than this (S11).
pub const CHECK_QUORUM_INTERVAL_MIN: Duration = Duration::from_millis(10);

const _: () = assert!(
    ENTRY_BYTES_MAX + ENTRY_OVERHEAD_BYTES <= APPEND_BYTES_IN_FLIGHT_MAX,
    "the biggest entry must fit in flight"
);
const _: () = assert!(
    VERSION_MIN.0 <= VERSION_MAX.0 && VERSION_MAX.0 < VERSION_MIN.0 + 2,
    "a build reads N and N−1 (K24)"
);
const _: () = assert!(APPEND_BYTES_IN_FLIGHT_MAX < CACHE_BYTES_MAX, "what is in flight should be in memory");
const _: () = assert!(RETENTION_BYTES <= RETENTION_BYTES_MAX, "the exception must not be the smaller one");
const _: () = assert!(APPLY_BYTES_MAX <= APPLY_BYTES_IN_FLIGHT_MAX, "one apply must fit in flight");
