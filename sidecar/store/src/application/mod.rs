//! Snapshots of an application that is its own state machine (K22): files of bytes that mean nothing here.
//!
//! ```text
//!   an application, or a peer ──▶ staging-application-<n>.snap ──synced, renamed──▶ application-<index>-<bytes>-<sha256>.snap
//! ```
//!
//! A file has that name only once every byte was hashed and synced, so a member that says it has one can give it after any
//! crash. Which of them counts stands in the replicated state; that one stays, an earlier one goes.
//!
//! Invariant: the recorded snapshot's file is never removed ([`ApplicationSnapshots::sweep`]).
//! Not here: who must have one before it is recorded, and how it comes from another member.

mod held;
mod incoming;

pub use held::{ApplicationFile, ApplicationSnapshots};
pub use incoming::IncomingSnapshot;
