//! What a member may do with the API server (K40, K44): get and patch three named objects, create nothing.
//!
//! Not here: having tokens reviewed (`clientAccess`). That is a right over the whole Kubernetes cluster, which no Role can
//! give and which the operator itself does not have: whoever installs the operator gives it (`rbac.tokenReview`).

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use quorate_crds::RaftCluster;

use super::metadata::metadata;
use super::names;

/// The account members run under: the template's, if it names one (K44).
pub fn account_name(cluster: &RaftCluster) -> String {
    let template = cluster.spec.template.as_ref().and_then(|template| template.spec.as_ref());
    template
        .and_then(|pod| pod.service_account_name.clone())
        .unwrap_or_else(|| names::access(cluster.metadata.name.as_deref().unwrap_or_default()))
}

/// Our own account; not needed when the template names one.
pub fn service_account(cluster: &RaftCluster) -> ServiceAccount {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    ServiceAccount {
        metadata: metadata(cluster, names::access(name)),
        // The sidecar has its own short-lived token; the application's containers get none.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Get and patch, by name.
pub fn role(cluster: &RaftCluster) -> Role {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let rule = |group: &str, resources: &[&str], object: String| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(resources.iter().map(|&resource| resource.to_owned()).collect()),
        resource_names: Some(vec![object]),
        verbs: vec!["get".to_owned(), "patch".to_owned()],
        non_resource_urls: None,
    };
    Role {
        metadata: metadata(cluster, names::access(name)),
        rules: Some(vec![
            rule("quorate.dev", &["raftclusters/status"], name.to_owned()),
            rule("coordination.k8s.io", &["leases"], names::leader(name)),
            rule("discovery.k8s.io", &["endpointslices"], names::leader(name)),
        ]),
    }
}

/// Binds whichever account the members run under.
pub fn role_binding(cluster: &RaftCluster) -> RoleBinding {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    RoleBinding {
        metadata: metadata(cluster, names::access(name)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: names::access(name),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account_name(cluster),
            namespace: cluster.metadata.namespace.clone(),
            api_group: None,
        }]),
    }
}
