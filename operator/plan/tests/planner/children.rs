//! Rendered children as golden YAML: a person reads the difference.
//!
//! `REWRITE=1 cargo test -p quorate-plan` writes the files anew.

use std::path::PathBuf;

use quorate_crds::{
    ClaimPolicy, ClientAccess, ClientScope, RaftCluster, RaftClusterSpec, RaftClusterStatus, Spread,
    Unsatisfiable,
};
use quorate_plan::Ordinal;
use quorate_plan::children::network_policy::network_policy;
use quorate_plan::children::pod::{Identity, pod};
use quorate_plan::children::{Rendering, access, budget, claim, services};
use quorate_plan::observed::StorageFacts;
use quorate_plan::record::{ClaimRecord, MemberState};

use crate::world::World;

fn golden(name: &str, value: &impl serde::Serialize) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.yaml"));
    let text = serde_yaml::to_string(&serde_json::to_value(value).expect("JSON")).expect("YAML");
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &text).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} renders otherwise than {}:\n{text}", path.display());
}

fn cluster(spec: RaftClusterSpec) -> RaftCluster {
    let mut cluster = RaftCluster::new("db", spec);
    cluster.metadata.namespace = Some("prod".to_owned());
    cluster.metadata.uid = Some("c0ffee00-0000-4000-8000-000000000001".to_owned());
    // The user's own labels are not copied to children (K45).
    cluster.metadata.labels = Some([("team".to_owned(), "storage".to_owned())].into());
    cluster.status =
        Some(RaftClusterStatus { cluster_id: Some("5f".repeat(16)), ..RaftClusterStatus::default() });
    cluster
}

fn with_application() -> RaftCluster {
    let template = r#"{
        "metadata": {"labels": {"app": "shop"}, "annotations": {"note": "kept"}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "shop", "image": "shop:1",
                "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9090}],
                "env": [{"name": "QUORATE_MEMBER", "value": "mine"}]
            }],
            "initContainers": [{"name": "migrate", "image": "shop:1"}],
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "topologySpreadConstraints": [{
                "topologyKey": "kubernetes.io/hostname", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"
            }]
        }
    }"#;
    cluster(RaftClusterSpec {
        template: Some(serde_json::from_str(template).expect("a Pod template")),
        ..RaftClusterSpec::default()
    })
}

fn identity() -> Identity {
    Identity {
        ordinal: Ordinal(1),
        claim_uid: "3f2a91c4-77be-4d09-8f10-aa4d5a7e6f01".to_owned(),
        raft_id: "db-1-3f2a91c4".to_owned(),
        cluster_id: "5f".repeat(16),
        recovery_epoch: 0,
    }
}

/// K43: beside an application the sidecar is native and first; the user's own keys stay, the operator's win.
#[test]
fn a_pod_with_an_application() {
    let operator = World::cluster("db").operator();
    let cluster = with_application();
    golden("pod-with-application", &pod(Rendering { cluster: &cluster, operator: &operator }, &identity()));
}

/// K43: without a template the sidecar is the only ordinary container.
#[test]
fn a_pod_without_an_application() {
    let operator = World::cluster("db").operator();
    let mut cluster = cluster(RaftClusterSpec::default());
    cluster.spec.topology.spread = Spread::Node;
    cluster.spec.topology.when_unsatisfiable = Unsatisfiable::DoNotSchedule;
    golden("pod-alone", &pod(Rendering { cluster: &cluster, operator: &operator }, &identity()));
}

/// K34, K41, K28.
#[test]
fn a_claim_remembers_and_is_owned_only_if_it_goes_with_the_resource() {
    let mut cluster = cluster(RaftClusterSpec::default());
    let record = ClaimRecord {
        cluster_id: Some("5f".repeat(16)),
        state: Some(MemberState::Joining),
        ..ClaimRecord::default()
    };
    golden("claim", &claim::claim(&cluster, Ordinal(0), &record, &StorageFacts::default()));
    cluster.spec.storage.retention.when_deleted = ClaimPolicy::Delete;
    let single = StorageFacts { single_pod_volumes: true, ..StorageFacts::default() };
    let owned = claim::claim(&cluster, Ordinal(0), &record, &single);
    assert_eq!(owned.metadata.owner_references.expect("an owner").len(), 1);
    assert_eq!(owned.spec.and_then(|spec| spec.access_modes), Some(vec!["ReadWriteOncePod".to_owned()]));
}

