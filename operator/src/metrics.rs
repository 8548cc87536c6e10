//! What Prometheus is told (operator.md §3.10).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use quorate_plan::observed::Observed;
use quorate_plan::plan::{Plan, Step};

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    namespace: String,
    cluster: String,
}

/// A kind of step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    kind: &'static str,
}

/// Every metric of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    rounds: Counter,
    failed_rounds: Counter,
    round_seconds: Histogram,
    steps: Family<StepLabels, Counter>,
    is_lease_holder: Gauge,
    healthy_voters: Family<ClusterLabels, Gauge>,
    voters: Family<ClusterLabels, Gauge>,
    failure_tolerance: Family<ClusterLabels, Gauge>,
    term: Family<ClusterLabels, Gauge<u64, AtomicU64>>,
    has_leader: Family<ClusterLabels, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // From one slow API call to a round that waits for a dead member and a membership change.
        let round_seconds = Histogram::new([0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]);
        let mut metrics = Self {
            registry: Arc::default(),
            rounds: Counter::default(),
            failed_rounds: Counter::default(),
            round_seconds,
            steps: Family::default(),
            is_lease_holder: Gauge::default(),
            healthy_voters: Family::default(),
            voters: Family::default(),
            failure_tolerance: Family::default(),
            term: Family::default(),
            has_leader: Family::default(),
        };
        metrics.registry = Arc::new(metrics.register());
        metrics
    }

    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("quorate");
        let operator = registry.sub_registry_with_prefix("operator");
        operator.register("reconcile", "Rounds finished, well or not", self.rounds.clone());
        operator.register("reconcile_errors", "Rounds that failed", self.failed_rounds.clone());
        operator.register_with_unit(
            "reconcile_duration",
            "How long a round takes",
            Unit::Seconds,
            self.round_seconds.clone(),
        );
        operator.register("action", "Disruptive steps tried, by kind", self.steps.clone());
        operator.register("leading", "1 while this replica holds the Lease", self.is_lease_holder.clone());
        let cluster = registry.sub_registry_with_prefix("cluster");
        cluster.register("healthy_voters", "Voters its leader calls healthy", self.healthy_voters.clone());
        cluster.register("voters", "Servers that vote", self.voters.clone());
        cluster.register(
            "failure_tolerance",
            "How many healthy voters may fail before writes stop",
            self.failure_tolerance.clone(),
        );
        cluster.register("term", "The leader's term", self.term.clone());
        cluster.register(
            "has_leader",
            "1 if a leader confirmed its majority this round",
            self.has_leader.clone(),
        );
        registry
    }

    /// The text Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail; a broken encoder gives a short page, which a scrape reports.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    pub(crate) fn round(&self, took: Duration, is_ok: bool) {
        self.rounds.inc();
        self.round_seconds.observe(took.as_secs_f64());
        if !is_ok {
            self.failed_rounds.inc();
        }
    }

    pub(crate) fn leading(&self, leads: bool) {
        self.is_lease_holder.set(i64::from(leads));
    }

    /// What a round saw and decided.
    pub(crate) fn saw(&self, observed: &Observed, plan: &Plan) {
        let labels = labels(observed.namespace(), observed.name());
        if let Some(step) = &plan.step {
            self.steps.get_or_create(&StepLabels { kind: kind(&step.step) }).inc();
        }
        self.has_leader.get_or_create(&labels).set(i64::from(observed.raft.is_some()));
        let Some(view) = &observed.raft else {
            // Unknown is absent, not the last value.
            self.forget_view(&labels);
            return;
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.voters.get_or_create(&labels).set(count(view.voter_count()));
        self.healthy_voters.get_or_create(&labels).set(count(view.healthy_voter_count()));
        self.failure_tolerance.get_or_create(&labels).set(i64::from(view.failure_tolerance));
        self.term.get_or_create(&labels).set(view.term);
    }

    /// A cluster is gone.
    pub(crate) fn forget(&self, namespace: &str, cluster: &str) {
        let labels = labels(namespace, cluster);
        self.has_leader.remove(&labels);
        self.forget_view(&labels);
    }

    fn forget_view(&self, labels: &ClusterLabels) {
        self.voters.remove(labels);
        self.healthy_voters.remove(labels);
        self.failure_tolerance.remove(labels);
        self.term.remove(labels);
    }
}

fn labels(namespace: &str, cluster: &str) -> ClusterLabels {
    ClusterLabels { namespace: namespace.to_owned(), cluster: cluster.to_owned() }
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Bootstrap { .. } => "bootstrap",
        Step::AddNonVoter { .. } => "add_non_voter",
        Step::Remove { .. } => "remove",
        Step::TransferLeadership { .. } => "transfer_leadership",
        Step::Recover { .. } => "recover",
        Step::EvictPod { .. } => "evict_pod",
        Step::DeletePod { .. } => "delete_pod",
        Step::DeleteClaim { .. } => "delete_claim",
    }
}

#[cfg(test)]
mod tests {
    use quorate_plan::raft_view::RaftView;

    use super::*;

    /// P6: what is not known any more is not shown any more.
    #[test]
    fn a_clusters_tolerance_disappears_with_its_leader() {
        let metrics = Metrics::new();
        let mut observed = Observed {
            raft: Some(RaftView { failure_tolerance: 1, ..RaftView::default() }),
            ..Observed::default()
        };
        observed.cluster.metadata.name = Some("db".to_owned());
        metrics.saw(&observed, &Plan::default());
        assert!(
            metrics.text().contains("quorate_cluster_failure_tolerance{namespace=\"\",cluster=\"db\"} 1")
        );
        observed.raft = None;
        metrics.saw(&observed, &Plan::default());
        assert!(!metrics.text().contains("quorate_cluster_failure_tolerance{"));
        assert!(metrics.text().contains("quorate_cluster_has_leader{namespace=\"\",cluster=\"db\"} 0"));
    }
}
