//! What the API server holds, in the words of the planner: what the operator's `observe` makes of the real objects.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use quorate_crds::{RaftCluster, RaftClusterSpec, RaftClusterStatus, UpdateStrategy};
use quorate_plan::Ordinal;
use quorate_plan::observed::{BudgetCounts, Children, Claim, Node, Pod};

use super::options::Options;

/// The moment every run begins, in seconds since the Unix epoch.
pub const START: u64 = 1_700_000_000;
/// The name of the one cluster.
pub const CLUSTER: &str = "db";

/// The annotation of the template that says the application's version.
pub const VERSION: &str = "example.com/version";

/// Every object.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Rises with every write.
    pub version: u64,
    /// The resource.
    pub cluster: RaftCluster,
    /// Claims.
    pub claims: BTreeMap<Ordinal, Claim>,
    /// Pods.
    pub pods: BTreeMap<Ordinal, Pod>,
    /// Nodes.
    pub nodes: BTreeMap<String, Node>,
    /// Services, Secrets and the rest; the budget's part is in `budget`.
    pub children: Children,
    /// The disruption budget.
    pub budget: Option<Budget>,
    /// When the leader last renewed its Lease.
    pub renewed: Option<u64>,
}

/// The disruption budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its `minAvailable`.
    pub min_available: i32,
    /// What the disruption controller last wrote; none: it has not counted under this `minAvailable`.
    pub counts: Option<BudgetCounts>,
}

/// The zone of a node, one that is no more included: three zones, by turns.
pub fn zone_of(node: &str) -> String {
    let number: usize = node.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    format!("z{}", number % 3)
}

/// A template whose application is of this version.
pub fn template(version: u64) -> PodTemplateSpec {
    let annotations = [(VERSION.to_owned(), format!("{version}.0.0"))].into();
    let metadata = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: None }
}

impl Objects {
    /// A resource nobody has looked at yet, and nodes.
    pub fn new(options: &Options) -> Self {
        let mut spec = RaftClusterSpec { replicas: options.replicas, ..RaftClusterSpec::default() };
        spec.autopilot.server_stabilization_time = format!("{}s", options.stabilization_secs);
        spec.autopilot.dead_server_last_contact_threshold = format!("{}s", options.dead_secs);
        // Two heartbeats may be lost before somebody is unhealthy.
        let patience = options.settings.heartbeat_interval * 3;
        spec.autopilot.last_contact_threshold = format!("{}ms", patience.as_millis());
        spec.autopilot.redundancy_zones = options.has_zones;
        if options.has_upgrades {
            spec.update.strategy = UpdateStrategy::OnDelete;
            spec.autopilot.upgrade_version_from = Some(VERSION.to_owned());
            spec.template = Some(template(1));
        }
        let mut cluster = RaftCluster::new(CLUSTER, spec);
        cluster.metadata.namespace = Some("test".to_owned());
        cluster.metadata.uid = Some("c0ffee00-0000-4000-8000-000000000001".to_owned());
        cluster.metadata.generation = Some(1);
        cluster.metadata.resource_version = Some("1".to_owned());
        let node = |number: usize| {
            let name = format!("node-{number}");
            (name.clone(), Node { zone: Some(zone_of(&name)), name, ready: true, ..Node::default() })
        };
        Self { version: 1, cluster, nodes: (0..options.nodes).map(node).collect(), ..Self::default() }
    }

    /// The resource's status.
    pub fn status(&self) -> RaftClusterStatus {
        self.cluster.status.clone().unwrap_or_default()
    }

    /// Status and message of a condition; empty if there is none.
    pub fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.cluster.status.as_ref();
        let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
        let found = conditions.find(|condition| condition.type_ == type_);
        found.map_or_else(Default::default, |it| (it.status.clone(), it.reason.clone(), it.message.clone()))
    }

    /// Ready, for the spec as it is.
    pub fn is_ready(&self) -> bool {
        let observed = self.cluster.status.as_ref().and_then(|status| status.observed_generation);
        self.condition("Ready").0 == "True" && observed == self.cluster.metadata.generation
    }
}
