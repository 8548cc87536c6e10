//! Why a request was not done. Each says whether it may have had an effect and what to do next.

use std::time::Duration;

use thiserror::Error;

use crate::membership::InvalidChange;
use crate::types::{ClusterId, Index, Mode, RaftId, ServerId, Version, Versions};

/// Why not. Except for `LeadershipLost`, nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Ask the leader.
    #[error("not the leader{}; nothing was changed", leader_hint(leader.as_ref()))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<ServerId>,
    },
    /// Leadership ended before the entry was known to be committed (S17).
    #[error(
        "leadership was lost before entry {index} was known to be committed: outcome unknown; retry with the same client_id and sequence, it will apply at most once"
    )]
    LeadershipLost {
        /// Where the entry stood.
        index: Index,
    },
    /// This member was taken out of the cluster (K19).
    #[error("this member was removed from the cluster: use another member; nothing was changed")]
    Removed,
    /// Too much is under way (K25).
    #[error("busy: {what} is at its limit; retry after a pause; nothing was changed")]
    Busy {
        /// Which limit.
        what: &'static str,
    },
    /// A command over the limit.
    #[error(
        "the command is {bytes} bytes, the limit is {bytes_max} (ENTRY_BYTES_MAX): split it; nothing was changed"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Leadership is being handed over (S18).
    #[error("leadership is being transferred: retry in a moment; nothing was changed")]
    TransferInProgress,
    /// The target did not take over within an election timeout.
    #[error(
        "the leadership transfer timed out: the leader stays; check that the target is caught up and retry"
    )]
    TransferTimedOut,
    /// No voter to hand over to.
    #[error("cannot transfer leadership: {}", no_target(target.as_ref()))]
    NoTransferTarget {
        /// The one asked for, if any.
        target: Option<RaftId>,
    },
    /// One change at a time (K13).
    #[error(
        "a membership change (configuration index {index}) is not committed yet: wait for it, list the members and retry; nothing was changed"
    )]
    ConfigurationChanging {
        /// The index of the uncommitted configuration.
        index: Index,
    },
    /// The leader has not committed, and applied, in its term within the time given (K13, K17).
    #[error(
        "the new leader has not committed and applied an entry of its term within {waited:?}: retry; nothing was changed"
    )]
    NotReady {
        /// How long the request waited.
        waited: Duration,
    },
    /// It was decided on an old picture (S7).
    #[error(
        "configuration changed since it was read (expected index {expected}, now {actual}): list the members again and retry with expected_configuration_index={actual}"
    )]
    ConfigurationMismatch {
        /// What the caller knew.
        expected: Index,
        /// What is.
        actual: Index,
    },
    /// The change means nothing sensible.
    #[error("invalid membership change: {0}; nothing was changed")]
    InvalidChange(#[from] InvalidChange),
    /// Too few voters of the new configuration answer (K13).
    #[error(
        "this change would risk the quorum: {reachable} of the {voters} voters it leaves answered within the last election timeout and a write needs {needed}; bring a voter back or add one first (runbook: quorum-at-risk); nothing was changed"
    )]
    WouldLoseQuorum {
        /// Voters of the new configuration.
        voters: usize,
        /// Those that answered within the last election timeout.
        reachable: usize,
        /// A majority of them.
        needed: usize,
    },
    /// A loss must leave somebody who has what was restored (K17).
    #[error(
        "{having} of the {voters} voters this change leaves have the restored archive (entry {index}) in their state and {needed} must, or one more loss could leave nobody who has it: wait until they have caught up; nothing was changed"
    )]
    NotRestored {
        /// The entry.
        index: Index,
        /// Voters of the new configuration.
        voters: usize,
        /// Those that are known to have it.
        having: usize,
        /// A majority of them.
        needed: usize,
    },
    /// A server that gets a vote must have the log (K13).
    #[error(
        "{id} is {behind} entries behind and gets no vote yet: wait until it has caught up; nothing was changed"
    )]
    NotCaughtUp {
        /// Who.
        id: ServerId,
        /// By how much.
        behind: u64,
    },
    /// A server that gets a vote must be stable under this leader (K13).
    #[error(
        "{id} is not known to be stable under this leader: wait for the autopilot's next round; nothing was changed"
    )]
    NotStable {
        /// Who.
        id: ServerId,
    },
    /// Its volume cannot be lost: it answers under its incarnation (K33).
    #[error(
        "{id} answered {ago:?} ago from the volume said to be lost: check which volume is meant; nothing was changed"
    )]
    StillAlive {
        /// Who.
        id: ServerId,
        /// How long ago it answered.
        ago: Duration,
    },
    /// It does its work, and nobody declared that it goes (K15).
    #[error(
        "{id} acknowledged {ago:?} ago and was not declared to leave: only a voter that is dead, gone or leaving is replaced; declare it first; nothing was changed"
    )]
    StillServes {
        /// Who.
        id: ServerId,
        /// How long ago it acknowledged; zero for the leader itself.
        ago: Duration,
    },
    /// A kind of entry that not every member is known to read (K24).
    #[error(
        "this needs version {needed} of the cluster, which is at {cluster}: update every member, then it is raised; nothing was changed"
    )]
    VersionTooLow {
        /// Since which version that kind is written.
        needed: Version,
        /// What the cluster is at.
        cluster: Version,
    },
    /// A member would not read what is written (K24).
    #[error(
        "{id} {} and the cluster would need version {version} of it: start it with a release that speaks that one; nothing was changed",
        spoken_text(*spoken)
    )]
    VersionNotSpoken {
        /// Who.
        id: ServerId,
        /// What its present connection says; none if there is none.
        spoken: Option<Versions>,
        /// What it would have to speak.
        version: Version,
    },
    /// The directory is in use (K2).
    #[error("this directory is not empty (cluster {}): only an empty one can be bootstrapped; nothing was changed", cluster_text(*cluster_id))]
    NotEmpty {
        /// The cluster it belongs to, if it knows one.
        cluster_id: Option<ClusterId>,
    },
    /// The cluster was founded for something else (K22).
    #[error(
        "this cluster was founded in mode {founded} and the bootstrap asks for {asked}: a cluster keeps its mode; make a new one for another; nothing was changed"
    )]
    OtherMode {
        /// What it was founded for.
        founded: Mode,
        /// What the call asks for.
        asked: Mode,
    },
    /// The call names another directory or cluster (K2).
    #[error(
        "this is {actual} of cluster {cluster_id}, not what the bootstrap names: call exactly the recorded member; nothing was changed"
    )]
    WrongIdentity {
        /// Who we are.
        actual: ServerId,
        /// Our cluster.
        cluster_id: ClusterId,
    },
}

fn leader_hint(leader: Option<&ServerId>) -> String {
    leader.map_or_else(
        || ": no leader is known, retry in a moment".to_owned(),
        |leader| format!(": ask {}", leader.raft_id),
    )
}

fn no_target(target: Option<&RaftId>) -> String {
    target.map_or_else(
        || "no other voter answers; bring one back first".to_owned(),
        |target| format!("{target} is not another voter of this cluster; name one of its voters"),
    )
}

fn spoken_text(spoken: Option<Versions>) -> String {
    spoken.map_or_else(
        || "is not connected now, so what it speaks is not known,".to_owned(),
        |versions| format!("speaks versions {versions}"),
    )
}

fn cluster_text(cluster_id: Option<ClusterId>) -> String {
    cluster_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string())
}
