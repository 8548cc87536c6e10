//! What one round of the operator has read: the planner's only input beside the time.
//!
//! Fetched fresh each round; nothing is remembered between rounds but what is in the API (status, claim
//! annotations). `None` means *not known* wherever a field's comment does not say otherwise: the planner never
//! takes it for absence (K33).
//!
//! Not here: how any of it is read. Every field is what was answered, judged by nobody yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_crds::RaftCluster;

use crate::raft_view::{MemberAnswer, RaftView};
use crate::record::ClaimRecord;

/// Seconds since the Unix epoch by the operator's clock. Used for the age of what the API server dated, never for
/// safety: a wrong clock makes a wait longer or shorter, nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Now) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// The place of a member: the number at the end of its Pod's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl std::fmt::Display for Ordinal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything read this round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The resource as the API server holds it: spec, annotations, status with what earlier rounds recorded.
    pub cluster: RaftCluster,
    /// Every ordinal that has a claim or a Pod.
    pub slots: BTreeMap<Ordinal, Slot>,
    /// This round's answer of a leader, given after a ReadIndex round begun on this request (K32); none if no
    /// member confirmed one. Of several, the greatest (recovery epoch, term).
    pub raft: Option<RaftView>,
    /// The quorum was already found missing by another look at least 3 s ago (K32: seen twice).
    pub quorum_missing_before: bool,
    /// Age of the status Lease's last renewal, on the operator's own clock; none = never seen renewed.
    pub leader_heard: Option<Duration>,
    /// How long a leader has answered every round while it did not renew that Lease, on the operator's own clock.
    pub unpublished: Duration,
    /// Why the rounds before this one failed, if they did again and again.
    pub failure: Option<String>,
    /// The other children, as found.
    pub children: Children,
    /// This process has not applied this resource's children yet: they are applied whatever was found, for this
    /// version may render them differently than the last.
    pub is_first_round: bool,
    /// What is known of storage classes.
    pub storage: StorageFacts,
    /// What this operator was installed with.
    pub operator: OperatorFacts,
}

/// One ordinal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slot {
    /// `raft-<cluster>-<ordinal>`; none = there is no such claim.
    pub claim: Option<Claim>,
    /// `<cluster>-<ordinal>`; none = there is no such Pod.
    pub pod: Option<Pod>,
    /// The node of the Pod; none if not scheduled, or nodes may not be read (K52).
    pub node: Option<Node>,
    /// What the member's own sidecar answered on gRPC this round; none = no answer.
    pub answer: Option<MemberAnswer>,
    /// The API server's latest refusal to create this slot's claim, Pod or Secret, quoted: quota, Pod Security, a webhook (K51).
    pub refused: Option<String>,
    /// Its latest refusal to let this slot's volume grow, quoted.
    pub growth_refused: Option<String>,
}

impl Slot {
    /// A person says that the machine is switched off (K49): that of its node, or while its Pod is on none, because Kubernetes took
    /// the one before away, each that could mount its volume.
    pub fn is_out_of_service(&self) -> bool {
        match &self.node {
            Some(node) => node.out_of_service,
            None => self.claim.as_ref().is_some_and(|claim| claim.is_out_of_service),
        }
    }
}

/// A volume claim.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own that was read
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// Whether a volume is bound.
    pub bound: bool,
    /// The size it asks for, in bytes; none = it asks for none that can be read.
    pub requested_bytes: Option<u64>,
    /// The size of the volume it has, in bytes; none = no volume yet.
    pub capacity_bytes: Option<u64>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// The UID of its controller, if it has one.
    pub controller_uid: Option<String>,
    /// None of the nodes its volume can be mounted on exists any more.
    pub is_stranded: bool,
    /// All of those nodes that exist are out of service. Looked at only while its Pod is on no node.
    pub is_out_of_service: bool,
    /// The only nodes its volume can be mounted on; none = any, or not known.
    pub nodes: Option<Vec<String>>,
    /// The storage class named in it; none = none named (the default class, if there is one).
    pub storage_class: Option<String>,
    /// What the operator wrote onto it (K34).
    pub record: ClaimRecord,
    /// The newest warning about it, quoted: why no volume is bound.
    pub obstacle: Option<String>,
}

