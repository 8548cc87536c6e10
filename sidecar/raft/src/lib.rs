//! The consensus core of Quorate: Raft as a pure state machine.
//!
//! Something happens and is handed to [`Raft::step`]; what is to be done comes out. The core has
//! no clock, disk, network, thread or randomness of its own: time comes with each call, random
//! timers from a seed, so that any run can be replayed exactly.
//!
//! ```text
//!              Input                                      Output
//!  timer       Tick ───────────┐              ┌─► Persist ──► storage ─┐ one commit, in order
//!  peers       Receive ────────┤              ├─► Send ─────► peers    │ loss is allowed
//!  clients     Propose         │   ┌──────┐   ├─► Apply ────► machine ─┤ committed, in order, once
//!              ReadIndex       ├──►│ Raft │───┤                        │
//!              ChangeMembership│   └──────┘   ├─► Answer ───► client   │
//!              Transfer …      │              ├─► SendSnapshot, ReadLog, Compact
//!  storage     Persisted ◄─────┼──────────────┼────────────────────────┤
//!  machine     Applied ◄───────┘              └─► Event ────► logs, metrics, autopilot
//! ```
//!
//! # What it promises
//! - At most one leader in a term; equal entries for equal names; what is committed stays, on
//!   every member, whatever the network and the disks do (crashes lose what was not synced).
//! - **The gate is inside.** Whatever is put out may leave at once: a vote or an acknowledgement
//!   comes out only after the write it promises was reported by `Persisted` (O4). A leader's
//!   appends come out beside its own write, which counts only once it is reported.
//! - Every request is answered exactly once: by `Answer`, or by the machine for the tickets of an
//!   `Apply`. An error says whether nothing was changed or the outcome is unknown ([`Refusal`]).
//! - No message and no input makes `step` panic. Asserts are for contradictions in our own state.
//! - Every buffer has a limit with a name and a reason ([`limits`]).
//!
//! # What it asks of its driver
//! - One owner, who hands in messages before `Tick`, and many inputs at once by
//!   [`Raft::step_batch`]: one turn makes one write.
//! - Storage that commits writes in the order of their sequence, ends the process on any error,
//!   and for a write with `install` puts the machine on the new state before it says `Persisted`.
//! - An answer to each `ReadLog`, `SendSnapshot` and `Compact`.
//!
//! # Not here
//! Leases (K11: they trust clocks), a force flag for membership (K13), sending of snapshots (only
//! the decisions), deduplication of clients (K20).
//!
//! # A group of one
//! ```
//! use quorate_raft::*;
//!
//! let server = ServerId::new(RaftId::new("db-0-3f2a91c4")?, Incarnation(7));
//! let cluster_id = ClusterId(1);
//! let identity = Identity { cluster_id, recovery_epoch: RecoveryEpoch(0), server: server.clone(), versions: Versions::OURS };
//! // Storage found an empty directory.
//! let mut raft = Raft::new(identity, Settings::default(), Stored::default(), 42, Now::default())?;
//! let address = Address::new("db-0.db-members:7400")?;
//! let mut inputs = vec![Input::Bootstrap { ticket: Ticket(1), cluster_id, server, address, mode: Mode::KeyValue }];
//! let mut applied = Vec::new();
//! let mut proposed = false;
//!
//! while applied.is_empty() {
//!     let mut out = Vec::new();
//!     raft.step_batch(raft.next_deadline(), inputs.drain(..), &mut out);
//!     for output in out {
//!         match output {
//!             // A disk that is always done at once.
//!             Output::Persist(persist) => inputs.push(Input::Persisted { sequence: persist.sequence }),
//!             Output::Apply(apply) => {
//!                 applied.extend(apply.tickets);
//!                 inputs.extend(apply.entries.last().map(|entry| Input::Applied { upto: entry.index }));
//!             }
//!             _ => {}
//!         }
//!     }
//!     if raft.role() == Role::Leader && !proposed {
//!         proposed = true;
//!         inputs.push(Input::Propose { ticket: Ticket(2), command: "set x".into() });
//!     }
//!     inputs.push(Input::Tick);
//! }
//! assert_eq!(applied, [(Index(3), Ticket(2))]); // after the configuration and the leader's no-op
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod change;
mod commit;
mod compaction;
mod configurations;
mod early;
mod election;
mod entry;
mod follower;
mod input;
mod leader;
pub mod limits;
mod log;
mod membership;
mod message;
mod outbox;
mod output;
mod progress;
mod propose;
mod quorum;
mod raft;
mod read;
mod receive;
mod recovery;
mod refusal;
mod replace;
mod replication;
mod restore;
mod settings;
mod snapshot;
mod status;
mod term_runs;
mod transfer;
mod turn;
mod types;
mod version;

pub use entry::{Entry, HardState, IndexedConfiguration, Payload, SnapshotMeta, Stored, TermRun};
pub use input::{Input, LogReader};
pub use membership::{Change, Configuration, Intent, InvalidChange, RemoveReason, Server, Suffrage};
pub use message::{AppendOutcome, Body, Message};
pub use output::{Answer, Apply, Event, InvalidMessage, Output, Persist, StepDownReason};
pub use raft::{Raft, StartError};
pub use refusal::Refusal;
pub use settings::{InvalidSettings, Settings};
pub use status::{Leader, Membership, PeerStatus, ReplicationState, Role, Status};
pub use types::{
    Address, ClusterId, Epoch, Identity, Incarnation, Index, InvalidName, LogId, Mode, Now, RaftId,
    RecoveryEpoch, Round, Sequence, ServerId, Term, Ticket, Version, Versions,
};
