//! Every limit of publishing, with its reason and what happens at it.

use std::time::Duration;

/// The leader renews the status Lease this often (K32). The operator asks the members itself once 20 s went by
/// without a renewal, so one lost renewal is not yet noticed and two are.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(10);
/// `leaseDurationSeconds` of the status Lease: for people who read it; nobody takes it over (K32).
pub const LEASE_DURATION_SECONDS: i32 = 20;
/// Two writes of `status.raft` are at least this far apart: a burst of changes becomes one write.
pub const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// A write whose only news is how far members trail waits this long: lag alone must not become a stream of
/// writes (K31).
pub const TRAILING_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Trailing entries below this are shown as 0: they are in flight, not lag (K31).
pub const TRAILING_SHOWN_MIN: u64 = 128;
/// One call to the API server may take this long; then it failed.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The first wait after a failed call; it doubles.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest wait between attempts: as often as renewals, so that a healed API server is noticed as fast.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An error text is kept up to this many characters: it travels in a condition's message.
pub const ERROR_CHARS_MAX: usize = 512;

const _: () = assert!(
    RENEW_INTERVAL.as_secs() * 2 <= LEASE_DURATION_SECONDS as u64,
    "one lost renewal must not look like a lost leader"
);
