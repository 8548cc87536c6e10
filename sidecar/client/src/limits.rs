//! Every limit of the client: value, reason, and what happens there.

use std::time::Duration;

/// How long a call is tried if the client was not told otherwise: longer than a usual change of leader (about 1.2 s)
/// several times over, short enough for a person who waits. Then the call fails.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// A sidecar holds no call for longer, so a client does not either; longer timeouts are cut to it.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// A sidecar on localhost that does not accept a connection in this time is not there yet; the call is tried again.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause before a retry; it doubles each time, and each is cut by a random part (down to half).
pub const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(20);

/// The longest pause before a retry: an election takes about a second, and many clients wait for the same one.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Writes a client may have open beyond the oldest unanswered one: the cluster's own window (K20). Further ones wait.
pub const WRITES_OPEN_MAX: u64 = 4_096;

/// Bytes of a snapshot in one message.
pub const SNAPSHOT_CHUNK_BYTES: usize = 64 * 1024;

/// Chunks of a snapshot that wait for the connection, or for the disk.
pub const SNAPSHOT_CHUNKS_WAITING_MAX: usize = 4;

/// A session's time to live if none was asked for: longer than a change of leader by far, and Consul's usual one.
pub const SESSION_TTL_DEFAULT: Duration = Duration::from_secs(15);

/// A session is renewed after one part in this many of its TTL, and a renewal is given up after as long: two may be lost.
pub const RENEW_PART: u32 = 3;

/// Pause before a failed renewal is sent again, and how often a session is looked at by who waits for its end.
pub const RENEW_RETRY_PAUSE: Duration = Duration::from_millis(250);

const _: () = assert!(RETRY_PAUSE_FIRST.as_millis() < RETRY_PAUSE_MAX.as_millis(), "pauses grow");
