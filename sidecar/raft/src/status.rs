//! What the core shows of itself: for status, metrics, the autopilot.

use quorate_mutants::{Mutant, broken};
use std::time::Duration;

use crate::entry::IndexedConfiguration;
use crate::raft::{Raft, RoleState};
use crate::types::{Address, Index, LogId, ServerId, Term, Version, Versions};

/// A picture of one member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub id: ServerId,
    /// What it does.
    pub role: Role,
    /// Its current term.
    pub term: Term,
    /// The leader it hears, if any.
    pub leader: Option<Leader>,
    /// When it last heard a leader; zero if it leads; none if never since start.
    pub last_contact: Option<Duration>,
    /// Its place in the group.
    pub membership: Membership,
    /// The first entry of the log.
    pub first: Index,
    /// The last entry of the log.
    pub last: LogId,
    /// The last entry that storage has confirmed.
    pub persisted: Index,
    /// The commit index.
    pub commit: Index,
    /// The last entry the machine has applied.
    pub applied: Index,
    /// The last entry a synced flush holds (K3).
    pub durable_applied: Index,
    /// Bytes in the log, an estimate.
    pub log_bytes: u64,
    /// Whether the leader has committed in its own term: before that it changes and reads nothing.
    pub is_ready: bool,
    /// The configuration in effect; none before the first.
    pub latest: Option<IndexedConfiguration>,
    /// The newest committed configuration.
    pub committed: Option<IndexedConfiguration>,
    /// The version of the cluster, as far as this member knows (K24); none before the first configuration.
    pub version: Option<Version>,
    /// What this build speaks.
    pub versions: Versions,
    /// Whether leadership is being handed over.
    pub is_transferring: bool,
    /// The leader's view of the others; empty on followers.
    pub peers: Vec<PeerStatus>,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It listens.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// A member's place in the group, as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// In no configuration so far: newly made, or still catching up.
    NotYet,
    /// In the latest configuration without a vote.
    NonVoter,
    /// In the latest configuration with a vote.
    Voter,
    /// It was a member, and a committed configuration is without it (K19).
    Removed,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Who.
    pub id: ServerId,
    /// Where, as the configuration says; none if it is not (yet) in ours.
    pub address: Option<Address>,
}

/// The leader's view of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub id: ServerId,
    /// The last entry known to be on its disk.
    pub matched: Index,
    /// That entry's term; 0 if the log no longer knows it.
    pub matched_term: Term,
    /// The next entry to send.
    pub next: Index,
    /// Age of its last acknowledgement of any kind in this term; none before the first.
    pub last_ack: Option<Duration>,
    /// How it is supplied.
    pub replication: ReplicationState,
    /// What its present connection says it speaks; none without one (K24).
    pub versions: Option<Versions>,
}

/// How a peer is supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationState {
    /// One message at a time, to find where the logs part.
    Probe,
    /// A pipeline.
    Replicate,
    /// By a snapshot; its last entry once known.
    Snapshot(Option<LogId>),
}

impl Status {
    /// Whether a membership change is under way: not committed yet, or a replacement not through.
    pub fn is_changing(&self) -> bool {
        let index = |known: &Option<IndexedConfiguration>| known.as_ref().map(|known| known.index);
        index(&self.latest) != index(&self.committed)
            || self.latest.as_ref().is_some_and(|latest| latest.configuration.is_joint())
    }
}

impl Raft {
    /// A picture of this moment; cheap enough for every request that asks.
    pub fn status(&self) -> Status {
        let latest = self.configurations.latest();
        let leader = self.leader.clone().map(|id| {
            let server = latest.and_then(|latest| latest.configuration.get(&id));
            let first = latest.and_then(|latest| latest.configuration.servers().first());
            let server = if broken(Mutant::B16) { first } else { server };
            let address = server.map(|server| server.address.clone());
            Leader { id, address }
        });
        Status {
            id: self.id().clone(),
            role: self.role(),
            term: self.hard.term,
            leader,
            last_contact: self.contact_age(),
            membership: self.membership(),
            first: self.log.first(),
            last: self.log.last(),
            persisted: self.log.persisted(),
            commit: self.commit,
            applied: self.applier.index(),
            durable_applied: self.durable_applied,
            log_bytes: self.log.bytes(),
            is_ready: self.is_ready(),
            latest: latest.cloned(),
            committed: self.configurations.committed().cloned(),
            version: self.version(),
            versions: self.identity.versions,
            is_transferring: self.leading().is_some_and(|lead| lead.transfer.is_some()),
            peers: self.peer_statuses(),
        }
    }

    /// What this member does.
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower => Role::Follower,
            RoleState::PreCandidate { .. } => Role::PreCandidate,
            RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    fn peer_statuses(&self) -> Vec<PeerStatus> {
        let Some(lead) = self.leading() else { return Vec::new() };
        let present = lead.peers.iter().filter(|(_, peer)| peer.departing.is_none());
        let status = |(id, peer): (&ServerId, &crate::progress::Progress)| PeerStatus {
            id: id.clone(),
            matched: peer.matched,
            matched_term: self.log.term_at(peer.matched).unwrap_or_default(),
            next: peer.next,
            last_ack: peer.last_ack.map(|ack| self.now.since(ack)),
            replication: peer.replication(),
            versions: self.versions.get(id).copied(),
        };
        present.map(status).collect()
    }
}
