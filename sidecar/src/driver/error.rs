//! Why a call to this member failed, and whether it had an effect: one shape for local and forwarded calls.
//!
//! Invariant: `Effect::NotApplied` is said only when it is known. Everything that was handed to a leader and
//! not answered is `Effect::Unknown`, and only what carries a tag is tried again (K20).

use quorate_raft::Refusal;

/// Whether the call changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was changed and nothing will be.
    NotApplied,
    /// It may have been applied, or may yet be.
    Unknown,
}

/// What a caller can do differently about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No leader was found before the deadline: retry later.
    NoLeader,
    /// A queue is full: retry after a pause.
    Busy,
    /// The volume is nearly full: delete something or grow it.
    NoSpace,
    /// A membership change is under way: retry when it is done.
    ConfigurationChanging,
    /// The configuration is not the expected one: read it again.
    ConfigurationMismatch,
    /// The change would leave too few healthy voters: heal first.
    WouldLoseQuorum,
    /// The request can't be done in this state, and a retry won't help.
    FailedPrecondition,
    /// The request itself is wrong.
    Invalid,
    /// This member was removed from its cluster (K19).
    Removed,
    /// The deadline passed.
    Deadline,
    /// Leadership ended before the entry was known to be committed.
    LeadershipLost,
    /// The process is stopping.
    Stopping,
    /// The leader could not be reached, or the connection broke.
    Unreachable,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::NoLeader,
        Self::Busy,
        Self::NoSpace,
        Self::ConfigurationChanging,
        Self::ConfigurationMismatch,
        Self::WouldLoseQuorum,
        Self::FailedPrecondition,
        Self::Invalid,
        Self::Removed,
        Self::Deadline,
        Self::LeadershipLost,
        Self::Stopping,
        Self::Unreachable,
    ];

    /// Its number between members; never changes.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::NoLeader => 1,
            Self::Busy => 2,
            Self::NoSpace => 3,
            Self::ConfigurationChanging => 4,
            Self::ConfigurationMismatch => 5,
            Self::WouldLoseQuorum => 6,
            Self::FailedPrecondition => 7,
            Self::Invalid => 8,
            Self::Removed => 9,
            Self::Deadline => 10,
            Self::LeadershipLost => 11,
            Self::Stopping => 12,
            Self::Unreachable => 13,
        }
    }

    /// The kind of that number; one that is not known yet is a failed precondition.
    pub(crate) fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|kind| kind.number() == number).unwrap_or(Self::FailedPrecondition)
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// Whether it had an effect.
    pub effect: Effect,
    /// What failed, why, and what to do next.
    pub message: String,
}

impl CallError {
    /// A call that certainly changed nothing.
    pub fn not_applied(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, effect: Effect::NotApplied, message: message.into() }
    }

    /// A call that may have changed something.
    pub fn unknown(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, effect: Effect::Unknown, message: message.into() }
    }

    /// Whether another leader, or the same one a moment later, may answer: it said that it did nothing,
    /// because it does not lead.
    pub(crate) fn is_retried_on_next_leader(&self) -> bool {
        self.effect == Effect::NotApplied && matches!(self.kind, ErrorKind::NoLeader | ErrorKind::Unreachable)
    }

    /// Whether the leader vanished, or lost its office, before it told what became of the call. Only a call that is
    /// recognised when it comes a second time may be sent again (K20).
    pub(crate) fn is_left_open(&self) -> bool {
        self.effect == Effect::Unknown
            && matches!(self.kind, ErrorKind::Unreachable | ErrorKind::LeadershipLost | ErrorKind::Stopping)
    }

    pub(crate) fn stopping() -> Self {
        Self::not_applied(ErrorKind::Stopping, "this member is stopping: retry on another one")
    }

    pub(crate) fn busy(what: &str) -> Self {
        Self::not_applied(ErrorKind::Busy, format!("{what} is full: retry after a pause; not applied"))
    }

    pub(crate) fn no_leader() -> Self {
        Self::not_applied(ErrorKind::NoLeader, "No cluster leader: retry when one is elected; not applied")
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let kind = match refusal {
            // A transfer is over in a moment, and then somebody leads.
            Refusal::NotLeader { .. } | Refusal::TransferInProgress => ErrorKind::NoLeader,
            Refusal::Busy { .. } => ErrorKind::Busy,
            Refusal::LeadershipLost { .. } => return Self::unknown(ErrorKind::LeadershipLost, message),
            Refusal::ConfigurationChanging { .. } => ErrorKind::ConfigurationChanging,
            Refusal::ConfigurationMismatch { .. } => ErrorKind::ConfigurationMismatch,
            Refusal::WouldLoseQuorum { .. } => ErrorKind::WouldLoseQuorum,
            Refusal::Removed => ErrorKind::Removed,
            Refusal::TooLarge { .. } | Refusal::InvalidChange(_) | Refusal::WrongIdentity { .. } => {
                ErrorKind::Invalid
            }
            Refusal::TransferTimedOut => ErrorKind::Deadline,
            _ => ErrorKind::FailedPrecondition,
        };
        Self::not_applied(kind, message)
    }
}