/// A member Pod.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own that Kubernetes reports
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// When it was created.
    pub created: Now,
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: PodPhase,
    /// Whether all its containers are ready.
    pub ready: bool,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// The node it is bound to.
    pub node: Option<String>,
    /// The UID of its controller, if it has one.
    pub controller_uid: Option<String>,
    /// Annotation `quorate.dev/claim-uid`: the claim it was rendered for (K35).
    pub claim_uid: Option<String>,
    /// Annotation `quorate.dev/raft-id`.
    pub raft_id: Option<String>,
    /// Annotation `quorate.dev/template-hash`: what it was rendered from (K47).
    pub template_hash: Option<String>,
    /// Label `quorate.dev/voter` is `true`.
    pub voter_label: bool,
    /// Label `quorate.dev/role`.
    pub role_label: Option<String>,
    /// The container `quorate-sidecar` now.
    pub sidecar: ContainerState,
    /// How that container last ended; none = it never did.
    pub last_exit: Option<Exit>,
    /// Whether that container has ever run in this Pod.
    pub sidecar_ran: bool,
    /// The first obstacle to scheduling or starting it, quoted (K51).
    pub obstacle: Option<Obstacle>,
}

/// A Pod's phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Not all containers were created.
    #[default]
    Pending,
    /// Bound, and containers are there.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly; or the kubelet evicted it.
    Failed,
    /// The node does not report.
    Unknown,
}

/// The sidecar's container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Not reported at all.
    #[default]
    NotStarted,
    /// Waiting, with the kubelet's reason, such as `ImagePullBackOff`.
    Waiting {
        /// The reason.
        reason: String,
    },
    /// Running.
    Running {
        /// Since when.
        since: Now,
    },
    /// Ended.
    Terminated(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// Its termination message, quoted.
    pub message: String,
    /// When.
    pub at: Now,
}

/// Why a Pod is not scheduled or not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What kind.
    pub kind: ObstacleKind,
    /// Kubernetes' own words.
    pub message: String,
    /// Since when.
    pub since: Now,
}

/// Kinds of obstacles that Kubernetes reports for a Pod that exists (K51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleKind {
    /// No node fits.
    Unschedulable,
    /// An image cannot be pulled.
    ImagePull,
    /// A container's configuration is refused by the kubelet: a missing Secret, a wrong user.
    Configuration,
    /// The volume cannot be attached or mounted.
    Volume,
    /// A container ends again and again.
    CrashLoop,
}

/// A node that a member runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether its kubelet reports ready.
    pub ready: bool,
    /// Since when it does not.
    pub unreachable_since: Option<Now>,
    /// It carries the out-of-service taint.
    pub out_of_service: bool,
    /// It takes no new Pods.
    pub unschedulable: bool,
    /// Its zone.
    pub zone: Option<String>,
}

/// Whether a child exists and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Child {
    /// It does not exist.
    #[default]
    Missing,
    /// It exists, and this resource controls it.
    Ours,
    /// It exists, and something else made it: never adopted (K45).
    Foreign,
}

/// Children other than claims and Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Children {
    /// `<cluster>-members`.
    pub members_service: Child,
    /// `<cluster>-read`.
    pub read_service: Child,
    /// `<cluster>-leader`.
    pub leader_service: Child,
    /// `<cluster>-leader`.
    pub leader_slice: Child,
    /// `<cluster>-leader`.
    pub leader_lease: Child,
    /// `<cluster>-voters`.
    pub budget: Child,
    /// What Secret `<cluster>-ca` holds.
    pub authority: Authority,
    /// `minAvailable` of the budget as found.
    pub budget_min_available: Option<i32>,
    /// What the budget counts, as Kubernetes last wrote it.
    pub budget_counts: Option<BudgetCounts>,
    /// ServiceAccount `<cluster>-member`.
    pub service_account: Child,
    /// Role `<cluster>-member`.
    pub role: Child,
    /// RoleBinding `<cluster>-member`.
    pub role_binding: Child,
    /// Secret `<cluster>-ca`.
    pub ca_secret: Child,
    /// `ConfigMap` `<cluster>-ca`: what clients outside the Pods trust.
    pub published_authority: Published,
    /// The accounts the binding binds.
    pub bound_accounts: Vec<String>,
    /// Names and numbers of the leader Service's ports; the read Service has the same.
    pub leader_ports: Vec<(String, i32)>,
    /// `NetworkPolicy` `<cluster>-members`.
    pub network_policy: Child,
    /// What it was rendered as.
    pub network_policy_rendered: Option<String>,
    /// Secrets `<cluster>-<n>-tls`.
    pub certificates: BTreeMap<Ordinal, Certificate>,
}

