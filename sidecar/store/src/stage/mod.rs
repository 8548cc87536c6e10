//! Staged states: what a restore is made from, on the disk of each member before the entry that names it is applied (K17).
//!
//! ```text
//!   an upload, or a peer ──▶ staging-<n>.snap ──checked, synced, renamed──▶ staged-<sha256>.snap
//!   the entry Restore{sha256, bytes} ──▶ staged-….snap + the state before it ──▶ state-<index>-<term>.redb
//! ```
//!
//! A staged file is the `state` of an archive: a snapshot file, named by its SHA-256. It has that name only once every
//! byte was checked and synced, so a member that says it has one can restore it after any crash.
//!
//! Invariant: a file goes only when no entry of this member's log can name it any more ([`Stages::sweep`]).
//! Not here: who must have one before it is proposed, and how it comes from another member.

mod build;
mod held;
mod incoming;

pub use held::{StagedFile, Stages};
pub use incoming::Incoming;
