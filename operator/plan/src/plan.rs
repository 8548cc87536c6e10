//! What one round decided: the planner's only output.
//!
//! ```text
//!   status      applied first; guarded by the resource version when it records something that must never be
//!               written over (cluster ID, founder)
//!   ensures     idempotent, disturb nobody, any number, carried out in order
//!   facts       told to the leader, every round anew
//!   step        at most one disruptive step (I1), with its preconditions and its why
//!   events      on change only
//! ```
//! Whoever carries a plan out leaves nothing to judge: a step whose precondition no longer holds is skipped, and
//! the next round decides anew. `Display` is at once golden text and the DEBUG line.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use quorate_crds::{ApplicationMode, Blocked, RaftClusterStatus};

use crate::issuance::Request;
use crate::observed::{Now, Ordinal};
use crate::raft_view::{AutopilotSettings, Intent};
use crate::reason::Reason;

/// What one round decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Idempotent, disturbing nobody, in this order.
    pub ensures: Vec<Ensure>,
    /// At most one disruptive step (I1).
    pub step: Option<PlannedStep>,
    /// What the leader is told of members, every round anew (K15).
    pub facts: Vec<Fact>,
    /// The top level of status as it should read; `raft` is always none, for the leader owns it (K31).
    pub status: RaftClusterStatus,
    /// Whether status must be written with the observed resource version: it records what must never be written
    /// over from a stale read (cluster ID, founder). Nothing else of the plan is carried out before that write.
    pub status_is_guarded: bool,
    /// What is held back; also in `status.blocked`.
    pub blocked: Vec<Blocked>,
    /// What changed since the last status, for people.
    pub events: Vec<Event>,
    /// So many voters say "no leader", or are known not to run, that the rest is no quorum. The operator hands it
    /// back as `Observed::quorum_missing_before` in rounds at least 3 s later (K32).
    pub is_quorum_missing: bool,
    /// When to look again if nothing changes before.
    pub look_again: Duration,
}

/// The step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// What to do.
    pub step: Step,
    /// What must still hold right before it is done; each is looked up live (K33).
    pub checks: Vec<Check>,
    /// Why.
    pub why: Why,
    /// What people are told once it is done; a step that fails and is planned again tells nothing twice.
    pub tells: Option<Event>,
}

/// Everything that disturbs. A new power of the operator is a new variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call `Bootstrap` on this Pod's sidecar (K2): the same triple again answers OK.
    Bootstrap {
        /// The Pod to dial.
        pod: String,
        /// From status.
        cluster_id: String,
        /// From status.
        raft_id: String,
        /// From status.
        incarnation: String,
        /// From the spec, where it never changes (K22).
        mode: ApplicationMode,
    },
    /// Make this survivor the one voter of its cluster (K18): at that epoch already, it answers OK.
    Recover {
        /// The Pod to dial.
        pod: String,
        /// From status.
        raft_id: String,
        /// From status.
        epoch: u64,
        /// All other voters it knows.
        lost: Vec<String>,
    },
    /// Ask the leader to add a server without a vote.
    AddNonVoter {
        /// Its Raft ID.
        raft_id: String,
        /// The incarnation it answered with.
        incarnation: String,
        /// `host:port` for its peers.
        address: String,
        /// What it is meant to be.
        intent: Intent,
        /// The oldest and the newest version it speaks (K24).
        versions: (u32, u32),
    },
    /// Ask the leader to remove a server; checked again by K13.
    Remove {
        /// Its Raft ID.
        raft_id: String,
        /// Its incarnation in the configuration.
        incarnation: String,
        /// Decides what else the leader checks.
        reason: RemoveReason,
    },
    /// Ask the leader to hand over before it is removed or restarted.
    TransferLeadership {
        /// The leader's Raft ID.
        from: String,
        /// The one to lead.
        to: String,
    },
    /// Evict a Pod, with UID and resource version: a disruption budget may refuse it (K36).
    EvictPod {
        /// Its name.
        pod: String,
    },
    /// Delete a Pod, with UID and resource version.
    DeletePod {
        /// Its name.
        pod: String,
    },
    /// Delete a claim, with UID and resource version.
    DeleteClaim {
        /// Its name.
        claim: String,
    },
}

/// Why a server is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveReason {
    /// Its claim is gone, another one, or emptied: the leader refuses if it heard it within 10 s (K33).
    VolumeLost,
    /// `replicas` was lowered.
    ScaleIn,
    /// It never caught up.
    Lagging,
}

