//! What members say to each other.
//!
//! Every message carries the sender's current term, who sends it and for whom it is meant, both
//! with incarnation (K1). Requests of a lower term are answered with ours; answers of a lower
//! term are dropped, except to a pre-vote. All fields are bytes from a network: the core checks each before use, and a
//! message that no member of ours would send is ignored and counted.
//! Snapshots travel on a connection of their own; here only what is said about them.

use crate::entry::Entry;
use crate::types::{Epoch, Index, LogId, Round, ServerId, Term};

/// One message from one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub from: ServerId,
    /// For whom it is meant.
    pub to: ServerId,
    /// The sender's current term.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me? Changes nothing on disk (K10).
    PreVoteRequest {
        /// The term the sender would campaign in.
        proposed: Term,
        /// The sender's last entry.
        last: LogId,
    },
    /// The answer to it.
    PreVoteResponse {
        /// The term asked about.
        proposed: Term,
        /// Whether we would.
        granted: bool,
    },
    /// Vote for me in `Message::term`.
    VoteRequest {
        /// The sender's last entry.
        last: LogId,
        /// The leader itself asked the sender to campaign (S18).
        is_transfer: bool,
    },
    /// The answer to it; it leaves after the vote is on disk.
    VoteResponse {
        /// Whether it got the vote.
        granted: bool,
    },
    /// Entries after `previous`; with none it probes, or tells the commit index.
    AppendRequest {
        /// The replication it belongs to (O5).
        epoch: Epoch,
        /// The entry just before the first one sent.
        previous: LogId,
        /// The entries, contiguous.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer to an append or to a finished snapshot.
    AppendResponse {
        /// Echoed (O5).
        epoch: Epoch,
        /// What became of it.
        outcome: AppendOutcome,
    },
    /// The leader lives (S12). It can neither truncate nor commit.
    HeartbeatRequest {
        /// The replication it belongs to.
        epoch: Epoch,
        /// The round it belongs to (K11).
        round: Round,
    },
    /// The answer to it; it confirms all rounds up to its number.
    HeartbeatResponse {
        /// Echoed.
        epoch: Epoch,
        /// Echoed.
        round: Round,
        /// The follower's commit index: a leader tells it again if the news was lost.
        commit: Index,
        /// The last entry its machine has applied: every restore up to there is in its state (K17).
        applied: Index,
        /// The restore that its machine waits at because nobody gives it the archive; 0 if there is none.
        lacks: Index,
    },
    /// Campaign now, without a pre-vote (S18). Only the current leader's counts (N4).
    TimeoutNow,
    /// `recorded` is not here any more (K1): said by the called, when its directory is another
    /// one, or by a leader that has committed in its term to a caller under another incarnation.
    VolumeLost {
        /// The server that is missed.
        recorded: ServerId,
    },
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Everything up to `matched` is on the follower's disk and equal to the leader's log.
    Accepted {
        /// The last entry known equal.
        matched: Index,
    },
    /// The entry before the sent ones is missing or another one.
    Rejected {
        /// The index of the request's `previous`: tells a stale rejection from a new one.
        previous: Index,
        /// The greatest entry of the follower that may match: at or below `previous`, of a term
        /// not above it. Whole diverging terms are skipped in one step.
        hint: LogId,
    },
}

impl Message {
    /// Joins the parts.
    pub const fn new(from: ServerId, to: ServerId, term: Term, body: Body) -> Self {
        Self { from, to, term, body }
    }
}

impl Body {
    /// Its name in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PreVoteRequest { .. } => "pre_vote_request",
            Self::PreVoteResponse { .. } => "pre_vote_response",
            Self::VoteRequest { .. } => "vote_request",
            Self::VoteResponse { .. } => "vote_response",
            Self::AppendRequest { .. } => "append_request",
            Self::AppendResponse { .. } => "append_response",
            Self::HeartbeatRequest { .. } => "heartbeat_request",
            Self::HeartbeatResponse { .. } => "heartbeat_response",
            Self::TimeoutNow => "timeout_now",
            Self::VolumeLost { .. } => "volume_lost",
        }
    }
}
