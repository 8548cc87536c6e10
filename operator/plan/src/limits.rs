//! Every limit and wait of the planner, with its reason.

use std::time::Duration;

/// Members of one cluster, a member being replaced included; slots above are not looked at.
pub const ORDINALS_MAX: u32 = 64;
/// A Pod that cannot start by its own template is replaced only after this long: kubelets retry by themselves (rule E2).
pub const START_TROUBLE: Duration = Duration::from_secs(30);
/// A leader that heard a member this recently refuses to call its volume lost (K33).
pub const HEARD_RECENTLY: Duration = Duration::from_secs(10);
/// A new member that makes no progress for this long is started over (rule 16).
pub const CATCH_UP_DEADLINE: Duration = Duration::from_mins(10);
/// How often a catching-up member's progress is noted on its claim: the note is what survives the operator's own restart.
pub const PROGRESS_NOTE_EVERY: Duration = Duration::from_mins(1);
/// A volume that no existing node can mount for this long is dead with its node (K49).
pub const NO_NODE_AFTER: Duration = Duration::from_mins(5);
/// A newcomer that no node has room for after this long cannot run (K49).
pub const UNPLACED_AFTER: Duration = Duration::from_mins(5);
/// At most one member is replaced automatically in this time (K39).
pub const REPLACEMENT_EVERY: Duration = Duration::from_hours(1);
/// Trouble younger than this is not called Degraded: a restart is not ill-health (K50).
pub const DEGRADED_AFTER: Duration = Duration::from_mins(1);
/// The leader renews its status Lease every 10 s: after this long without, it cannot write (K32).
pub const LEASE_SILENCE: Duration = Duration::from_secs(30);
/// While a step is waited for, the next look.
pub const LOOK_AGAIN_SOON: Duration = Duration::from_secs(1);
/// While something is held back or a member is unhealthy, the next look.
pub const LOOK_AGAIN_BLOCKED: Duration = Duration::from_secs(5);
/// A settled cluster is looked at this often, watches aside.
pub const LOOK_AGAIN_SETTLED: Duration = Duration::from_secs(20);
/// A user's grace period is raised to this: hand-over, flush and stop must fit in (K43).
pub const GRACE_PERIOD_SECS_MIN: i64 = 30;
/// Blocked entries shown; more would not be read.
pub const BLOCKED_MAX: usize = 16;
/// Characters of an obstacle quoted from Kubernetes; messages of the scheduler can be pages long.
pub const QUOTE_CHARS_MAX: usize = 400;
