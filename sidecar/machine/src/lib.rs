//! The built-in replicated state machine: keys and values, transactions, and retries that are harmless; or, in a cluster
//! founded for that, the entries of an application that is its own state machine (K22).
//!
//! ```text
//!   committed entries ──▶ Machine::apply ──▶ Outcome (to whoever proposed it)
//!                            │ writes
//!                            ▼
//!                      active layer ──freeze──▶ frozen layer ──Flush──▶ store ──▶ state.redb (Base)
//!   reads look through:  active, then frozen, then base
//! ```
//!
//! Invariant: the state after an entry depends on the entries up to it and on nothing else; where the layers were
//! frozen, flushed or replayed after a crash leaves no trace in state or outcomes.
//!
//! Not here: clocks, randomness, threads, disks, and what a server is. When a session's time is over is the leader's to
//! know: it says so with a command.

mod application;
mod base;
mod change;
mod clients;
mod codec;
mod command;
mod command_codec;
mod edit;
mod entry;
mod flush;
mod layer;
pub mod limits;
mod locks;
mod machine;
mod meta;
mod outcome;
mod outcome_codec;
mod read;
mod restored;
mod servers;
mod session;
mod session_codec;
mod sessions;
mod settings_codec;
#[cfg(test)]
mod tests;
mod tombstones;
mod txn;
mod validate;
mod view;

pub use application::{ApplicationEntry, ApplicationMeta, ApplicationSnapshot, EntriesAfter, Mode};
pub use base::{Base, KeyRange, Table, Visit, prefix_end};
pub use change::{KeyChange, KeyEvent};
pub use codec::DecodeError;
pub use command::{ApiIndex, ClientId, Command, Owner, RestoreOrder, SettingsMode, Tag, Tagged, TxnOp};
pub use entry::{KeyText, KvEntry};
pub use flush::Flush;
pub use machine::Machine;
pub use meta::{
    AppliedConfiguration, AutopilotRecord, Era, KeysMeta, Meta, Position, SessionsMeta, StateError,
};
pub use outcome::{Obstacle, Outcome, Refusal, TxnFailure, TxnFailureReason};
pub use read::{KeyRead, Keys, List, PageLimit};
pub use restored::{ARCHIVE_INDEX_MAX, Here, Restored};
pub use servers::RememberedServer;
pub use session::{Behavior, Session, SessionChecks, SessionEvent, SessionId, SessionSpec, Ttl};
pub use sessions::SessionList;
pub use validate::Invalid;
