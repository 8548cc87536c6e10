//! What the core, its log and its machine did, counted for Prometheus under the names that operators of hashicorp/raft
//! know: `raft.leader.dispatchLog` there is `quorate_raft_leader_dispatchLog` here. `docs/metrics.md` lists them, and
//! the few that mean nothing here.
//!
//! Shared by the threads that count and whoever writes the report; counting never waits for long.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use quorate_raft::RaftId;

/// Upper bounds in seconds: from a write to a fast disk to one that stands still.
const BUCKETS_SECONDS: [f64; 10] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];
/// Upper bounds in entries.
const BUCKETS_ENTRIES: [f64; 7] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0];

type SecondsCounter = Counter<f64, AtomicU64>;
type SecondsGauge = Gauge<f64, AtomicU64>;

/// Declares a family of plain counters once: the name in code, the metric's, and its help.
macro_rules! counts {
    ($(#[$doc:meta])* $kind:ident $names:ident: $($name:ident $metric:literal $help:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) enum $kind {
            $(#[doc = $help] $name,)*
        }

        const $names: &[(&str, &str)] = &[$(($metric, $help)),*];
    };
}

counts! {
    /// What is counted for the member as a whole.
    Count COUNTS:
    Apply "apply" "Writes proposed at this member";
    Barrier "barrier" "Barriers asked of this member";
    VerifyLeader "verify_leader" "Confirmations of leadership asked of this member, each for one or more reads";
    Restore "restore" "Archives restored through this member";
    CompactLogs "compactLogs" "Times the log forgot its oldest entries";
    FsmApply "fsm_apply" "Entries applied to the state";
    FsmRestore "fsm_restore" "Received snapshots and restored archives that became the state";
    FsmSnapshot "fsm_snapshot" "Flushes of the state to disk";
    FsmEnqueue "fsm_enqueue" "Batches of committed entries handed to the machine";
    RpcAppendEntries "rpc_appendEntries" "Append requests received";
    RpcStoreLogs "rpc_appendEntries_storeLogs" "Entries received in append requests";
    RpcHeartbeat "rpc_processHeartbeat" "Heartbeats received";
    RpcRequestVote "rpc_requestVote" "Vote requests received";
    RpcRequestPreVote "rpc_requestPreVote" "Pre-vote requests received";
    RpcInstallSnapshot "rpc_installSnapshot" "Snapshots received whole";
    PreElectSelf "candidate_preElectSelf" "Pre-votes begun";
    ElectSelf "candidate_electSelf" "Elections begun";
    StateFollower "state_follower" "Times it became a follower";
    StateCandidate "state_candidate" "Times it became a candidate";
    StateLeader "state_leader" "Times it became the leader";
    HeartbeatTimeout "transition_heartbeat_timeout" "Times a follower gave its leader up";
    LeaseTimeout "transition_leader_lease_timeout" "Times it stopped leading because it heard no quorum";
    SnapshotCreate "snapshot_create" "Snapshots made or shared for a peer";
}

counts! {
    /// What is counted for each peer.
    PeerCount PEER_COUNTS:
    Heartbeat "replication_heartbeat" "Heartbeats sent";
    AppendRpc "replication_appendEntries_rpc" "Append requests sent";
    AppendLogs "replication_appendEntries_logs" "Entries sent in append requests";
    InstallSnapshot "replication_installSnapshot" "Snapshots begun to be sent";
}

/// A server of the configuration: those that left it are forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    raft_id: String,
}

/// All of it.
pub(crate) struct Tally {
    counts: Vec<Counter>,
    peer_counts: Vec<Family<Peer, Counter>>,
    pub(super) commit_time: Histogram,
    pub(super) commit_num_logs: Histogram,
    pub(super) dispatch_log: Histogram,
    pub(super) dispatch_num_logs: Histogram,
    apply_batch: Histogram,
    apply_batch_num: Histogram,
    last_restore: SecondsGauge,
    pub(super) main_busy: SecondsCounter,
    fsm_busy: SecondsCounter,
}

