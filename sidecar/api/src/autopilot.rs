//! Autopilot's JSON, as the clients of Consul (`/v1/operator/autopilot/*`) and of Vault (`/v1/sys/storage/raft/autopilot/*`)
//! decode it (autopilot.md §3).
//!
//! Two views of one state: Consul's in its spelling, Vault's in snake case inside an envelope. A field is left out when
//! empty where upstream leaves it out, with one exception: a tolerance of zero is printed (A21).

use std::collections::BTreeMap;

use serde::Serialize;

/// By name, sorted.
pub type Named<T> = BTreeMap<String, T>;

/// `/v1/operator/autopilot/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulHealth {
    /// Every server is.
    pub healthy: bool,
    /// How many healthy voters may fail.
    pub failure_tolerance: u32,
    /// One for each server of the configuration.
    pub servers: Vec<ConsulServerHealth>,
}

/// A server in [`ConsulHealth`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulServerHealth {
    /// Its Raft ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its Pod, if known, else its Raft ID.
    pub name: String,
    /// host:port of its peer link.
    pub address: String,
    /// `alive`, `failed`, `left` or `unknown`.
    pub serf_status: String,
    /// The version of its build, if known.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// Age of its last contact as Go writes it.
    pub last_contact: String,
    /// The term of its last entry.
    pub last_term: u64,
    /// Its last entry.
    pub last_index: u64,
    /// Whether it is healthy.
    pub healthy: bool,
    /// Whether it votes.
    pub voter: bool,
    /// When its health last changed, RFC 3339, UTC.
    pub stable_since: String,
}

/// `/v1/operator/autopilot/state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulState {
    /// Every server is healthy.
    pub healthy: bool,
    /// How many healthy voters may fail.
    pub failure_tolerance: u32,
    /// How many servers may fail one after the other.
    pub optimistic_failure_tolerance: u32,
    /// By Raft ID.
    pub servers: Named<ConsulServer>,
    /// The leader's Raft ID.
    pub leader: String,
    /// Raft IDs of the voters.
    pub voters: Vec<String>,
    /// Raft IDs of permanent non-voters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_replicas: Vec<String>,
    /// The zones, if they are used.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redundancy_zones: Named<ConsulZone>,
    /// Where an upgrade migration stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<ConsulUpgrade>,
}

/// A server in [`ConsulState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulServer {
    /// Its Raft ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its Pod, if known, else its Raft ID.
    pub name: String,
    /// host:port of its peer link.
    pub address: String,
    /// `alive`, `failed`, `left` or `unknown`.
    pub node_status: String,
    /// The version of its build, if known.
    pub version: String,
    /// Age of its last contact as Go writes it.
    pub last_contact: String,
    /// The term of its last entry.
    pub last_term: u64,
    /// Its last entry.
    pub last_index: u64,
    /// Whether it is healthy.
    pub healthy: bool,
    /// When its health last changed, RFC 3339, UTC.
    pub stable_since: String,
    /// Its zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub redundancy_zone: String,
    /// The version upgrade migration goes by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upgrade_version: String,
    /// Whether it will never vote.
    pub read_replica: bool,
    /// `leader`, `voter` or `non-voter`.
    pub status: &'static str,
    /// Consul's tags: we have none.
    pub meta: Named<String>,
    /// `voter`, `read-replica`, `zone-voter`, `zone-standby` or `zone-extra-voter`.
    pub node_type: String,
}

/// A zone in [`ConsulState`]. Lists are Raft IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulZone {
    /// Its servers.
    pub servers: Vec<String>,
    /// Those that vote.
    pub voters: Vec<String>,
    /// How many of its servers may fail.
    pub failure_tolerance: u32,
}

/// An upgrade migration in [`ConsulState`]. Lists are Raft IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulUpgrade {
    /// Where it stands.
    pub status: String,
    /// The version it goes to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_version: String,
    /// Voters at that version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_voters: Vec<String>,
    /// Other servers at it that may vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_non_voters: Vec<String>,
    /// Read replicas at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_read_replicas: Vec<String>,
    /// Voters at another version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_voters: Vec<String>,
    /// Other servers there that may vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_non_voters: Vec<String>,
    /// Read replicas there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_read_replicas: Vec<String>,
    /// The same for each zone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redundancy_zones: Named<ConsulZoneVersions>,
}

/// A zone in [`ConsulUpgrade`]. Lists are Raft IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulZoneVersions {
    /// Voters at the target version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_voters: Vec<String>,
    /// Other servers at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_non_voters: Vec<String>,
    /// Voters at another version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_voters: Vec<String>,
    /// Other servers there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_non_voters: Vec<String>,
}