/// K37, K40, K44: Services, budget, and rights by name without create.
#[test]
fn what_exists_once_per_cluster() {
    let cluster = with_application();
    golden("service-members", &services::members(&cluster));
    golden("service-leader", &services::leader(&cluster));
    golden("service-read", &services::read(&cluster));
    golden("leader-slice", &services::leader_slice(&cluster));
    golden("budget", &budget::budget(&cluster, 2));
    golden("role", &access::role(&cluster));
    golden("role-binding", &access::role_binding(&cluster));
    golden("service-account", &access::service_account(&cluster));
}

/// K46: open to the cluster, the Services carry the sidecar's own ports, the Pod is told whom to let in, and everything that
/// was rendered without it stays as it was.
#[test]
fn a_cluster_that_is_used_from_outside() {
    let operator = World::cluster("db").operator();
    let mut cluster = cluster(RaftClusterSpec::default());
    let closed = Rendering { cluster: &cluster, operator: &operator }.user_hash();
    cluster.spec.client_access = ClientAccess {
        scope: ClientScope::Cluster,
        service_accounts: vec!["web".to_owned(), "stock/batch".to_owned()],
    };
    let open = Rendering { cluster: &cluster, operator: &operator };
    assert_ne!(open.user_hash(), closed, "members learn of it by a rollout");
    golden("pod-open", &pod(open, &identity()));
    golden("service-read-open", &services::read(&cluster));
    golden("leader-slice-open", &services::leader_slice(&cluster));
    golden("network-policy-open", &network_policy(&cluster, "quorate-system"));
}

/// The application's version is a file that follows the Pod's annotation; setting or dropping its name restarts the Pods once,
/// and a Pod that was rendered without it stays as it was.
#[test]
fn a_pod_whose_version_upgrades_go_by() {
    let operator = World::cluster("db").operator();
    let mut cluster = cluster(RaftClusterSpec::default());
    let without = Rendering { cluster: &cluster, operator: &operator }.user_hash();
    cluster.spec.autopilot.redundancy_zones = true;
    assert_eq!(
        Rendering { cluster: &cluster, operator: &operator }.user_hash(),
        without,
        "zones restart nobody"
    );
    cluster.spec.autopilot.upgrade_version_from = Some("quorate.dev/app-version".to_owned());
    let with = Rendering { cluster: &cluster, operator: &operator };
    assert_ne!(with.user_hash(), without);
    golden("pod-versioned", &pod(with, &identity()));
}

/// Ports that the application declares stay open, and what it calls is its own business; a sidecar alone is held in both
/// directions.
#[test]
fn who_may_reach_the_members() {
    golden("network-policy-with-application", &network_policy(&with_application(), "quorate-system"));
    golden("network-policy-alone", &network_policy(&cluster(RaftClusterSpec::default()), "quorate-system"));
}

/// K40: no named port, no Service: the sidecar itself is reached on localhost only.
#[test]
fn without_named_ports_there_is_no_leader_service() {
    let cluster = cluster(RaftClusterSpec::default());
    assert_eq!(services::leader(&cluster), None);
    assert_eq!(services::read(&cluster), None);
    assert_eq!(services::leader_slice(&cluster), None);
}

/// K47: a new operator alone makes no Pod outdated; an edit of the user's part does.
#[test]
fn only_the_users_edit_changes_the_rendering() {
    let mut operator = World::cluster("db").operator();
    let mut cluster = with_application();
    let first = Rendering { cluster: &cluster, operator: &operator };
    let (hash, pins) = (first.template_hash(), first.pins());
    cluster.status.as_mut().expect("a status").rollout = Some(pins);
    operator.sidecar_image = "quorate/sidecar:0.2.0".to_owned();
    assert_eq!(Rendering { cluster: &cluster, operator: &operator }.template_hash(), hash);
    cluster.spec.replicas = 5;
    assert_eq!(
        Rendering { cluster: &cluster, operator: &operator }.template_hash(),
        hash,
        "scaling is no rollout"
    );
    cluster.spec.sidecar.image_pull_policy = Some("Always".to_owned());
    let edited = Rendering { cluster: &cluster, operator: &operator };
    assert_ne!(edited.template_hash(), hash);
    assert_eq!(edited.pins().sidecar_image.as_deref(), Some("quorate/sidecar:0.2.0"));
}