impl Tally {
    pub(super) fn new() -> Self {
        let seconds = || Histogram::new(BUCKETS_SECONDS);
        let entries = || Histogram::new(BUCKETS_ENTRIES);
        Self {
            counts: COUNTS.iter().map(|_| Counter::default()).collect(),
            peer_counts: PEER_COUNTS.iter().map(|_| Family::default()).collect(),
            commit_time: seconds(),
            commit_num_logs: entries(),
            dispatch_log: seconds(),
            dispatch_num_logs: entries(),
            apply_batch: seconds(),
            apply_batch_num: entries(),
            last_restore: SecondsGauge::default(),
            main_busy: SecondsCounter::default(),
            fsm_busy: SecondsCounter::default(),
        }
    }

    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Count, number: usize) {
        self.counts[what as usize].inc_by(number as u64);
    }

    pub(super) fn add_for(&self, peer: &RaftId, what: PeerCount, number: usize) {
        let peer = Peer { raft_id: peer.to_string() };
        self.peer_counts[what as usize].get_or_create(&peer).inc_by(number as u64);
    }

    /// A batch of entries was applied, which took so long.
    pub(super) fn applied(&self, entries: usize, took: Duration) {
        self.add(Count::FsmApply, entries);
        self.apply_batch_num.observe(as_f64(entries));
        self.apply_batch.observe(took.as_secs_f64());
        self.fsm_busy.inc_by(took.as_secs_f64());
    }

    /// A received snapshot or a restored archive became the state, which took so long.
    pub(super) fn restored(&self, took: Duration) {
        self.count(Count::FsmRestore);
        self.last_restore.set(took.as_secs_f64());
    }

    /// Shows a peer's counts, be they zero.
    pub(super) fn know(&self, peer: &RaftId) {
        let peer = Peer { raft_id: peer.to_string() };
        for family in &self.peer_counts {
            let _ = family.get_or_create(&peer);
        }
    }

    /// Forgets a peer that is in the configuration no more: the labels stay bounded by it.
    pub(super) fn forget_departed(&self, gone: &RaftId) {
        let gone = Peer { raft_id: gone.to_string() };
        for family in &self.peer_counts {
            family.remove(&gone);
        }
    }

    /// Adds everything to a report.
    pub(crate) fn register(&self, registry: &mut Registry) {
        for ((name, help), counter) in COUNTS.iter().zip(&self.counts) {
            registry.register(format!("quorate_raft_{name}"), *help, counter.clone());
        }
        for ((name, help), family) in PEER_COUNTS.iter().zip(&self.peer_counts) {
            registry.register(format!("quorate_raft_{name}"), *help, family.clone());
        }
        for (name, help, histogram) in [
            ("commitTime", "From a write's proposal at the leader to its commit", &self.commit_time),
            ("leader_dispatchLog", "From a leader's append to its sync on its own disk", &self.dispatch_log),
            ("fsm_applyBatch", "Applying one batch of committed entries", &self.apply_batch),
        ] {
            registry.register_with_unit(
                format!("quorate_raft_{name}"),
                help,
                Unit::Seconds,
                histogram.clone(),
            );
        }
        for (name, help, histogram) in [
            ("commitNumLogs", "Entries that became committed together", &self.commit_num_logs),
            ("leader_dispatchNumLogs", "Entries a leader appended in one write", &self.dispatch_num_logs),
            ("fsm_applyBatchNum", "Entries applied as one batch", &self.apply_batch_num),
        ] {
            registry.register(format!("quorate_raft_{name}"), help, histogram.clone());
        }
        let help = "How long the last received snapshot took to become the state";
        registry.register_with_unit(
            "quorate_raft_fsm_lastRestoreDuration",
            help,
            Unit::Seconds,
            self.last_restore.clone(),
        );
        for (name, help, busy) in [
            ("main", "Time in which the driver worked; its rate is the saturation", &self.main_busy),
            ("fsm", "Time in which the machine applied; its rate is the saturation", &self.fsm_busy),
        ] {
            registry.register_with_unit(
                format!("quorate_raft_thread_{name}_saturation"),
                help,
                Unit::Seconds,
                busy.clone(),
            );
        }
    }
}

/// Batches are far smaller than what a float holds exactly.
pub(super) fn as_f64(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
