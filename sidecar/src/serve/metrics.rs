//! Numbers for Prometheus. Names and meanings are in `docs/metrics.md`.
//!
//! What the member is doing is read from its own picture when somebody asks; only what happened
//! (calls and how long they took) is counted as it happens.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds: from a read in memory to a call that waited for an election.
const CALL_BUCKETS_SECONDS: [f64; 11] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0];

/// A kind of call and how it ended. All three come from small fixed sets: never from a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    api: &'static str,
    call: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    api: &'static str,
    call: &'static str,
}

/// What is counted.
pub(super) struct Metrics {
    requests: Family<Ended, Counter>,
    seconds: Family<Kind, Histogram>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS_SECONDS)),
        }
    }

    /// A call ended.
    pub(super) fn called(&self, api: &'static str, call: &'static str, result: &'static str, took: Duration) {
        self.requests.get_or_create(&Ended { api, call, result }).inc();
        self.seconds.get_or_create(&Kind { api, call }).observe(took.as_secs_f64());
    }

    /// Adds what was counted to a report.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("quorate_requests", "Calls answered, by how they ended", self.requests.clone());
        registry.register_with_unit(
            "quorate_request_duration",
            "How long calls took",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }
}