/// What must hold right before a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The leader compares the index itself (I3); a call to another leader or term is not made.
    Configuration {
        /// `expected_configuration_index`.
        index: u64,
        /// The leader that gave the view.
        leader: String,
        /// Its term.
        term: u64,
    },
    /// The Pod still has this UID and resource version: both go into the delete's preconditions.
    Pod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
    /// The claim still has this UID and resource version: both go into the delete's preconditions.
    Claim {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
    /// A live GET shows the claim under this UID without a deletion timestamp (K33).
    ClaimStays {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// A live GET answers 404 or a claim whose UID does not begin with these digits (K33).
    ClaimGone {
        /// Its name.
        name: String,
        /// The first eight hexadecimal digits of the lost claim's UID, from its Raft ID.
        uid_begins: String,
    },
}

/// Why something is done or held back (I9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The planner's rule.
    pub rule: &'static str,
    /// The reason in one CamelCase word.
    pub reason: Reason,
    /// The member it is about; the cluster's name if about all.
    pub member: String,
    /// The sentence, with numbers.
    pub text: String,
}

/// Idempotent, disturbing nobody.
#[derive(Clone, Debug, PartialEq)]
pub enum Ensure {
    /// Server-side apply as `quorate-operator`.
    Apply(Box<Applied>),
    /// POST; that it exists already is fine, for its content is the leader's (K40).
    CreateSlice(Box<EndpointSlice>),
    /// Merge these ports into the slice; its endpoints are the leader's and stay as they are.
    SlicePorts {
        /// Its name.
        name: String,
        /// All its ports.
        ports: Vec<EndpointPort>,
    },
    /// POST, likewise.
    CreateLease(Box<Lease>),
    /// Delete the disruption budget: fewer than three voters, so no budget (K37).
    DeleteBudget {
        /// Its name.
        name: String,
    },
    /// Delete the members' `NetworkPolicy`: the spec asks for none.
    DeleteNetworkPolicy {
        /// Its name.
        name: String,
    },
    /// Make or renew a member's certificate Secret, and the CA before the first (K46).
    Certificate {
        /// The slot.
        ordinal: Ordinal,
        /// For the URI SAN.
        raft_id: String,
        /// For the DNS SANs.
        dns_names: Vec<String>,
    },
    /// One certificate authority follows another (K46), with the Secret's resource version.
    ChangeAuthority {
        /// Its name.
        secret: String,
        /// Its resource version.
        resource_version: String,
        /// Which step of it.
        change: AuthorityChange,
        /// The annotation's word it is done for.
        rotation: Option<String>,
    },
    /// Server-side apply of a `Certificate` of cert-manager.
    RequestCertificate(Box<Request>),
    /// Server-side apply of a `ConfigMap` with the certificates of the authorities in force: for clients outside the Pods.
    PublishAuthority {
        /// Its name.
        name: String,
    },
    /// POST.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Merge these annotations into the claim, with its UID and resource version.
    NoteOnClaim {
        /// Its name.
        claim: String,
        /// Its UID.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// Keys to set.
        set: BTreeMap<String, String>,
    },
    /// Set or drop the claim's owner, as `whenDeleted` says (K41), with its UID and resource version.
    OwnClaim {
        /// Its name.
        claim: String,
        /// Its UID.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// The owner it should have.
        owner: Option<OwnerReference>,
    },
    /// Ask for a larger volume, with the claim's UID and resource version.
    ExpandClaim {
        /// Its name.
        claim: String,
        /// Its UID.
        uid: String,
        /// Its resource version.
        resource_version: String,
        /// The size to ask for, as the spec writes it.
        size: Quantity,
    },
    /// POST; a Pod is never applied (K35).
    CreatePod(Box<Pod>),
    /// Delete a Pod whose containers have all ended, with UID and resource version (rule E1).
    DeleteEndedPod {
        /// Its name.
        pod: String,
        /// Its UID.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
    /// Server-side apply of labels only, under the field manager for Pods' metadata (K35), with the UID.
    LabelPod {
        /// Its name.
        pod: String,
        /// Its UID.
        uid: String,
        /// All labels this field manager owns.
        labels: BTreeMap<String, String>,
    },
    /// Tell the leader the resource's autopilot settings.
    SetAutopilot(AutopilotSettings),
}

/// A step from one certificate authority to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityChange {
    /// The next one is made, and trusted.
    Announce,
    /// It signs.
    Switch,
    /// The one before is trusted no more.
    Forget,
}

/// What is applied whole. Always boxed, in [`Ensure::Apply`].
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// A Service.
    Service(Service),
    /// The disruption budget.
    Budget(PodDisruptionBudget),
    /// The members' account.
    ServiceAccount(ServiceAccount),
    /// What it may do.
    Role(Role),
    /// And that it may.
    RoleBinding(RoleBinding),
    /// Who may reach the members.
    NetworkPolicy(NetworkPolicy),
}

/// What the leader is told of a member (K15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its Raft ID.
    pub raft_id: String,
    /// Its incarnation.
    pub incarnation: String,
    /// What is the case.
    pub kind: FactKind,
    /// When it was seen.
    pub observed: Now,
}

/// Facts of a member that only Kubernetes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// It is being removed on purpose.
    Left,
    /// Its volume is gone or emptied.
    VolumeLost,
}

/// Something that changed, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether someone should look.
    pub is_warning: bool,
    /// The reason in one CamelCase word.
    pub reason: String,
    /// The sentence.
    pub message: String,
}
