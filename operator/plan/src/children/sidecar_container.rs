//! The container `quorate-sidecar`: command, environment, probes (K38), hand-over before stopping (K43).

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, ExecAction, HTTPGetAction, Lifecycle,
    LifecycleHandler, ObjectFieldSelector, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::{Identity, USER_ID};
use super::pod_volumes::{DATA_DIR, TLS_DIR, UPGRADE_VERSION_FILE, ZONE_FILE, mounts};
use super::rendering::Rendering;
use super::{names, services};

pub(super) fn sidecar(rendering: Rendering<'_>, identity: &Identity) -> Container {
    let spec = &rendering.cluster.spec.sidecar;
    let pull_policy =
        spec.image_pull_policy.clone().or_else(|| rendering.operator.sidecar_pull_policy.clone());
    Container {
        name: names::SIDECAR.to_owned(),
        image: spec.image.clone().or_else(|| rendering.pins().sidecar_image),
        image_pull_policy: pull_policy,
        command: Some(vec!["quorate-sidecar".to_owned(), "run".to_owned()]),
        env: Some(env(rendering, identity)),
        ports: Some(ports(rendering.cluster.spec.client_access.is_open())),
        resources: Some(spec.resources.clone().unwrap_or_else(resources)),
        volume_mounts: Some(mounts()),
        startup_probe: Some(Probe {
            // Opening a large store may take minutes; failing here would only start over.
            failure_threshold: Some(600),
            ..probe("/startupz", 1)
        }),
        readiness_probe: Some(probe("/readyz", 2)),
        liveness_probe: Some(Probe { failure_threshold: Some(6), ..probe("/livez", 10) }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(vec!["quorate-sidecar".to_owned(), "pre-stop".to_owned()]),
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(security()),
        ..Container::default()
    }
}

/// The table of the sidecar's environment; `docs/operations.md` lists it for people.
fn env(rendering: Rendering<'_>, identity: &Identity) -> Vec<EnvVar> {
    let (cluster, namespace) = (rendering.name(), rendering.namespace());
    let pod = names::pod(cluster, identity.ordinal);
    let advertise =
        names::address(cluster, namespace, &rendering.cluster.spec.cluster_domain, identity.ordinal);
    let leader_slice =
        services::leader_slice(rendering.cluster).map(|_| names::leader(cluster)).unwrap_or_default();
    let text = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None }),
            ..EnvVarSource::default()
        }),
    };
    let access = &rendering.cluster.spec.client_access;
    let mut env = vec![
        text("QUORATE_CLUSTER", cluster),
        text("QUORATE_NAMESPACE", namespace),
        text("QUORATE_POD", &pod),
        text("QUORATE_CLUSTER_UID", rendering.cluster.metadata.uid.as_deref().unwrap_or_default()),
        text("QUORATE_CLUSTER_ID", &identity.cluster_id),
        text("QUORATE_RAFT_ID", &identity.raft_id),
        text("QUORATE_DATA_DIR", DATA_DIR),
        text("QUORATE_TLS_DIR", TLS_DIR),
        text("QUORATE_ADVERTISE", &advertise),
        field("QUORATE_POD_IP", "status.podIP"),
        field("QUORATE_NODE", "spec.nodeName"),
        text("QUORATE_ZONE_FILE", ZONE_FILE),
        text("QUORATE_RECOVERY_EPOCH", &identity.recovery_epoch.to_string()),
        text("QUORATE_KUBERNETES", "true"),
        text("QUORATE_CLIENT_ACCESS", if access.is_open() { "Cluster" } else { "Pod" }),
        text("QUORATE_LEADER_SLICE", &leader_slice),
    ];
    if rendering.cluster.spec.autopilot.upgrade_version_from.is_some() {
        env.push(text("QUORATE_UPGRADE_VERSION_FILE", UPGRADE_VERSION_FILE));
    }
    if access.is_open() {
        env.push(text("QUORATE_CLIENT_ACCOUNTS", &client_accounts(&access.service_accounts, namespace)));
    }
    env
}

/// Each with its namespace.
fn client_accounts(accounts: &[String], namespace: &str) -> String {
    let full = |account: &String| {
        if account.contains('/') { account.clone() } else { format!("{namespace}/{account}") }
    };
    accounts.iter().map(full).collect::<Vec<_>>().join(",")
}

fn ports(is_open: bool) -> Vec<ContainerPort> {
    let mut ports = vec![
        ("q-peer", names::PEER_PORT),
        (names::GRPC_PORT_NAME, names::GRPC_PORT),
        ("q-ops", names::OPS_PORT),
    ];
    ports.extend(is_open.then_some((names::HTTP_PORT_NAME, names::HTTP_PORT)));
    ports
        .into_iter()
        .map(|(name, port)| ContainerPort {
            name: Some(name.to_owned()),
            container_port: port,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        })
        .collect()
}

/// A CPU request and no CPU limit: a throttled member misses heartbeats (K26).
fn resources() -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(
            [("cpu", "100m"), ("memory", "128Mi")]
                .into_iter()
                .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))
                .collect(),
        ),
        ..ResourceRequirements::default()
    }
}

fn probe(path: &str, period_secs: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(names::OPS_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_secs),
        timeout_seconds: Some(5),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

/// The restricted Pod Security Standard, and a read-only root.
fn security() -> SecurityContext {
    SecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER_ID),
        run_as_group: Some(USER_ID),
        read_only_root_filesystem: Some(true),
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}
