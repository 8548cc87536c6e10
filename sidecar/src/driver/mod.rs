//! The driver: the only owner of the consensus core.
//!
//! ```text
//!   handles ─requests─┐                       ┌─Persist, Compact─▶ storage thread ─┐
//!   peers ──messages──┤   ┌──────┐  outputs   ├─Apply────────────▶ machine thread ─┤
//!   completions ──────┼──▶│ core │───in order─┼─Send─────────────▶ links           │
//!   clock ────Tick────┘   └──────┘            └─Answer───────────▶ the caller      │
//!        ▲──────────────────────────── completions ◀──────────────────────────────┘
//! ```
//!
//! One turn takes everything that waits (bounded), steps the core once, and carries out what it says. Only proposals wait
//! longer, until the batch before them is through (`gathering`).
//! It never waits for anything but its inboxes: no lock, no disk, no peer can hold up a heartbeat.
//!
//! Invariant: storage and machine get their work in the order the core gave it; what they can't take
//! yet is held here, bounded by what the core hands out before it hears of the end of earlier work.
//! Not here: decisions. Which message may leave before which commit is the core's gate.

mod application;
mod archive;
mod doom;
mod error;
mod events;
mod flusher;
mod gathering;
mod handle;
mod history;
mod machine;
mod meter;
mod own_client;
mod proposals;
mod queries;
mod read_rounds;
mod request;
mod restore;
mod room;
mod seats;
mod servers;
mod sessions;
mod snapshots;
mod spread;
mod start;
mod tally;
mod transfers;
mod turn;
mod view;
mod work;
mod writer;

pub(crate) use application::{
    Application, ApplicationWord, Subscription, keep_snapshot, keep_trimmed, offer_failed,
};
pub use archive::Snapshot;
pub(crate) use doom::{Doom, storage_failure};
pub use error::{CallError, Effect, ErrorKind};
pub use handle::{Applied, Consistency, Handle, ReadResult};
pub use history::{Compacted, Cursor, KeyHistory, Read};
pub use machine::{QueryError, State};
pub(crate) use own_client::{keep_registered, owner};
pub(crate) use restore::{RestoredAt, staging_failed};
pub use servers::{ListedServer, ServerList, ServerName};
pub use sessions::{Clock as SessionClock, Renewal, Timers as SessionTimers};
pub(crate) use sessions::{Sessions, keep_sessions};
pub(crate) use snapshots::Sending;
pub(crate) use start::{Parts, Running, start};
pub(crate) use transfers::SendOrder;
pub(crate) use turn::Completion;
pub use view::{Leadership, View};
pub(crate) use writer::{Answer as WriteAnswer, Answers as WriteAnswers, overdue};