/// `/v1/operator/autopilot/configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulConfiguration {
    /// Remove servers that are dead.
    pub cleanup_dead_servers: bool,
    /// As Go writes it.
    pub last_contact_threshold: String,
    /// In entries.
    pub max_trailing_logs: u64,
    /// In voters.
    pub min_quorum: u32,
    /// As Go writes it.
    pub server_stabilization_time: String,
    /// What servers say their zone under; empty: zones are off.
    pub redundancy_zone_tag: String,
    /// Whether upgrades are left to the one who upgrades.
    pub disable_upgrade_migration: bool,
    /// What servers say their upgrade version under; empty: migration is off.
    pub upgrade_version_tag: String,
    /// The index of the first change; 0: never changed.
    pub create_index: u64,
    /// The index of the last change; 0: never changed.
    pub modify_index: u64,
}

/// What Vault wraps an answer in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultAnswer<T> {
    /// A UUID.
    pub request_id: String,
    /// No leases here.
    pub lease_id: &'static str,
    /// No leases here.
    pub renewable: bool,
    /// No leases here.
    pub lease_duration: u32,
    /// The answer itself.
    pub data: T,
    /// Nothing is wrapped here.
    pub wrap_info: Option<()>,
    /// We warn of nothing.
    pub warnings: Option<()>,
    /// No tokens are given out here.
    pub auth: Option<()>,
}

impl<T> VaultAnswer<T> {
    /// An answer with nothing beside it.
    pub fn new(request_id: String, data: T) -> Self {
        Self {
            request_id,
            lease_id: "",
            renewable: false,
            lease_duration: 0,
            data,
            wrap_info: None,
            warnings: None,
            auth: None,
        }
    }
}

/// How Vault says no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultErrors {
    /// What is wrong.
    pub errors: Vec<String>,
}

/// `/v1/sys/storage/raft/autopilot/configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultConfiguration {
    /// Remove servers that are dead.
    pub cleanup_dead_servers: bool,
    /// As Go writes it.
    pub dead_server_last_contact_threshold: String,
    /// Whether upgrades are left to the one who upgrades.
    pub disable_upgrade_migration: bool,
    /// As Go writes it.
    pub last_contact_threshold: String,
    /// In entries.
    pub max_trailing_logs: u64,
    /// In voters.
    pub min_quorum: u32,
    /// As Go writes it.
    pub server_stabilization_time: String,
}

/// `/v1/sys/storage/raft/autopilot/state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultState {
    /// Every server is healthy.
    pub healthy: bool,
    /// How many healthy voters may fail.
    pub failure_tolerance: u32,
    /// How many servers may fail one after the other.
    pub optimistic_failure_tolerance: u32,
    /// By Raft ID.
    pub servers: Named<VaultServer>,
    /// The leader's Raft ID.
    pub leader: String,
    /// Raft IDs of the voters.
    pub voters: Vec<String>,
    /// Raft IDs of the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub non_voters: Vec<String>,
    /// The zones, if they are used.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redundancy_zones: Named<VaultZone>,
    /// Where an upgrade migration stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_info: Option<VaultUpgrade>,
}

/// A server in [`VaultState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultServer {
    /// Its Raft ID.
    pub id: String,
    /// Its Pod, if known, else its Raft ID.
    pub name: String,
    /// host:port of its peer link.
    pub address: String,
    /// `alive`, `failed`, `left` or `unknown`.
    pub node_status: String,
    /// Age of its last contact as Go writes it.
    pub last_contact: String,
    /// The term of its last entry.
    pub last_term: u64,
    /// Its last entry.
    pub last_index: u64,
    /// Whether it is healthy.
    pub healthy: bool,
    /// When its health last changed, RFC 3339, UTC.
    pub stable_since: String,
    /// `leader`, `voter` or `non-voter`.
    pub status: &'static str,
    /// The version of its build, if known.
    pub version: String,
    /// `voter`, `read-replica`, `zone-voter`, `zone-standby` or `zone-extra-voter`.
    pub node_type: String,
    /// Its zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub redundancy_zone: String,
    /// The version upgrade migration goes by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upgrade_version: String,
    /// Whether it will never vote.
    #[serde(skip_serializing_if = "is_false")]
    pub read_replica: bool,
}

/// A zone in [`VaultState`]. Lists are Raft IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultZone {
    /// Its servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Those that vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<String>,
    /// How many of its servers may fail.
    pub failure_tolerance: u32,
}

/// An upgrade migration in [`VaultState`]. Lists are Raft IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultUpgrade {
    /// Where it stands.
    pub status: String,
    /// The version it goes to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_version: String,
    /// Voters at that version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_voters: Vec<String>,
    /// Other servers at it that may vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_non_voters: Vec<String>,
    /// Read replicas at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_read_replicas: Vec<String>,
    /// Voters at another version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_voters: Vec<String>,
    /// Other servers there that may vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_non_voters: Vec<String>,
    /// Read replicas there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_read_replicas: Vec<String>,
    /// The same for each zone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redundancy_zones: Named<VaultZoneVersions>,
}

/// A zone in [`VaultUpgrade`]. Lists are Raft IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultZoneVersions {
    /// Voters at the target version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_voters: Vec<String>,
    /// Other servers at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_version_non_voters: Vec<String>,
    /// Voters at another version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_voters: Vec<String>,
    /// Other servers there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_version_non_voters: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_false(value: &bool) -> bool {
    !value
}
