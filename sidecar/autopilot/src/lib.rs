//! Autopilot: the leader's housekeeping, as pure functions over plain structs.
//!
//! Who is healthy, who gets a vote, and how much failure the cluster tolerates. Time enters as an argument; a
//! runner in the sidecar owns the timers and carries out the actions.

pub mod limits;
mod settings;

pub use settings::{Defaults, InvalidSettings, Settings, SettingsChange, validate};
