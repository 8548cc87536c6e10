//! A small world: an API server, kubelets and a Raft group, just real enough to carry plans out.
//!
//! It refuses what the real ones refuse (a stale resource version, an old configuration index, a removal that
//! loses the quorum) and panics on what must never be asked (I4, I6). Fixtures are sentences:
//! `World::cluster("db").replicas(3)`.

mod act;
mod kubernetes;
mod look;
mod raft;

use std::collections::{BTreeMap, BTreeSet};

use quorate_crds::{RaftCluster, RaftClusterSpec, RaftClusterStatus};
use quorate_plan::observed::{Certificate, Children, Claim, Node, OperatorFacts, Pod, StorageFacts};
use quorate_plan::{Now, Observed, Ordinal, Plan, plan};

pub(crate) use act::Calls;
pub(crate) use raft::{Group, Member};

/// The moment every story begins.
pub(crate) const START: u64 = 1_700_000_000;

/// What is on a volume.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disk {
    pub(crate) raft_id: String,
    pub(crate) incarnation: String,
    pub(crate) cluster_id: Option<String>,
    pub(crate) recovery_epoch: u64,
}

/// Everything outside the planner.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) cluster: RaftCluster,
    pub(crate) now: u64,
    pub(crate) claims: BTreeMap<Ordinal, Claim>,
    pub(crate) pods: BTreeMap<Ordinal, Pod>,
    /// By claim UID.
    pub(crate) disks: BTreeMap<String, Disk>,
    pub(crate) children: Children,
    pub(crate) certificates: BTreeMap<Ordinal, Certificate>,
    pub(crate) group: Group,
    pub(crate) storage: StorageFacts,
    /// Nodes that are cut off, by the ordinal whose Pod runs there.
    pub(crate) cut: BTreeSet<Ordinal>,
    pub(crate) nodes: BTreeMap<Ordinal, Node>,
    pub(crate) refused: BTreeMap<Ordinal, String>,
    /// The API server lets no volume grow, and says why.
    pub(crate) growth_refused: Option<String>,
    /// Pods of these slots do not start.
    pub(crate) obstacles: BTreeMap<Ordinal, quorate_plan::observed::Obstacle>,
    /// Raft IDs that the leader was told leave.
    pub(crate) left: std::collections::BTreeSet<String>,
    /// Members whose Pod is not ready though its sidecar is: the application beside it fails.
    pub(crate) unready: std::collections::BTreeSet<Ordinal>,
    pub(crate) quorum_missing_before: bool,
    pub(crate) bootstraps: usize,
    /// Every membership change that the leader accepted, in order.
    pub(crate) changes: Vec<String>,
    pub(crate) first_round: bool,
    pub(crate) slice_ports: Vec<i32>,
    /// Members that are given new Secrets later.
    pub(crate) slow_kubelets: BTreeSet<Ordinal>,
    /// Rounds before failed again and again.
    pub(crate) failure: Option<String>,
    /// The sidecar image this operator brings.
    pub(crate) operator_image: String,
    /// No other cluster is being given it.
    pub(crate) is_turn: bool,
    counter: u64,
    versions: u64,
}

impl World {
    /// A resource nobody has looked at yet.
    pub(crate) fn cluster(name: &str) -> Self {
        let mut spec = RaftClusterSpec { replicas: 1, ..RaftClusterSpec::default() };
        "2s".clone_into(&mut spec.autopilot.server_stabilization_time);
        let mut cluster = RaftCluster::new(name, spec);
        cluster.metadata.namespace = Some("test".to_owned());
        cluster.metadata.uid = Some("c0ffee00-0000-4000-8000-000000000001".to_owned());
        cluster.metadata.generation = Some(1);
        cluster.metadata.resource_version = Some("1".to_owned());
        Self {
            cluster,
            now: START,
            claims: BTreeMap::new(),
            pods: BTreeMap::new(),
            disks: BTreeMap::new(),
            children: Children::default(),
            certificates: BTreeMap::new(),
            group: Group { zones: 3, ..Group::default() },
            storage: StorageFacts {
                default_class: Some(true),
                named_class: Some(true),
                expanding_classes: None,
                single_pod_volumes: false,
            },
            cut: BTreeSet::new(),
            nodes: BTreeMap::new(),
            refused: BTreeMap::new(),
            growth_refused: None,
            obstacles: BTreeMap::new(),
            left: std::collections::BTreeSet::new(),
            unready: std::collections::BTreeSet::new(),
            quorum_missing_before: false,
            bootstraps: 0,
            changes: Vec::new(),
            first_round: true,
            slice_ports: Vec::new(),
            failure: None,
            slow_kubelets: BTreeSet::new(),
            operator_image: "quorate/sidecar:0.1.0".to_owned(),
            is_turn: false,
            counter: 0,
            versions: 1,
        }
    }

    /// Edits `replicas`.
    pub(crate) fn replicas(mut self, replicas: i32) -> Self {
        self.scale(replicas);
        self
    }

    /// A cluster of this size that has settled.
    pub(crate) fn settled(name: &str, replicas: i32) -> Self {
        let mut world = Self::cluster(name).replicas(replicas);
        world.run_until_ready();
        world
    }

    pub(crate) fn scale(&mut self, replicas: i32) {
        self.cluster.spec.replicas = replicas;
        self.edited();
    }

    /// The spec was edited.
    pub(crate) fn edited(&mut self) {
        self.cluster.metadata.generation = self.cluster.metadata.generation.map(|generation| generation + 1);
        self.bump_cluster();
    }

    pub(crate) fn status(&self) -> RaftClusterStatus {
        self.cluster.status.clone().unwrap_or_default()
    }

    pub(crate) fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|condition| condition.type_ == type_);
        found.map_or_else(Default::default, |it| (it.status.clone(), it.reason.clone(), it.message.clone()))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.condition("Ready").0 == "True"
            && self.status().observed_generation == self.cluster.metadata.generation
    }

    /// One round: look, plan, carry out, let a second pass.
    pub(crate) fn round(&mut self) -> Plan {
        let plan = self.plan();
        self.act(&plan, &mut Calls::unlimited());
        self.tick();
        plan
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.look(), Now(self.now))
    }

    pub(crate) fn look(&self) -> Observed {
        look::at(self)
    }

    /// Rounds until Ready, at most so many that a stuck world is told from a slow one.
    pub(crate) fn run_until_ready(&mut self) {
        self.try_until_ready(400)
            .unwrap_or_else(|last| panic!("not Ready after 400 rounds; the last plan:\n{last}"));
    }

    pub(crate) fn try_until_ready(&mut self, rounds: usize) -> Result<usize, String> {
        let mut last = String::new();
        for round in 0..rounds {
            if self.is_ready() {
                return Ok(round);
            }
            last = self.round().to_string();
        }
        Err(last)
    }

    /// A new name of its own.
    pub(crate) fn mint(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn version(&mut self) -> String {
        self.versions += 1;
        self.versions.to_string()
    }

    pub(crate) fn bump_cluster(&mut self) {
        self.cluster.metadata.resource_version = Some(self.version());
    }

    pub(crate) fn operator(&self) -> OperatorFacts {
        OperatorFacts {
            sidecar_image: self.operator_image.clone(),
            sidecar_pull_policy: None,
            namespace: "quorate-system".to_owned(),
            is_turn: self.is_turn,
            // Another one each round: a stale read must not give the cluster a second identity.
            fresh_cluster_id: format!("{:032x}", self.now),
        }
    }
}
