//! A member's Pod (K35, K43, K44).
//!
//! ```text
//!   with an application          without
//!   initContainers:              containers:
//!     quorate-sidecar (native)     quorate-sidecar
//!     the user's own
//!   containers: the user's
//! ```
//! The template is the user's; what the operator owns (names, labels, the sidecar, reserved volumes) wins.
//! A Pod is created by POST and never applied (K35): an apply after a change here would restart every member at once.
//!
//! Not here: security settings of the application's containers. The sidecar brings its own; a namespace that
//! enforces the restricted standard asks the same of the user's containers, and says so itself.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSecurityContext, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::metadata::{label_keys, labels, owner};
use super::rendering::Rendering;
use super::sidecar_container::sidecar;
use super::{access, names, pod_volumes, spread};
use crate::limits::GRACE_PERIOD_SECS_MIN;
use crate::observed::Ordinal;

/// The user and group of the sidecar and its files.
pub(super) const USER_ID: i64 = 65_532;

/// Where the application finds its member, unless it says otherwise itself.
const APPLICATION_ENV: [(&str, &str); 2] =
    [("QUORATE_GRPC_ADDR", "127.0.0.1:7401"), ("CONSUL_HTTP_ADDR", "127.0.0.1:8500")];

/// Whose Pod it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The slot.
    pub ordinal: Ordinal,
    /// The claim it mounts (K35).
    pub claim_uid: String,
    /// Names the directory on that claim.
    pub raft_id: String,
    /// From status.
    pub cluster_id: String,
    /// The lowest recovery epoch its directory may have (K18).
    pub recovery_epoch: u64,
}

/// The Pod of a member.
pub fn pod(rendering: Rendering<'_>, identity: &Identity) -> Pod {
    let template = rendering.cluster.spec.template.clone().unwrap_or_default();
    let own = template.spec.clone().unwrap_or_default();
    let metadata = metadata(rendering, identity, &template);
    Pod { metadata, spec: Some(spec(rendering, identity, own)), status: None }
}

fn metadata(rendering: Rendering<'_>, identity: &Identity, template: &PodTemplateSpec) -> ObjectMeta {
    let name = names::pod(rendering.name(), identity.ordinal);
    let own = template.metadata.clone().unwrap_or_default();
    let mut all_labels = own.labels.unwrap_or_default();
    all_labels.extend(labels(rendering.name(), Some(&name)));
    let mut annotations = own.annotations.unwrap_or_default();
    // `kubectl logs db-0` is about the application, where there is one.
    let first = template.spec.as_ref().and_then(|pod| pod.containers.first());
    annotations
        .entry("kubectl.kubernetes.io/default-container".to_owned())
        .or_insert_with(|| first.map_or_else(|| names::SIDECAR.to_owned(), |first| first.name.clone()));
    for (key, value) in [
        (label_keys::RAFT_ID, &identity.raft_id),
        (label_keys::CLAIM_UID, &identity.claim_uid),
        (label_keys::TEMPLATE_HASH, &rendering.template_hash()),
    ] {
        annotations.insert(key.to_owned(), value.clone());
    }
    ObjectMeta {
        name: Some(name),
        namespace: rendering.cluster.metadata.namespace.clone(),
        labels: Some(all_labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owner(rendering.cluster)]),
        ..ObjectMeta::default()
    }
}

fn spec(rendering: Rendering<'_>, identity: &Identity, mut own: PodSpec) -> PodSpec {
    let cluster = rendering.cluster;
    let member = names::pod(rendering.name(), identity.ordinal);
    let has_application = !own.containers.is_empty();
    let mut sidecar = sidecar(rendering, identity);
    own.containers.iter_mut().chain(own.init_containers.iter_mut().flatten()).for_each(|container| {
        tell_where_the_member_is(container, &member);
    });
    if has_application {
        // A native sidecar starts before the application, gates it by its startup probe and outlives it.
        sidecar.restart_policy = Some("Always".to_owned());
        own.init_containers.get_or_insert_default().insert(0, sidecar);
    } else {
        own.containers.push(sidecar);
    }
    let account_is_ours = own.service_account_name.is_none();
    PodSpec {
        hostname: Some(member),
        subdomain: Some(names::members_service(rendering.name())),
        restart_policy: Some("Always".to_owned()),
        service_account_name: Some(access::account_name(cluster)),
        automount_service_account_token: if account_is_ours {
            Some(false)
        } else {
            own.automount_service_account_token
        },
        termination_grace_period_seconds: Some(
            own.termination_grace_period_seconds.unwrap_or(GRACE_PERIOD_SECS_MIN).max(GRACE_PERIOD_SECS_MIN),
        ),
        security_context: Some(security(own.security_context.unwrap_or_default())),
        topology_spread_constraints: Some(spread::constraints(
            rendering.name(),
            cluster.spec.topology,
            own.topology_spread_constraints.unwrap_or_default(),
        )),
        volumes: Some(pod_volumes::volumes(
            rendering.name(),
            identity.ordinal,
            own.volumes.unwrap_or_default(),
            cluster.spec.autopilot.upgrade_version_from.as_deref(),
        )),
        ..own
    }
}

/// The volume must be writable by the sidecar's group, without a walk over all files at each start.
fn security(mut own: PodSecurityContext) -> PodSecurityContext {
    if own.fs_group.is_none() {
        own.fs_group = Some(USER_ID);
        own.fs_group_change_policy.get_or_insert_with(|| "OnRootMismatch".to_owned());
    }
    own
}

fn tell_where_the_member_is(container: &mut Container, member: &str) {
    let env = container.env.get_or_insert_default();
    for (name, value) in APPLICATION_ENV.into_iter().chain([("QUORATE_MEMBER", member)]) {
        if !env.iter().any(|var| var.name == name) {
            env.push(EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None });
        }
    }
}
