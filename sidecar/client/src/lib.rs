//! The Rust client of a Quorate sidecar: replicated keys and values, from the member on localhost.
//!
//! ```no_run
//! # async fn example() -> Result<(), quorate_client::Error> {
//! let client = quorate_client::Client::from_env()?;
//! client.put("greeting", "hello").await?;
//! let entry = client.get("greeting").await?;
//! # Ok(()) }
//! ```
//!
//! The client registers with the cluster and tags each write, so a retry after a lost answer or a change of
//! leader applies it at most once (K20). It retries by itself until the call's deadline. What it cannot find out by
//! then is [`Error::OutcomeUnknown`], never a guess.
//!
//! [`Client::create_session`] begins a lease that is renewed in the background, [`Client::acquire`] holds a key under it.
//!
//! [`Client::log`] is for an application that is its own state machine: a log of entries, and its snapshots.
//!
//! Not here: discovery. An application talks to the sidecar of its own Pod, and that one finds the leader.

mod boot_clock;
mod client;
mod entry;
mod error;
pub mod limits;
mod log;
mod member;
mod registration;
mod retry;
mod session;
mod txn;

pub use client::Client;
pub use entry::{CasOutcome, Consistency, DeleteOutcome, Entry, ModifyIndex, Page, Read};
pub use error::Error;
pub use log::{Log, LogEntry, LogEvent, LogEvents, LogSnapshot};
pub use member::{Member, Role};
pub use session::{AcquireOutcome, Session, SessionBehavior, SessionOptions};
pub use txn::{Txn, TxnOutcome};
