//! Snapshots: the state at one entry as one file, sent to members that the log cannot help any more.
//!
//! ```text
//!   sender    state.redb ──one read transaction──▶ snapshot-….snap ──bytes, from any offset──▶
//!   receiver  ──▶ receiving-….snap ──checks──▶ state-<index>-<term>.redb ──log names it──▶ the state
//! ```
//!
//! A snapshot's index is the applied index stored in the very transaction it is read from (K3). It is
//! materialised once and shared by all who need it (K7). Installing has one commit point: the
//! transaction of `log.redb` that names the new state file (K5).
//!
//! Not here: when one is needed, and how fast it is sent.

mod build;
mod format;
mod make;
mod receive;
mod received;

pub(crate) use build::{build_restored, check};
pub use format::SnapshotHeader;
pub use make::{SnapshotFile, Snapshots};
pub use receive::SnapshotReceiver;
pub(crate) use receive::refused;
pub(crate) use received::Received;
