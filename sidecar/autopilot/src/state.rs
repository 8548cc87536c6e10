//! What a round concludes: a picture of the group for people, APIs and gauges, all from one moment.
//!
//! Lists are in one order everywhere (A9): the leader; voters before non-voters; healthy before unhealthy; of the
//! healthy the longest stable first, of the unhealthy the latest to fail first; then by ID.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Address, Index, Intent, Now, ServerId, Term};

use crate::blocked::Blocked;
use crate::health::Unhealthy;
use crate::input::Stats;
use crate::upgrade::UpgradeState;
use crate::zone::ZoneState;

/// The group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// When it was computed.
    pub at: Now,
    /// The term it belongs to.
    pub term: Term,
    /// The configuration it belongs to.
    pub configuration_index: Index,
    /// Whether every server is healthy, non-voters included.
    pub is_healthy: bool,
    /// How many healthy voters may fail before writes stop. 0 both at the quorum and below it: see `is_quorum_lost`.
    pub failure_tolerance: usize,
    /// Whether fewer voters are healthy than a write needs.
    pub is_quorum_lost: bool,
    /// How many servers may fail one after the other, with time in between for stand-bys to get votes; equal to
    /// `failure_tolerance` without redundancy zones. 0 if the quorum is lost.
    pub optimistic_failure_tolerance: usize,
    /// Who leads.
    pub leader: Option<ServerId>,
    /// Who votes, in the order of the module.
    pub voters: Vec<ServerId>,
    /// Who never votes, by its own wish (A31), in the order of the module.
    pub read_replicas: Vec<ServerId>,
    /// The redundancy zones by name; empty unless they are on.
    pub zones: BTreeMap<String, ZoneState>,
    /// How far an upgrade has come.
    pub upgrade: UpgradeState,
    /// Every server of the configuration, in the order of the module.
    pub servers: Vec<ServerState>,
    /// What autopilot wants to do and may not do yet (A23).
    pub blocked: Vec<Blocked>,
}

impl State {
    /// The server's part.
    pub fn server(&self, id: &ServerId) -> Option<&ServerState> {
        self.servers.iter().find(|server| server.id == *id)
    }
}

/// One server at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Who.
    pub id: ServerId,
    /// Where, as the configuration has it.
    pub address: Address,
    /// What it is now.
    pub role: ServerRole,
    /// What it is meant to be (K15).
    pub intent: Intent,
    /// What autopilot makes of it.
    pub node_type: NodeType,
    /// The redundancy zone it says it is in, now or when it was last heard.
    pub zone: Option<String>,
    /// Its build, if it ever said.
    pub build: Option<String>,
    /// The version its upgrade is judged by, if it ever said.
    pub upgrade_version: Option<String>,
    /// Whether it runs, as far as anybody knows.
    pub status: NodeStatus,
    /// It was silent for the whole dead threshold; one that was never heard under this leader is silent since it leads.
    pub is_dead: bool,
    /// Its progress; the contact's age grows while nothing new is heard.
    pub stats: Stats,
    /// Whether it is well.
    pub health: Health,
}

/// What a server is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerRole {
    /// It leads.
    Leader,
    /// It votes.
    Voter,
    /// It receives the log.
    NonVoter,
}

impl ServerRole {
    /// Whether it counts for a quorum.
    pub fn has_vote(self) -> bool {
        match self {
            Self::Leader | Self::Voter => true,
            Self::NonVoter => false,
        }
    }
}

/// What autopilot makes of a server (`autopilot.md` §4), in Vault's and Consul's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// It votes or is meant to; in no zone.
    Voter,
    /// It never votes, by its own wish.
    ReadReplica,
    /// The voter of its zone; or any server of a zone that has no voter yet.
    ZoneVoter,
    /// It stands by for the voter of its zone.
    ZoneStandby,
    /// It votes besides the voter of its zone, because another zone has no healthy server.
    ZoneExtraVoter,
}

impl NodeType {
    /// As Vault and Consul spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::ReadReplica => "read-replica",
            Self::ZoneVoter => "zone-voter",
            Self::ZoneStandby => "zone-standby",
            Self::ZoneExtraVoter => "zone-extra-voter",
        }
    }
}

/// Whether a server runs. (Consul's Serf states.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    /// Nobody knows.
    Unknown,
    /// The leader hears it.
    Alive,
    /// The platform says that it does not run.
    Failed,
    /// It is meant to go.
    Left,
}

/// Whether a server is well, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The verdict, after hysteresis.
    pub is_healthy: bool,
    /// When the verdict last changed (D1, A5).
    pub stable_since: Now,
    /// Why it is unhealthy; `None` if it is healthy.
    pub reason: Option<Unhealthy>,
    /// What this round alone saw; a healthy server may have one or two bad samples.
    pub sample: Result<(), Unhealthy>,
}

impl Health {
    /// How long it has been healthy without a break; `None` if it is not.
    pub fn healthy_for(&self, now: Now) -> Option<Duration> {
        self.is_healthy.then(|| now.since(self.stable_since))
    }
}

/// A majority of `voters`.
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// How many of the healthy voters may fail before writes stop (A3).
pub fn failure_tolerance(voters: usize, healthy: usize) -> usize {
    healthy.saturating_sub(quorum(voters))
}

/// The order of the module (A9).
pub(crate) fn order(a: &ServerState, b: &ServerState) -> Ordering {
    let since = |server: &ServerState| server.health.stable_since;
    let by_stability = match (a.health.is_healthy, b.health.is_healthy) {
        (true, true) => since(a).cmp(&since(b)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => since(b).cmp(&since(a)),
    };
    if broken(Mutant::A9) {
        return a.id.cmp(&b.id);
    }
    a.role.cmp(&b.role).then(by_stability).then_with(|| a.id.cmp(&b.id))
}
