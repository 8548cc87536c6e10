//! Shapes of JSON answers, field by field in the order and spelling clients know.
//!
//! What Consul's clients read is spelled Consul's way; `/status` is ours. Only what is sent is here:
//! the values are made in the sidecar, from types that know nothing of JSON.

use serde::Serialize;

/// An entry of `/v1/kv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KvEntry {
    /// How often the key was locked.
    pub lock_index: u64,
    /// The key.
    pub key: String,
    /// The client's own mark.
    pub flags: u64,
    /// Base64, or null when empty.
    pub value: Option<String>,
    /// Who holds it; left out when nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The index of its first write.
    pub create_index: u64,
    /// The index of its last write.
    pub modify_index: u64,
}

/// A session of `/v1/session/info`, `list`, `node` and `renew`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    /// Its ID, a UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// The client's own name for it.
    pub name: String,
    /// The member it is bound to.
    pub node: String,
    /// In nanoseconds.
    pub lock_delay: u64,
    /// `release` or `delete`.
    pub behavior: &'static str,
    /// As the client wrote it.
    #[serde(rename = "TTL")]
    pub ttl: String,
    /// Checks of the node.
    pub node_checks: Vec<&'static str>,
    /// Checks of services: an empty list, or null.
    pub service_checks: Option<[(); 0]>,
    /// Checks by name, if some were named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<&'static str>>,
    /// The index of its creation.
    pub create_index: u64,
    /// The same: a session does not change.
    pub modify_index: u64,
}

/// The answer to `/v1/session/create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionCreated {
    /// The session's ID, a UUID.
    #[serde(rename = "ID")]
    pub id: String,
}

/// The answer to `/v1/txn`: results when it was applied, else errors; the other one is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Txn {
    /// What the operations gave, in order.
    pub results: Option<Vec<TxnResult>>,
    /// Every operation that failed.
    pub errors: Option<Vec<TxnError>>,
}

/// What one operation of [`Txn`] gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TxnResult {
    /// The entry.
    #[serde(rename = "KV")]
    pub kv: KvEntry,
}

/// A failed operation of [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TxnError {
    /// Which, from 0.
    pub op_index: u32,
    /// Why, in Consul's words.
    pub what: String,
}

/// `/v1/operator/raft/configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RaftConfiguration {
    /// The servers, by Raft ID.
    pub servers: Vec<RaftServer>,
    /// The index of the configuration.
    pub index: u64,
}

/// A server in [`RaftConfiguration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RaftServer {
    /// Its Raft ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// The same: what people call it is not known here.
    pub node: String,
    /// host:port of its peer link.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes.
    pub voter: bool,
    /// Always `3`: what Consul's command line expects to read.
    pub protocol_version: &'static str,
    /// Its last entry, as far as the member asked knows.
    pub last_index: u64,
}

/// The answer to `/v1/operator/raft/transfer-leader`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LeaderTransferred {
    /// Always true: anything else is an error.
    pub success: bool,
}

/// `/v1/sys/storage/raft/configuration`, within Vault's envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultRaft {
    /// The configuration.
    pub config: VaultRaftConfiguration,
}

/// The configuration in [`VaultRaft`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultRaftConfiguration {
    /// The servers, by Raft ID.
    pub servers: Vec<VaultRaftServer>,
    /// The index of the configuration.
    pub index: u64,
}

/// A server in [`VaultRaftConfiguration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultRaftServer {
    /// Its Raft ID.
    pub node_id: String,
    /// host:port of its peer link.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Always `3`: what Vault's command line expects to read.
    pub protocol_version: &'static str,
    /// Whether it votes.
    pub voter: bool,
}

/// `/status` on the ops port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// As people see it: the Pod.
    pub name: String,
    /// Its Raft ID.
    pub raft_id: String,
    /// The random number of its directory, 32 hex digits.
    pub incarnation: String,
    /// 32 hex digits.
    pub cluster_id: String,
    /// How often quorum was recovered by hand.
    pub recovery_epoch: u64,
    /// The sidecar's version.
    pub version: &'static str,
    /// The node it runs on; empty if unknown.
    pub node: String,
    /// Its zone; empty if unknown.
    pub zone: String,
    /// `empty`, `joining`, `non-voter`, `voter` or `removed`.
    pub member_state: &'static str,
    /// `follower`, `pre-candidate`, `candidate` or `leader`.
    pub role: &'static str,
    /// The term.
    pub term: u64,
    /// The leader's Raft ID, if one is known.
    pub leader: Option<String>,
    /// Milliseconds since a leader was last known.
    pub last_contact_ms: Option<u64>,
    /// Caught up once since the start.
    pub ready: bool,
    /// The volume is nearly full.
    pub space_low: bool,
    /// The cluster knows this Raft ID with another volume.
    pub volume_lost: bool,
    /// Why this member, leading, cannot publish to Kubernetes; empty if it can, or need not.
    pub publishing_error: String,
    /// Where the log stands.
    pub log: LogStatus,
    /// The configuration in effect, if there is one.
    pub configuration: Option<ConfigurationStatus>,
}

/// Where a member's log stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    /// The first entry kept.
    pub first_index: u64,
    /// The last entry.
    pub last_index: u64,
    /// Its term.
    pub last_term: u64,
    /// Committed up to here.
    pub commit_index: u64,
    /// Applied up to here.
    pub applied_index: u64,
    /// Applied and synced up to here.
    pub durable_applied_index: u64,
    /// Its size, an estimate.
    pub log_bytes: u64,
}

/// A configuration in [`MemberStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// Its index.
    pub index: u64,
    /// Whether it is committed.
    pub committed: bool,
    /// The servers, by Raft ID.
    pub servers: Vec<ServerStatus>,
}

/// A server in [`ConfigurationStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Its Raft ID.
    pub raft_id: String,
    /// host:port of its peer link.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// At the leader: by how many entries it trails.
    pub trailing: Option<u64>,
    /// At the leader: milliseconds since its last acknowledgement.
    pub last_ack_ms: Option<u64>,
}
