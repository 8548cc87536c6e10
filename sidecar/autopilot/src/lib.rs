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
//! Of all that is wanted in a round one change is made, the first that nothing forbids; the others are told why not
//! ([`Blocked`]).

mod action;
mod blocked;
mod decision;
mod health;
mod input;
pub mod join;
pub mod limits;
mod observer;
mod promotion;
pub mod reconcile;
mod removal;
mod report;
mod round;
mod scene;
mod semver;
mod settings;
mod state;
mod upgrade;
mod version;
mod zone;

pub use action::{Action, ActionKind};
pub use blocked::{Blocked, BlockedReason};
pub use health::Unhealthy;
pub use input::{Fact, Input, Membership, PodFact, SnapshotProgress, Stats};
pub use observer::Observer;
pub use report::{DesiredSuffrage, Report};
pub use round::{Round, round};
pub use settings::{Defaults, InvalidSettings, MinQuorumSource, Settings, SettingsChange, validate};
pub use state::{Health, NodeStatus, NodeType, ServerRole, ServerState, State, failure_tolerance, quorum};
pub use upgrade::{UpgradeState, UpgradeStatus, VersionServers};
pub use version::VersionInput;
pub use zone::ZoneState;