/// Pods by a disruption budget's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounts {
    /// Selected Pods that are ready.
    pub current_healthy: i32,
    /// So many must stay ready.
    pub desired_healthy: i32,
    /// So many may be evicted now.
    pub disruptions_allowed: i32,
}

/// The certificate authority, as its Secret holds it.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own that was read
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Its resource version.
    pub resource_version: String,
    /// One that is to follow is there.
    pub has_next: bool,
    /// The one before is still trusted.
    pub has_previous: bool,
    /// It is past two thirds of its life.
    pub is_old: bool,
    /// The annotation's word that it was last made for.
    pub rotation: Option<String>,
    /// The one in force is of others: its key is not in the Secret, or was lost with it.
    pub is_keyless: bool,
    /// So is the one that is to follow.
    pub is_next_keyless: bool,
    /// What cert-manager was asked for: what each of its Certificates was rendered as, by name.
    pub asked: BTreeMap<String, String>,
    /// What `spec.tls` names; none = the operator's own authority is asked for.
    pub brought: Option<Brought>,
}

/// Certificates of others, which `spec.tls` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// What is wrong with them and what to do about it; nothing of them is used meanwhile.
    pub problem: Option<String>,
    /// Members for which there is none yet, and why; what they have stays.
    pub waiting: BTreeMap<Ordinal, String>,
    /// Their authority is the one in force.
    pub is_in_force: bool,
    /// Their authority is the one that is to follow.
    pub is_next: bool,
}

/// What clients outside the Pods are told to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Whose it is.
    pub owner: Child,
    /// It holds what members' certificates are signed by.
    pub is_current: bool,
}

/// A member's certificate Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub owner: Child,
    /// The Raft ID in its URI SAN.
    pub raft_id: Option<String>,
    /// It is one that all members share: any Raft ID's.
    pub is_shared: bool,
    /// Its DNS SANs.
    pub dns_names: BTreeSet<String>,
    /// It is expired, past two thirds of its life, unreadable, or signed by another CA.
    pub renewal_due: bool,
    /// A hash of what it holds, as members say what they use.
    pub content: String,
    /// When it ends; none = it cannot be read.
    pub not_after: Option<Now>,
}

impl Certificate {
    /// Whether this member can show it.
    pub fn is_for(&self, raft_id: &str) -> bool {
        self.owner == Child::Ours && (self.is_shared || self.raft_id.as_deref() == Some(raft_id))
    }
}

/// What is known of storage classes; none = may not be read (K52).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// Whether a default class exists.
    pub default_class: Option<bool>,
    /// Whether the class named in the spec exists.
    pub named_class: Option<bool>,
    /// The classes whose volumes can grow.
    pub expanding_classes: Option<BTreeSet<String>>,
    /// Whether the class in use is known to support `ReadWriteOncePod` (K28).
    pub single_pod_volumes: bool,
}

/// What this operator was installed with, and this round's randomness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorFacts {
    /// The sidecar image used when a spec names none.
    pub sidecar_image: String,
    /// Its pull policy, if the installation set one.
    pub sidecar_pull_policy: Option<String>,
    /// The namespace it runs in.
    pub namespace: String,
    /// It is this cluster's turn to get this operator's sidecar: no other cluster is being updated (K47).
    pub is_turn: bool,
    /// A random cluster ID drawn this round, 32 hexadecimal digits; used only when status has none.
    pub fresh_cluster_id: String,
}

impl Observed {
    /// The resource's name.
    pub fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// The resource's namespace.
    pub fn namespace(&self) -> &str {
        self.cluster.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The resource's UID.
    pub fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }

    /// An annotation of the resource.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.cluster.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}
