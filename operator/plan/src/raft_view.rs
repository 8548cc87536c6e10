//! What Raft said this round: the leader's view, and each member's own answer (K32).

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::limits::HEARD_RECENTLY;

/// The leader's answer, given after a ReadIndex round begun on this request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    /// The leader's Raft ID.
    pub leader: String,
    /// Its recovery epoch (K18).
    pub recovery_epoch: u64,
    /// Its term.
    pub term: u64,
    /// The index of its latest configuration: what a membership step is decided on (I3).
    pub configuration_index: u64,
    /// Whether that configuration is not committed yet.
    pub change_in_flight: bool,
    /// Raft IDs of the newest committed configuration, both halves if joint; equal to `servers` when nothing is in flight.
    pub committed: Vec<String>,
    /// The servers of the latest configuration, both halves if joint.
    pub servers: Vec<ServerView>,
    /// Healthy voters less the quorum, floored at zero, as autopilot computes it.
    pub failure_tolerance: u32,
    /// The autopilot settings in force.
    pub settings: AutopilotSettings,
    /// The leader is short of disk space (K8): nobody's lag is then held against him.
    pub short_of_space: bool,
}

/// A server of the configuration as its leader sees it.
#[allow(clippy::struct_excessive_bools)] // each is an answer of its own
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerView {
    /// Names its data directory.
    pub raft_id: String,
    /// 32 hexadecimal digits (K1).
    pub incarnation: String,
    /// As in the configuration.
    pub address: String,
    /// Whether it votes.
    pub is_voter: bool,
    /// What it is meant to be.
    pub intent: Intent,
    /// Autopilot's verdict.
    pub is_healthy: bool,
    /// Why not, in autopilot's words; empty if healthy.
    pub unhealthy_because: String,
    /// Silent for the whole dead threshold, by the leader's own clock (K55).
    pub is_dead: bool,
    /// Age of its last acknowledgement at the leader; none before the first in this term.
    pub last_contact: Option<Duration>,
    /// The last entry known to be on its disk.
    pub match_index: u64,
    /// How many entries its log trails the leader's.
    pub trailing: u64,
    /// How far a snapshot on its way to it has come, in bytes.
    pub snapshot_offset_bytes: Option<u64>,
    /// How long it has been healthy without a break.
    pub healthy_for: Duration,
    /// It has no vote, and autopilot wants none for it now: it stands by in its zone, or an upgrade holds its vote back.
    pub stands_by: bool,
    /// What keeps its vote back besides its health, in autopilot's words; empty if nothing does.
    pub vote_held_because: String,
    /// Its peers refuse it because its directory has another incarnation (K1): its volume was emptied or swapped.
    pub is_volume_lost: bool,
}

impl ServerView {
    /// Whether it is still on its way to its place: to a vote, or to standing by.
    pub fn joins(&self) -> bool {
        let has_place = self.stands_by && self.is_healthy && !broken(Mutant::R16Standby);
        !self.is_voter && !has_place && !self.is_silent_standby()
    }

    /// A stand-by that is heard no more: it was one, and does not join.
    pub fn is_silent_standby(&self) -> bool {
        let is_silent = self.is_dead || self.last_contact.is_some_and(|age| age >= HEARD_RECENTLY);
        !self.is_voter && self.stands_by && !self.is_healthy && is_silent
    }
}

/// What a server is meant to be (K15).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intent {
    /// Votes once stable.
    #[default]
    Voter,
    /// Takes the place of an old server.
    ReplacementFor {
        /// The old server's Raft ID.
        raft_id: String,
        /// And its incarnation.
        incarnation: String,
    },
    /// Never votes.
    ReadReplica,
}

/// Autopilot settings that the resource carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutopilotSettings {
    /// Longer without an acknowledgement is unhealthy.
    pub last_contact_threshold: Duration,
    /// Silent for longer is dead: it is replaced.
    pub dead_server_last_contact_threshold: Duration,
    /// Trailing by more entries is unhealthy.
    pub max_trailing_logs: u64,
    /// Unbroken health needed for a vote.
    pub server_stabilization_time: Duration,
    /// Declared replicas (K27).
    pub min_quorum: u32,
    /// The label that says the zone; empty: zones are off.
    pub redundancy_zone_tag: String,
    /// The annotation that says the application's version; empty: versions are not told.
    pub upgrade_version_tag: String,
    /// Votes do not move by versions: rollouts make members newer in place.
    pub disable_upgrade_migration: bool,
}

/// What one member said of itself this round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAnswer {
    /// Its Raft ID.
    pub raft_id: String,
    /// Its directory's incarnation, 32 hexadecimal digits.
    pub incarnation: String,
    /// Its cluster ID; none = the directory is empty (K2).
    pub cluster_id: Option<String>,
    /// It knows a committed configuration without it (K19).
    pub is_removed: bool,
    /// The leader it hears, by Raft ID.
    pub leader: Option<String>,
    /// Its term.
    pub term: u64,
    /// Its recovery epoch.
    pub recovery_epoch: u64,
    /// Raft IDs of the voters in the latest configuration it knows.
    pub voters: Vec<String>,
    /// Term and index of the last entry of its log.
    pub last: (u64, u64),
    /// The oldest and the newest version of formats it speaks (K24).
    pub versions: (u32, u32),
    /// A hash of the certificates it uses; empty = an older sidecar, which does not say.
    pub credentials: String,
    /// What it can't do, in its own words (`PublishingBlocked`, a refusal by its peers); empty if nothing.
    pub trouble: String,
}

impl RaftView {
    /// The server of this Raft ID.
    pub fn server(&self, raft_id: &str) -> Option<&ServerView> {
        self.servers.iter().find(|server| server.raft_id == raft_id)
    }

    /// Whether this ID is in the latest or in the committed configuration: until neither holds it, it is not gone.
    pub fn holds(&self, raft_id: &str) -> bool {
        self.server(raft_id).is_some() || self.committed.iter().any(|id| id == raft_id)
    }

    /// The servers that vote.
    pub fn voters(&self) -> impl Iterator<Item = &ServerView> {
        self.servers.iter().filter(|server| server.is_voter)
    }

    /// How many servers vote.
    pub fn voter_count(&self) -> usize {
        self.voters().count()
    }

    /// How many stand by: they have no vote now, and need none.
    pub fn standby_count(&self) -> usize {
        self.servers.iter().filter(|server| !server.is_voter && server.stands_by).count()
    }

    /// How many of the voters are healthy.
    pub fn healthy_voter_count(&self) -> usize {
        self.voters().filter(|server| server.is_healthy).count()
    }
}

/// A majority of so many voters.
pub const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}
