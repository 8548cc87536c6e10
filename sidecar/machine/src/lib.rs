//! The built-in replicated state machine: keys and values, transactions, and retries that are harmless.
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
//! Not here: clocks, randomness, threads, disks, and what a server is. Sessions and locks are not built yet;
//! rows and formats have room for them.

mod base;
mod codec;
mod command;
mod entry;
mod flush;
mod layer;
pub mod limits;
mod meta;
mod outcome;
mod settings_codec;

pub use base::{Base, KeyRange, Table, Visit, prefix_end};
pub use codec::DecodeError;
pub use command::{ApiIndex, ClientId, Command, Owner, SettingsMode, Tag, Tagged, TxnOp};
pub use entry::{KeyText, KvEntry};
pub use flush::Flush;
pub use meta::{AppliedConfiguration, AutopilotRecord, LoadError, Meta, Position};
pub use outcome::{Outcome, Refusal, TxnFailure, TxnFailureReason};
