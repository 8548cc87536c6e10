//! The consensus core.
mod entry;
mod input;
pub mod limits;
mod membership;
mod message;
mod output;
mod refusal;
mod settings;
mod status;
mod types;

pub use entry::{Entry, HardState, IndexedConfiguration, Payload, SnapshotMeta, Stored, TermRun};
pub use input::{Input, LogReader};
pub use membership::{Change, Configuration, Intent, InvalidChange, RemoveReason, Server, Suffrage};
pub use message::{AppendOutcome, Body, Message};
pub use output::{Answer, Apply, Event, InvalidMessage, Output, Persist, StepDownReason};
pub use refusal::Refusal;
pub use settings::{InvalidSettings, Settings};
pub use status::{Leader, Membership, PeerStatus, ReplicationState, Role, Status};
pub use types::{
    Address, ClusterId, Epoch, Identity, Incarnation, Index, InvalidName, LogId, Now, RaftId, RecoveryEpoch,
    Round, Sequence, ServerId, Term, Ticket,
};
