//! What Prometheus is told (operator.md §3.10).

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use quorate_plan::observed::Observed;
use quorate_plan::plan::{Plan, Step};
use quorate_plan::raft_view::{RaftView, ServerView};

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

/// What a member is, and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MemberLabels {
    namespace: String,
    cluster: String,
    role: &'static str,
    state: &'static str,
}

/// All roles and states, so that none keeps an old count.
const ROLES: [&str; 3] = ["leader", "voter", "non-voter"];
const STATES: [&str; 3] = ["healthy", "lagging", "unhealthy"];

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
    members: Family<MemberLabels, Gauge>,
    leader_changes: Family<ClusterLabels, Counter>,
    /// Who led last, and in which term.
    leaders: Arc<Mutex<HashMap<ClusterLabels, (String, u64)>>>,
    heartbeat_age: Family<ClusterLabels, Gauge<f64, AtomicU64>>,
    certificate_not_after: Family<ClusterLabels, Gauge<u64, AtomicU64>>,
    outdated_members: Family<ClusterLabels, Gauge>,
    hibernated: Family<ClusterLabels, Gauge>,
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
            members: Family::default(),
            leader_changes: Family::default(),
            leaders: Arc::default(),
            heartbeat_age: Family::default(),
            certificate_not_after: Family::default(),
            outdated_members: Family::default(),
            hibernated: Family::default(),
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
        self.register_clusters(registry.sub_registry_with_prefix("cluster"));
        registry
    }

    fn register_clusters(&self, cluster: &mut Registry) {
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
        cluster.register("members", "Servers of the configuration by role and state", self.members.clone());
        cluster.register(
            "leader_changes",
            "Leaders and terms that followed another",
            self.leader_changes.clone(),
        );
        cluster.register_with_unit(
            "leader_heartbeat_age",
            "Time since the leader last renewed its status Lease",
            Unit::Seconds,
            self.heartbeat_age.clone(),
        );
        cluster.register_with_unit(
            "certificate_not_after",
            "When the first of the members' certificates ends, since the Unix epoch",
            Unit::Seconds,
            self.certificate_not_after.clone(),
        );
        cluster.register(
            "outdated_members",
            "Members that do not run the current template yet",
            self.outdated_members.clone(),
        );
        cluster.register("hibernated", "1 while spec.hibernate is set", self.hibernated.clone());
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
        self.saw_resource(&labels, observed, plan);
        let Some(view) = &observed.raft else {
            // Unknown is absent, not the last value.
            self.forget_view(&labels);
            return;
        };
        self.voters.get_or_create(&labels).set(count(view.voter_count()));
        self.healthy_voters.get_or_create(&labels).set(count(view.healthy_voter_count()));
        self.failure_tolerance.get_or_create(&labels).set(i64::from(view.failure_tolerance));
        self.term.get_or_create(&labels).set(view.term);
        self.saw_leader(&labels, view);
        self.saw_members(&labels, view);
    }

    /// What needs no view.
    fn saw_resource(&self, labels: &ClusterLabels, observed: &Observed, plan: &Plan) {
        let outdated = plan.status.rollout.as_ref().map_or(0, |rollout| rollout.pending.len());
        self.outdated_members.get_or_create(labels).set(count(outdated));
        self.hibernated.get_or_create(labels).set(i64::from(observed.cluster.spec.hibernate));
        let ends = observed.children.certificates.values().filter_map(|certificate| certificate.not_after);
        if let Some(first) = ends.min() {
            self.certificate_not_after.get_or_create(labels).set(first.0);
        }
        match observed.leader_heard {
            Some(age) => {
                self.heartbeat_age.get_or_create(labels).set(age.as_secs_f64());
            }
            None => {
                self.heartbeat_age.remove(labels);
            }
        }
    }

    /// The first one is no change.
    fn saw_leader(&self, labels: &ClusterLabels, view: &RaftView) {
        let changes = self.leader_changes.get_or_create(labels);
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (view.leader.clone(), view.term);
        if leaders.insert(labels.clone(), now.clone()).is_some_and(|before| before != now) {
            changes.inc();
        }
    }

    fn saw_members(&self, labels: &ClusterLabels, view: &RaftView) {
        for role in ROLES {
            for state in STATES {
                let is_it =
                    |server: &&ServerView| (role_of(view, server), state_of(view, server)) == (role, state);
                let members = view.servers.iter().filter(is_it).count();
                self.members.get_or_create(&member_labels(labels, role, state)).set(count(members));
            }
        }
    }

    /// A cluster is gone.
    pub(crate) fn forget(&self, namespace: &str, cluster: &str) {
        let labels = labels(namespace, cluster);
        self.has_leader.remove(&labels);
        self.leader_changes.remove(&labels);
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner).remove(&labels);
        self.heartbeat_age.remove(&labels);
        self.certificate_not_after.remove(&labels);
        self.outdated_members.remove(&labels);
        self.hibernated.remove(&labels);
        self.forget_view(&labels);
    }

    fn forget_view(&self, labels: &ClusterLabels) {
        self.voters.remove(labels);
        self.healthy_voters.remove(labels);
        self.failure_tolerance.remove(labels);
        self.term.remove(labels);
        for role in ROLES {
            for state in STATES {
                self.members.remove(&member_labels(labels, role, state));
            }
        }
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn member_labels(labels: &ClusterLabels, role: &'static str, state: &'static str) -> MemberLabels {
    let ClusterLabels { namespace, cluster } = labels.clone();
    MemberLabels { namespace, cluster, role, state }
}

fn role_of(view: &RaftView, server: &ServerView) -> &'static str {
    match server {
        server if server.raft_id == view.leader => "leader",
        server if server.is_voter => "voter",
        _ => "non-voter",
    }
}

