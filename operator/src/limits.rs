//! Every limit and wait of the operator, with its reason.

use std::time::Duration;

/// Rounds of different clusters that run at once. A round waits for the network most of its time; more would only
/// queue up in the API server's fair share for us.
pub const ROUNDS_AT_ONCE: u16 = 32;
/// Changes to one cluster within this time become one round.
pub const DEBOUNCE: Duration = Duration::from_millis(200);
/// One call to the API server may take this long.
pub const API_TIMEOUT: Duration = Duration::from_secs(15);
/// A whole round may take this long; then it is given up and tried again, so that no cluster holds a place for ever.
pub const ROUND_TIMEOUT: Duration = Duration::from_mins(2);
/// The first wait after a round failed; it doubles.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// After so many failed rounds in a row the resource says so: an event, and status where it can still be written.
pub const FAILURES_TOLD: u32 = 3;
/// At its start the operator asks for its Lease for this long before it ends with an error.
pub const START_PATIENCE: Duration = Duration::from_mins(2);
/// The longest wait after failed rounds.
pub const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// The longest wait after a member refused a change or did not answer one.
pub const CHANGE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// All members are asked side by side and given this long (K32).
pub const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// A membership change answers once it is committed; a cluster that needs longer is not well, and the next round
/// sees how it ended.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest quorum with which dead servers may be removed by autopilot (A20).
pub const CLEANUP_QUORUM_MIN: u32 = 3;
/// A quorum found missing twice this far apart is missing (K32).
pub const QUORUM_MISSING_TWICE_AFTER: Duration = Duration::from_secs(3);
/// A refusal by the API server is quoted to the planner this long after it was last seen.
pub const REFUSAL_KEPT: Duration = Duration::from_mins(2);
/// Characters kept of a refusal.
pub const REFUSAL_CHARS_MAX: usize = 500;
/// Events about one object that are looked through for an obstacle (K51).
pub const EVENTS_READ_MAX: u32 = 50;

/// After its start the operator gives no cluster its own sidecar for this long: every cluster is looked at first, since one
/// may be in the middle of being updated (K47).
pub const TURNS_BEGIN_AFTER: Duration = Duration::from_mins(1);
/// How long the certificate authority of a cluster lasts; another follows it at two thirds of that (K46).
pub const AUTHORITY_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// How long a member's certificate lasts; renewed at two thirds of it (K46).
pub const LEAF_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long the operator's own certificate lasts, in memory only.
pub const OPERATOR_LEAF_LIFE: Duration = Duration::from_hours(24);
/// Certificates begin this long before they are made: members' clocks may be behind ours.
pub const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// The operator's Lease: held this long without renewal, renewed `LEASE_GRACE_SECS` before it ends.
pub const LEASE_SECS: u64 = 15;
/// See [`LEASE_SECS`].
pub const LEASE_GRACE_SECS: u64 = 5;
/// The port of probes and metrics.
pub const OPS_PORT: u16 = 8080;
/// After a signal, rounds under way may take this long to end; the Pod's grace period is longer.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

const _: () = assert!(LEASE_GRACE_SECS < LEASE_SECS, "the Lease is renewed before it ends");
const _: () =
    assert!(ASK_TIMEOUT.as_secs() < ROUND_TIMEOUT.as_secs(), "a silent member must not end a round");
