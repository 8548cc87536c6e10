//! What the operator and the leader report (K31).
//!
//! Two writers, one owner per part: the leader's sidecar owns `status.raft` and nothing else, the operator owns
//! the rest. Every field is optional, so that either may write first.
//! `kubectl describe` sorts keys at every level and prints list items without a separator. Names are chosen for
//! that order: what is held back first, then the conditions, health, the Raft view, one summary; in a list of
//! members or blocked actions the identity sorts first.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of the cluster as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RaftClusterStatus {
    /// What the operator holds back, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// The cluster's identity, 32 hexadecimal digits; recorded before the first volume claim is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Ready, Available, Progressing, Degraded and Stalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many healthy voters may fail before writes stop; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_tolerance: Option<i32>,
    /// The one member that may ever bootstrap this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub founder: Option<Founder>,
    /// Starting, Healthy, Degraded, Unavailable, Hibernated or Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// The member that leads, or `<none>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The generation of the resource this status was computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The leader's own view; written by its sidecar only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft: Option<RaftStatus>,
    /// The last quorum recovery that was decided on (K18); recorded before anything is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Member Pods that exist, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// What Pods are rendered from, and which still run an older rendering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Selects exactly the member Pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The whole state in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Healthy voters of all voters, such as "3/3"; "Unknown" without a leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voters: Option<String>,
}

/// An action that is held back, by whom and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The member the action is about, or the cluster's name.
    pub member: String,
    /// What is held back, the numbers behind it and what to do.
    pub message: String,
    /// The reason in one CamelCase word.
    pub reason: String,
    /// The planner's rule that holds it back.
    pub rule: String,
}

/// The one member that may ever bootstrap this cluster (K2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Founder {
    /// Whether a leader has reported a committed configuration: from then on nobody bootstraps again.
    pub bootstrapped: bool,
    /// The incarnation of its data directory, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// Its Raft ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft_id: Option<String>,
}

/// A quorum recovery: which survivor became the cluster, and in which epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Recovery {
    /// The epoch; no member below it belongs to the cluster any more.
    pub epoch: i64,
    /// The survivor's data directory.
    pub raft_id: String,
}

/// The leader's view (K31). `(recoveryEpoch, term)` never falls: the API server refuses a deposed leader's write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RaftStatus {
    /// What the leader's autopilot holds back, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// The member that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Every server of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// With redundancy zones: how many members may fail one after the other, with time for votes to move in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimistic_failure_tolerance: Option<i32>,
    /// How often quorum was recovered by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_epoch: Option<i64>,
    /// The Raft term of the leader that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,
    /// How far votes have moved to newer members; with spec.autopilot.upgradeVersionFrom only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// The redundancy zones, by name; with spec.autopilot.redundancyZones only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ZoneStatus>,
}

/// How far an upgrade by new members has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeStatus {
    /// disabled, idle, frozen, await-new-voters, promoting, demoting, leader-transfer, await-new-servers or
    /// await-server-removal, as docs/autopilot.md explains them.
    pub status: String,
    /// The newest version of all members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_version: Option<String>,
}

/// A redundancy zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneStatus {
    /// Its name.
    pub name: String,
    /// Members without a vote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<String>,
    /// How many of its members may fail before it has no healthy one.
    pub tolerates: i32,
    /// Members that vote: one, if all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<String>,
}

/// One server of the configuration as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberStatus {
    /// The member's Pod.
    pub name: String,
    /// The node it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The name of its data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raft_id: Option<String>,
    /// Why the state is not Healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Leader, Voter or NonVoter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Healthy, Unhealthy or Stabilizing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How many entries its log trails the leader's, roughly; absent when level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailing: Option<i64>,
    /// With redundancy zones: ZoneVoter, ZoneStandby or ZoneExtraVoter; Voter in no zone.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The application's version; with spec.autopilot.upgradeVersionFrom only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The zone of its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// What Pods are rendered from, and which still run an older rendering (K47).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Pods that still run an older rendering.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The version of the operator's own part of a Pod that is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub render_revision: Option<i64>,
    /// The sidecar image in use when the spec names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar_image: Option<String>,
    /// The hash of the user's part of a Pod these pins were taken with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_hash: Option<String>,
}
