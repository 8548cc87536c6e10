//! The consensus core.
mod apply;
mod change;
mod commit;
mod compaction;
mod configurations;
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
mod reads;
mod receive;
mod refusal;
mod replication;
mod settings;
mod snapshot;
mod status;
mod term_runs;
mod transfer;
mod turn;
mod types;

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
    Address, ClusterId, Epoch, Identity, Incarnation, Index, InvalidName, LogId, Now, RaftId, RecoveryEpoch,
    Round, Sequence, ServerId, Term, Ticket,
};
