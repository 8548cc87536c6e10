//! Autopilot: the leader's housekeeping, as a pure function over plain structs.
//!
//! ```text
//!   core's status ─┐                       ┌─▶ State: who is healthy, since when, what may fail, what is held back
//!   progress ──────┼─▶ round(observer) ────┤
//!   facts, time ───┘     ▲      │          └─▶ Vec<Action>: compare-and-sets for the core
//!                        └──────┘ remembers, within one term
//! ```
//!
//! Time enters as an argument; a runner in the sidecar owns the timers and carries out the actions. Nothing here can
//! act by itself, and the core checks each action again (K13).
//!
//! Not here yet: removal of dead servers, zones, upgrade migration. They will be further [`Action`]s of the same round.

mod action;
mod health;
mod input;
pub mod limits;
mod observer;
mod promotion;
mod report;
mod round;
mod settings;
mod state;
mod upgrade;
mod version;
mod zone;

pub use action::{Action, ActionKind, Blocked, BlockedReason};
pub use health::Unhealthy;
pub use input::{Fact, Input, Membership, PodFact, SnapshotProgress, Stats};
pub use observer::Observer;
pub use report::{DesiredSuffrage, Report};
pub use round::{Round, round};
pub use settings::{Defaults, InvalidSettings, Settings, SettingsChange, validate};
pub use state::{Health, NodeStatus, NodeType, ServerRole, ServerState, State, failure_tolerance, quorum};
pub use upgrade::{UpgradeState, UpgradeStatus, VersionServers};
pub use version::VersionInput;
pub use zone::ZoneState;
