//! Every limit of autopilot: value, reason, and what happens there.

use std::time::Duration;

/// The smallest dead threshold a user may set while dead servers are removed (A20; vault #27793: a
/// restart that takes a minute must not cost a member). Smaller is refused.
pub const DEAD_SERVER_LAST_CONTACT_THRESHOLD_MIN: Duration = Duration::from_mins(1);

/// The smallest `min_quorum` a user may set while dead servers are removed (A20). Smaller is refused.
pub const MIN_QUORUM_SET_MIN: u32 = 3;

/// An extra voter of a redundancy zone keeps its vote while fewer than this would be left, also when the zone that it stands in
/// for has no server any more (A25): two voters bear no failure, and without a quorum no stand-by gets a vote.
pub const ZONED_VOTERS_MIN: usize = 3;

/// How often a round is to be computed. Three bad samples then take three seconds, so a cut-off member shows within
/// five; a round costs microseconds.
pub const ROUND_INTERVAL: Duration = Duration::from_secs(1);

/// Bad samples in a row that make a late or lagging server unhealthy (`autopilot.md` §6b).
pub const BAD_SAMPLES_TO_FLIP: u32 = 3;

/// A server that has reached what the leader's log was this long ago does not lag, however fast the log grows (K27).
pub const LAG_WINDOW: Duration = Duration::from_secs(2);

/// Samples of the leader's last index that are remembered. Older than [`LAG_WINDOW`] only one is needed; the bound
/// holds should rounds come faster than asked.
pub const LAG_SAMPLES_MAX: usize = 64;

/// Without an operator the cluster's version is raised once every member has spoken the next one for so long without a
/// break (K24): a release that disappoints is usually taken back sooner.
pub const VERSION_STEADY: Duration = Duration::from_mins(10);

/// A fact older than this says nothing any more: the operator repeats what still holds every round, and it may
/// be down. Then only what the leader hears counts.
pub const FACT_AGE_MAX: Duration = Duration::from_mins(2);

/// Removals that a leader remembers for its limit per window. The oldest is forgotten first; nobody removes so many within a
/// dead server threshold, for each costs a majority's consent.
pub const REMOVALS_REMEMBERED_MAX: usize = 256;
