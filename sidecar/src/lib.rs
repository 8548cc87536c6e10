//! The Quorate sidecar: one member of a cluster, and `dev`, a whole cluster in one process.
//!
//! ```text
//!   serve (gRPC, HTTP, probes) ─▶ Handle ─▶ driver (owns the core) ─▶ storage thread, machine thread
//!   autopilot runner ───────────▶   │              │
//!   control (preStop) ──────────▶   └─▶ link ◀─────┘ peers, mutual TLS
//! ```
//!
//! Rules that hold here: one owner per piece of state, others send it messages; no lock is held across an
//! await; each queue has a bound in [`limits`]; a storage error ends the process (K39).
//! Not here: what consensus, storage, commands and autopilot mean; those are crates of their own.

pub mod args;
pub mod autopilot;
pub mod control;
pub mod dev;
pub mod driver;
pub mod exit;
pub mod inspect;
pub mod limits;
pub mod link;
pub mod member;
pub mod recover;
pub mod run;
pub mod serve;
pub mod settings;
pub mod tls;
