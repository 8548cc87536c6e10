//! What a user asks for.
//!
//! Every field has a default except the optional ones, so that the smallest resource has an empty spec and
//! `kubectl get -o yaml` shows what was assumed.

// `type_` is named once per printer column.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::api::core::v1::{PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::RaftClusterStatus;

/// What the cluster should be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "RaftCluster",
    plural = "raftclusters",
    singular = "raftcluster",
    shortname = "raft",
    category = "quorate",
    namespaced,
    status = "RaftClusterStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A Raft cluster beside an application: one Pod, one volume and one Raft member per replica.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Health",
        type_ = "string",
        json_path = ".status.health",
        description = "Starting, Healthy, Degraded, Unavailable, Hibernated or Unknown."
    ),
    printcolumn(
        name = "Voters",
        type_ = "string",
        json_path = ".status.voters",
        description = "Healthy voters of all voters."
    ),
    printcolumn(
        name = "Leader",
        type_ = "string",
        json_path = ".status.leader",
        description = "The member that leads now."
    ),
    printcolumn(
        name = "Tolerates",
        type_ = "integer",
        json_path = ".status.failureTolerance",
        description = "How many healthy voters may fail before writes stop."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Summary",
        type_ = "string",
        json_path = ".status.summary",
        priority = 1,
        description = "The whole state in one line."
    )
)]
#[serde(rename_all = "camelCase", default)]
pub struct RaftClusterSpec {
    /// What the application uses the members for; it is decided when the cluster begins and never changes.
    pub application: Application,
    /// Health and voting rights of new members.
    pub autopilot: Autopilot,
    /// Who may use the members' client ports. A change restarts the members one by one.
    pub client_access: ClientAccess,
    /// The DNS domain of the Kubernetes cluster; part of every member's address and therefore fixed.
    pub cluster_domain: String,
    /// Stops every Pod and keeps the volumes; false wakes the cluster with the same data and members.
    pub hibernate: bool,
    /// Whether a NetworkPolicy lets only those reach the members who have something to ask of them.
    pub network_policy: NetworkPolicy,
    /// How many members the cluster has, 1 to 9. Odd numbers are advised: 4 tolerate no more failures than 3.
    pub replicas: i32,
    /// The sidecar container that runs the Raft member.
    pub sidecar: Sidecar,
    /// The volume each member keeps its log and state on.
    pub storage: Storage,
    /// The application's Pod; the sidecar is added to it. Without it the sidecar runs alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PodTemplateSpec>,
    /// Whose certificates the members show each other; it can be changed while the cluster runs.
    pub tls: Tls,
    /// How members spread over nodes and zones.
    pub topology: Topology,
    /// How Pods are replaced when the template changes.
    pub update: Update,
}

impl Default for RaftClusterSpec {
    fn default() -> Self {
        Self {
            application: Application::default(),
            autopilot: Autopilot::default(),
            client_access: ClientAccess::default(),
            cluster_domain: "cluster.local".to_owned(),
            hibernate: false,
            network_policy: NetworkPolicy::default(),
            replicas: 3,
            sidecar: Sidecar::default(),
            storage: Storage::default(),
            template: None,
            tls: Tls::default(),
            topology: Topology::default(),
            update: Update::default(),
        }
    }
}

/// What the application uses the members for (K22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Application {
    /// With Log the application is its own state machine, over the gRPC service of that name; else it has keys, sessions and locks.
    pub mode: ApplicationMode,
}

/// What a cluster keeps for its application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApplicationMode {
    /// Keys, sessions and locks: the built-in state machine.
    #[default]
    KeyValue,
    /// A log of the application's own entries, and its snapshots.
    Log,
}

/// Health and voting rights of new members, as the leader's autopilot applies them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Autopilot {
    /// A member the leader has not heard from for longer is unhealthy, such as "1s".
    pub last_contact_threshold: String,
    /// A voter the leader has not heard from for longer is dead: a new member takes its place, such as "10m".
    pub dead_server_last_contact_threshold: String,
    /// A member whose log trails the leader's by more entries for two seconds is unhealthy.
    pub max_trailing_logs: i64,
    /// One voter in each zone, the other members of the zone stand by; a member's zone is its node's label
    /// topology.kubernetes.io/zone. Off: every member votes.
    pub redundancy_zones: bool,
    /// A new member votes after it was healthy for this long without a break, such as "10s".
    pub server_stabilization_time: String,
    /// The annotation of Pods that says the version of the application, such as "quorate.dev/app-version". With
    /// update.strategy OnDelete votes move to the members of the newest version once there are enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_version_from: Option<String>,
}

impl Default for Autopilot {
    fn default() -> Self {
        Self {
            last_contact_threshold: "1s".to_owned(),
            dead_server_last_contact_threshold: "10m".to_owned(),
            max_trailing_logs: 250,
            redundancy_zones: false,
            server_stabilization_time: "10s".to_owned(),
            upgrade_version_from: None,
        }
    }
}

