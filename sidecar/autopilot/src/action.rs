//! What autopilot does, and what it would like to do and may not yet.

use std::fmt;
use std::time::Duration;

use quorate_raft::{Index, Now, ServerId, Term, Version};

use crate::health::{Unhealthy, seconds_up};

/// One change of the group. Each is a compare-and-set: it was decided in this term on this
/// configuration, and the core refuses it in any other (A12, K13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give a non-voter its vote.
    Promote {
        /// Who.
        server: ServerId,
        /// The configuration it was decided on.
        expected: Index,
        /// The term it was decided in, and in which the server is stable.
        term: Term,
    },
    /// Give a replacement the vote of the server it replaces, in one change (K14, K15).
    Replace {
        /// Whose vote.
        old: ServerId,
        /// Who gets it.
        server: ServerId,
        /// Whether the old one was declared to go; else it is gone or dead.
        old_has_left: bool,
        /// The configuration it was decided on.
        expected: Index,
        /// The term it was decided in, and in which the server is stable.
        term: Term,
    },
    /// Take a voter's vote; it stays in the configuration.
    Demote {
        /// Whose.
        server: ServerId,
        /// The configuration it was decided on.
        expected: Index,
        /// The term it was decided in.
        term: Term,
    },
    /// Take a dead server out of the configuration.
    Remove {
        /// Who.
        server: ServerId,
        /// The configuration it was decided on.
        expected: Index,
        /// The term it was decided in.
        term: Term,
    },
    /// Hand leadership to a voter.
    TransferLeadership {
        /// To whom.
        to: ServerId,
        /// The configuration it was decided on.
        expected: Index,
        /// The term it was decided in.
        term: Term,
    },
    /// Raise the cluster's version by one step (K24).
    RaiseVersion {
        /// To which.
        to: Version,
        /// The configuration it was decided on.
        expected: Index,
    },
}

/// The kind of an [`Action`], for what is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// A vote: [`Action::Promote`] or [`Action::Replace`].
    Promote,
}

impl ActionKind {
    /// As status and labels spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "Promote",
        }
    }
}

/// An action that is wanted and held back (A23, P6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What is wanted.
    pub action: ActionKind,
    /// For whom.
    pub server: ServerId,
    /// Why not yet.
    pub reason: BlockedReason,
    /// Since when for this reason.
    pub since: Now,
}

impl Blocked {
    /// A sentence for people. `name` is what they call the server; a reason that names another server calls it by
    /// its Raft ID.
    pub fn message(&self, name: &str) -> String {
        match self.action {
            ActionKind::Promote => format!("{name} {}", self.reason),
        }
    }
}

/// Why an action is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockedReason {
    /// The server is not healthy.
    Unhealthy(Unhealthy),
    /// It is healthy, but not for long enough (P5).
    Stabilizing {
        /// How much is still missing.
        missing: Duration,
        /// How much is needed.
        needed: Duration,
    },
    /// The platform says that the server is meant to go.
    Leaving,
    /// It waits for the vote of this one, which is neither gone, dead nor leaving (K15).
    WaitsForReplaced {
        /// The server it replaces.
        old: ServerId,
    },
    /// Another change is not committed yet: one at a time.
    ConfigurationChanging,
    /// This one comes first: one change a round.
    AnotherFirst {
        /// The server that is promoted now.
        server: ServerId,
    },
    /// Too few voters are healthy for any change to be committed.
    QuorumLost {
        /// Healthy voters.
        healthy: usize,
        /// All voters.
        voters: usize,
        /// How many a write needs.
        needed: usize,
    },
}

impl BlockedReason {
    /// As status and labels spell it; the same word as long as the reason is of the same kind.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unhealthy(_) => "Unhealthy",
            Self::Stabilizing { .. } => "Stabilizing",
            Self::Leaving => "Leaving",
            Self::WaitsForReplaced { .. } => "WaitsForReplaced",
            Self::ConfigurationChanging => "ConfigurationChanging",
            Self::AnotherFirst { .. } => "AnotherFirst",
            Self::QuorumLost { .. } => "QuorumLost",
        }
    }
}

impl fmt::Display for BlockedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unhealthy(reason) => write!(f, "gets no vote yet: {reason}"),
            Self::Stabilizing { missing, needed } => write!(
                f,
                "needs {} s more of health ({} s), then votes",
                seconds_up(*missing),
                seconds_up(*needed)
            ),
            Self::Leaving => write!(f, "gets no vote: it is being removed"),
            Self::WaitsForReplaced { old } => {
                write!(f, "votes once {}, which it replaces, is gone, dead or leaving", old.raft_id)
            }
            Self::ConfigurationChanging => write!(f, "votes after the membership change in progress"),
            Self::AnotherFirst { server } => {
                write!(f, "votes after {}: one server is promoted at a time", server.raft_id)
            }
            Self::QuorumLost { healthy, voters, needed } => write!(
                f,
                "gets no vote yet: healthy voters: {healthy} of {voters}, a change needs {needed}; bring voters back first"
            ),
        }
    }
}