fn state_of(view: &RaftView, server: &ServerView) -> &'static str {
    match server {
        server if server.trailing > view.settings.max_trailing_logs => "lagging",
        server if server.is_healthy => "healthy",
        _ => "unhealthy",
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
    use std::collections::BTreeSet;

    use quorate_plan::observed::{Certificate, Now, Ordinal};

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

    fn view(leader: &str, term: u64) -> RaftView {
        let server = |raft_id: &str| ServerView {
            raft_id: raft_id.to_owned(),
            is_voter: true,
            is_healthy: true,
            ..ServerView::default()
        };
        RaftView {
            leader: leader.to_owned(),
            term,
            servers: vec![server("db-0-a"), ServerView { is_healthy: false, ..server("db-1-b") }],
            ..RaftView::default()
        }
    }

    /// operator.md, "What must be true", 46.
    #[test]
    fn members_leaders_and_certificates_are_counted() {
        let metrics = Metrics::new();
        let mut observed = Observed { raft: Some(view("db-0-a", 1)), ..Observed::default() };
        let ends = |at| Certificate { not_after: Some(Now(at)), ..Certificate::default() };
        observed.children.certificates = [(Ordinal(0), ends(900)), (Ordinal(1), ends(800))].into();
        metrics.saw(&observed, &Plan::default());
        observed.raft = Some(view("db-1-b", 2));
        metrics.saw(&observed, &Plan::default());
        let text = metrics.text();
        let labels = "namespace=\"\",cluster=\"\"";
        for line in [
            format!("quorate_cluster_members{{{labels},role=\"voter\",state=\"healthy\"}} 1"),
            format!("quorate_cluster_members{{{labels},role=\"leader\",state=\"unhealthy\"}} 1"),
            format!("quorate_cluster_members{{{labels},role=\"leader\",state=\"healthy\"}} 0"),
            format!("quorate_cluster_leader_changes_total{{{labels}}} 1"),
            format!("quorate_cluster_certificate_not_after_seconds{{{labels}}} 800"),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        metrics.forget("", "");
        assert!(!metrics.text().contains("cluster=\""), "{}", metrics.text());
    }

    /// operator.md, "What must be true", 46: an alert on a metric that does not exist never fires.
    #[test]
    fn every_metric_an_alert_names_exists_and_every_alert_has_a_runbook() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).expect(path);
        // A family without a value is not in the text.
        let metrics = Metrics::new();
        let mut observed = Observed {
            raft: Some(view("db-0-a", 1)),
            leader_heard: Some(Duration::ZERO),
            ..Observed::default()
        };
        let certificate = Certificate { not_after: Some(Now(1)), ..Certificate::default() };
        observed.children.certificates.insert(Ordinal(0), certificate);
        metrics.saw(&observed, &Plan::default());
        let (own, documented) = (metrics.text(), read("docs/metrics.md"));
        for family in own.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            let is_documented =
                ["", "_total"].iter().any(|end| documented.contains(&format!("`{family}{end}`")));
            assert!(is_documented, "{family} is not in docs/metrics.md");
        }
        let runbooks = read("docs/runbooks.md");
        let alerts: serde_yaml::Value =
            serde_yaml::from_str(&read("charts/quorate/files/alerts.yaml")).expect("YAML");
        let rules = alerts["groups"][0]["rules"].as_sequence().expect("rules");
        for rule in rules {
            let name = rule["alert"].as_str().expect("a name");
            let expr = rule["expr"].as_str().expect("an expression");
            promql_parser::parser::parse(expr).unwrap_or_else(|error| panic!("{name}: {error}"));
            for metric in names(expr) {
                assert!(
                    documented.contains(&format!("`{metric}`")),
                    "{name}: {metric} is not in docs/metrics.md"
                );
                // Those of members have a test of their own against that page (sidecar, `ops`).
                let is_ours =
                    ["quorate_operator_", "quorate_cluster_"].iter().any(|it| metric.starts_with(it));
                // A counter's family is declared without its suffix.
                let declared = format!("# TYPE {} ", metric.trim_end_matches("_total"));
                assert!(!is_ours || own.contains(&declared), "{name}: the operator has no {metric}");
            }
            let anchor = name.to_lowercase();
            let url = rule["annotations"]["runbook_url"].as_str().expect("a runbook");
            assert!(url.ends_with(&format!("docs/runbooks.md#{anchor}")), "{name}: {url}");
            assert!(runbooks.contains(&format!("\n## {name}\n")), "docs/runbooks.md has no {name}");
            assert!(
                rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(),
                "{name}"
            );
        }
    }

    fn names(expr: &str) -> BTreeSet<&str> {
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("quorate_")).collect()
    }
}
