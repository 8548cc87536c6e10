//! Upgrade migration: votes and leadership move to servers of a newer version once there are enough (`autopilot.md` §4).

use std::collections::BTreeMap;

use quorate_raft::ServerId;

/// How far an upgrade has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeState {
    /// Where it stands.
    pub status: UpgradeStatus,
    /// The newest version of all servers; `None` if it is not known or migration is off.
    pub target_version: Option<String>,
    /// Servers of the target version.
    pub target: VersionServers,
    /// Servers of every other version.
    pub other: VersionServers,
    /// The same by redundancy zone, target and others; without read replicas.
    pub zones: BTreeMap<String, (VersionServers, VersionServers)>,
}

/// Servers of a version, in the order of every list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionServers {
    /// Who votes.
    pub voters: Vec<ServerId>,
    /// Who does not vote and is no read replica.
    pub non_voters: Vec<ServerId>,
    /// Who never votes.
    pub read_replicas: Vec<ServerId>,
}

/// Where an upgrade stands, in Consul's and Vault's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UpgradeStatus {
    /// Migration is off, or no upgrade version tag is set.
    #[default]
    Disabled,
    /// Every server is of one version.
    Idle,
    /// The version of this voter is not known: nothing is done for an upgrade until it is (ours; vault #17019).
    Frozen {
        /// Whose version is missing.
        server: ServerId,
    },
    /// There are newer servers, and not yet enough healthy ones to take over.
    AwaitNewVoters,
    /// Newer servers get votes.
    Promoting,
    /// Older voters lose theirs.
    Demoting,
    /// Leadership goes to a newer server.
    LeaderTransfer,
    /// Leader and voters are new; there are fewer new servers than old ones.
    AwaitNewServers,
    /// The upgrade is done; the old servers may be removed.
    AwaitServerRemoval,
}

impl UpgradeStatus {
    /// As Consul and Vault spell it; `frozen` is ours.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Idle => "idle",
            Self::Frozen { .. } => "frozen",
            Self::AwaitNewVoters => "await-new-voters",
            Self::Promoting => "promoting",
            Self::Demoting => "demoting",
            Self::LeaderTransfer => "leader-transfer",
            Self::AwaitNewServers => "await-new-servers",
            Self::AwaitServerRemoval => "await-server-removal",
        }
    }
}
