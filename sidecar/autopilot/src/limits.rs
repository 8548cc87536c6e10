//! Every limit of autopilot: value, reason, and what happens there.

use std::time::Duration;

/// The smallest dead threshold a user may set while dead servers are removed (A20; vault #27793: a
/// restart that takes a minute must not cost a member). Smaller is refused.
pub const DEAD_SERVER_LAST_CONTACT_THRESHOLD_MIN: Duration = Duration::from_secs(60);

/// The smallest `min_quorum` a user may set while dead servers are removed (A20). Smaller is refused.
pub const MIN_QUORUM_SET_MIN: u32 = 3;
