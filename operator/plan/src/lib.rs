//! The operator's judgement, as one pure function: `plan(&Observed, now) -> Plan`.
//!
//! ```text
//!   Observed ──► rules in order ──► Plan {ensures, at most one step, facts, status, events}
//!      ▲                              │
//!      └── Kubernetes, Raft ◄── act ──┘
//! ```
//! Fetching and carrying out are elsewhere; here is no client, no clock, no randomness. What the planner must
//! remember between rounds is in the API: status and claim annotations (K34).
//!
//! Invariants I1-I10 are properties of [`plan()`]; `tests/` holds each.

mod authority;
pub mod children;
mod conditions;
mod display;
mod events;
pub mod issuance;
pub mod limits;
pub mod observed;
mod obstacle;
pub mod plan;
mod planner;
pub mod raft_view;
pub mod reason;
pub mod record;
mod round;
mod rules;
mod status;
mod upkeep;
mod words;

pub use observed::{Now, Observed, Ordinal};
pub use plan::{Ensure, Plan, PlannedStep, Step};
pub use planner::plan;
pub use raft_view::RaftView;