/// Who may use the members' client ports (K46).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientAccess {
    /// Pod: the Pod's own containers, on localhost. Cluster: also the accounts below, from any Pod, with TLS and a token.
    pub scope: ClientScope,
    /// Service accounts as namespace/name, or name for one in the RaftCluster's own namespace; with scope Cluster only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
}

impl ClientAccess {
    /// Whether anybody outside the Pods may come.
    pub fn is_open(&self) -> bool {
        self.scope == ClientScope::Cluster
    }
}

/// From where clients come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientScope {
    /// From the member's own Pod.
    #[default]
    Pod,
    /// From anywhere in the Kubernetes cluster.
    Cluster,
}

/// A NetworkPolicy for the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Make one. Ports that the template's containers declare stay open to all; any other is closed.
    pub create: bool,
}

/// The sidecar container that runs the Raft member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// The sidecar's image; without it the one the operator was installed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Always, IfNotPresent or Never; as for any container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Requests and limits of the sidecar. A CPU limit is not advised: a throttled member misses heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// When a new version of the operator may bring its own sidecar image and way of making Pods.
    pub update: SidecarUpdate,
}

/// When a new operator's sidecar reaches a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SidecarUpdate {
    /// With the next change of template, sidecar or topology: an upgrade of the operator alone restarts no Pod.
    #[default]
    Manual,
    /// By itself, once the cluster is Ready and no other cluster is being updated.
    Automatic,
}

/// Whose certificates the members show each other (K23, K46).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// By the operator, from an authority of its own (OperatorCA), by an issuer of cert-manager, or by you: one for all members, in a Secret.
    pub mode: TlsMode,
    /// With mode CertManager: who issues them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// With mode Secret: where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// An authority of the cluster's own, which the operator keeps.
    #[default]
    OperatorCA,
    /// cert-manager, one for each member and one for the operator.
    CertManager,
    /// A Secret that somebody else keeps.
    Secret,
}

/// An issuer of cert-manager; it must give its ca.crt with what it issues, as CA and Vault issuers do and ACME ones do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerRef {
    /// Its API group.
    pub group: String,
    /// Issuer, in the namespace of the RaftCluster, or ClusterIssuer.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Default for IssuerRef {
    fn default() -> Self {
        Self { group: "cert-manager.io".to_owned(), kind: "Issuer".to_owned(), name: String::new() }
    }
}

/// A Secret in the RaftCluster's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Its name. Keys: ca.crt, tls.crt, tls.key for quorate://<status.clusterId>/*, and operator.crt, operator.key for
    /// quorate://<status.clusterId>/operator.
    pub name: String,
}

/// The volume each member keeps its log and state on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// What becomes of volumes that are no longer needed.
    pub retention: Retention,
    /// The size of each member's volume, at least 1Gi; it can be raised, and volumes grow where their class lets them.
    pub size: Quantity,
    /// The storage class; without it the cluster's default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { retention: Retention::default(), size: Quantity("10Gi".to_owned()), storage_class_name: None }
    }
}

/// What becomes of volumes that are no longer needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// When the RaftCluster is deleted.
    pub when_deleted: ClaimPolicy,
    /// When a member leaves because replicas was lowered.
    pub when_scaled: ClaimPolicy,
}

impl Default for Retention {
    fn default() -> Self {
        Self { when_deleted: ClaimPolicy::Retain, when_scaled: ClaimPolicy::Delete }
    }
}

/// Keep a volume claim or delete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimPolicy {
    /// The claim and its volume stay until someone deletes them.
    Retain,
    /// The claim is deleted.
    Delete,
}

/// How members spread over nodes and zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Topology {
    /// Over zones first and nodes within them, or over nodes only.
    pub spread: Spread,
    /// What the scheduler does when members cannot be spread evenly.
    pub when_unsatisfiable: Unsatisfiable,
}

impl Default for Topology {
    fn default() -> Self {
        Self { spread: Spread::Zone, when_unsatisfiable: Unsatisfiable::ScheduleAnyway }
    }
}

/// How Pods are replaced when the template changes: one member at a time, the leader last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Update {
    /// All of them, all but the leader, or none: then a Pod keeps its template until somebody deletes it.
    pub strategy: UpdateStrategy,
}

impl Default for Update {
    fn default() -> Self {
        Self { strategy: UpdateStrategy::Automatic }
    }
}

/// How far a rollout goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateStrategy {
    /// To its end: the leader hands over and is replaced last.
    Automatic,
    /// Up to the leader; its Pod is for a person to delete.
    Supervised,
    /// Not at all: new members get the current template, others when their Pod is deleted. For upgrades by new members
    /// (autopilot.upgradeVersionFrom).
    OnDelete,
}

/// What members are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Spread {
    /// Zones, and the nodes in each.
    Zone,
    /// Nodes, wherever they are.
    Node,
}

/// What the scheduler does when members cannot be spread evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unsatisfiable {
    /// Place the Pod all the same: two members may share a node.
    ScheduleAnyway,
    /// Leave the Pod pending until it can be placed apart.
    DoNotSchedule,
}
