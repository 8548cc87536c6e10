//! What autopilot does.

use quorate_raft::{Index, ServerId, Term, Version};

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
    /// [`Action::Demote`].
    Demote,
    /// [`Action::Remove`].
    Remove,
    /// [`Action::TransferLeadership`].
    TransferLeadership,
}

impl ActionKind {
    /// As status and labels spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "Promote",
            Self::Demote => "Demote",
            Self::Remove => "Remove",
            Self::TransferLeadership => "TransferLeadership",
        }
    }
}
