//! Labels, owner and selectors that all children share (operator.md, "Names").

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use quorate_crds::RaftCluster;

/// Our label and annotation keys.
pub mod label_keys {
    /// The cluster an object belongs to; never changes.
    pub const CLUSTER: &str = "quorate.dev/cluster";
    /// The member a Pod, claim or Secret belongs to; never changes.
    pub const MEMBER: &str = "quorate.dev/member";
    /// `true` on Pods whose member votes, or is about to (K37).
    pub const VOTER: &str = "quorate.dev/voter";
    /// leader, voter or non-voter: for people.
    pub const ROLE: &str = "quorate.dev/role";
    /// Annotation of Pods: the Raft ID they were rendered with.
    pub const RAFT_ID: &str = "quorate.dev/raft-id";
    /// Annotation of Pods: the claim they were rendered for (K35).
    pub const CLAIM_UID: &str = "quorate.dev/claim-uid";
    /// Annotation of Pods: what they were rendered from (K47).
    pub const TEMPLATE_HASH: &str = "quorate.dev/template-hash";
    /// Annotation of a `NetworkPolicy`: a hash of what it was rendered as.
    pub const RENDERED: &str = "quorate.dev/rendered";
    /// Annotation of the resource: pause (K48).
    pub const PAUSED: &str = "quorate.dev/paused";
    /// On the resource: `<member>@<term> lost=<raft id>,...` to become the cluster when a majority is lost for good (K18).
    pub const RECOVER: &str = "quorate.dev/recover";
    /// On the resource: any word that is not the last one makes a new certificate authority (K46).
    pub const ROTATE_CA: &str = "quorate.dev/rotate-ca";
    /// On the authority's Secret: the word it was last made for.
    pub const ROTATION: &str = "quorate.dev/rotation";
    /// On the resource: names of members, with commas between them, that are kept from running.
    pub const FENCE: &str = "quorate.dev/fence";
    /// On the resource: `<member>@<raft id>` to be replaced by a new member (K49).
    pub const REPLACE: &str = "quorate.dev/replace";
}

/// The resource as controller of its children.
pub fn owner(cluster: &RaftCluster) -> OwnerReference {
    OwnerReference {
        api_version: "quorate.dev/v1alpha1".to_owned(),
        kind: "RaftCluster".to_owned(),
        name: cluster.metadata.name.clone().unwrap_or_default(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        // Deleting the resource in the foreground must not wait for children that are kept.
        block_owner_deletion: Some(false),
    }
}

/// The labels of every child. The resource's own labels are not copied (K45).
pub(super) fn labels(cluster: &str, member: Option<&str>) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/name", "quorate"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", "member"),
        ("app.kubernetes.io/managed-by", "quorate-operator"),
        ("app.kubernetes.io/part-of", "quorate"),
        ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
        (label_keys::CLUSTER, cluster),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    if let Some(member) = member {
        labels.insert(label_keys::MEMBER.to_owned(), member.to_owned());
    }
    labels
}

/// Metadata of a child that the resource controls.
pub(super) fn metadata(cluster: &RaftCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: cluster.metadata.namespace.clone(),
        labels: Some(labels(cluster.metadata.name.as_deref().unwrap_or_default(), None)),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// `status.selector`: selects exactly the member Pods.
pub fn member_selector(cluster: &str) -> String {
    format!("{}={cluster}", label_keys::CLUSTER)
}

/// The same as a label map.
pub(super) fn selector_map(cluster: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(label_keys::CLUSTER.to_owned(), cluster.to_owned())])
}

/// The same as a label selector.
pub(super) fn selector(cluster: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selector_map(cluster)), match_expressions: None }
}
