//! The member this client talks to, and who leads.

use quorate_api::v1;

/// The sidecar's own picture of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As people see it: the Pod.
    pub name: String,
    /// Its Raft ID.
    pub raft_id: String,
    /// What it does.
    pub role: Role,
    /// The Raft ID of the leader it knows, if any.
    pub leader: Option<String>,
    /// The term.
    pub term: u64,
    /// Up to where it has applied the log.
    pub applied_index: u64,
    /// Caught up once since it started.
    pub is_ready: bool,
    /// Its version.
    pub version: String,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows, or looks for a leader.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

impl Role {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

impl Member {
    pub(crate) fn from_wire(status: v1::StatusResponse) -> Self {
        let role = match status.role() {
            v1::Role::Leader => Role::Leader,
            v1::Role::Candidate | v1::Role::PreCandidate => Role::Candidate,
            v1::Role::Follower | v1::Role::Unspecified => Role::Follower,
        };
        Self {
            name: status.name,
            raft_id: status.id.unwrap_or_default().raft_id,
            role,
            leader: Some(status.leader_raft_id).filter(|leader| !leader.is_empty()),
            term: status.term,
            applied_index: status.applied_index,
            is_ready: status.is_ready,
            version: status.version,
        }
    }
}
