//! `/metrics`: this member's picture as numbers, made when somebody asks, beside what was counted.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use quorate_api::v1;
use quorate_raft::Mode;

use crate::autopilot::picture;
use crate::driver::{Application, Sessions, View};
use crate::serve::Shared;

/// A server of the configuration: at most `SERVERS_MAX` of them at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    raft_id: String,
}

type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// The whole report.
pub(super) fn report(shared: &Shared) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let view = shared.context.handle.view();
    member(&mut registry, &view);
    peers(&mut registry, &view);
    let changes: Counter = Counter::default();
    changes.inc_by(shared.context.handle.watch_leadership().borrow().number);
    let help = "Changes of leadership this member saw since it started";
    registry.register("quorate_leadership_changes", help, changes);
    let early: Counter = Counter::default();
    early.inc_by(view.early_elections);
    let help = "Elections this member won because the leader's process was gone";
    registry.register("quorate_early_elections", help, early);
    sessions(&mut registry, shared.context.handle.sessions());
    if view.status.latest.as_ref().is_some_and(|latest| latest.configuration.mode() == Mode::Log) {
        application(&mut registry, shared.context.handle.application());
    }
    if let Some(conclusion) = shared.context.autopilot.conclusion() {
        autopilot(&mut registry, &picture(&conclusion), view.applied.index.0);
    }
    shared.context.handle.tally().register(&mut registry);
    shared.metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn member(registry: &mut Registry, view: &View) {
    let status = &view.status;
    let is_voter = status.membership == quorate_raft::Membership::Voter;
    for (name, help, value) in [
        ("quorate_is_leader", "This member leads", view.is_leader()),
        ("quorate_is_voter", "This member votes", is_voter),
        ("quorate_leader_known", "This member knows a leader", status.leader.is_some()),
        ("quorate_ready", "This member caught up once since it started", view.is_ready),
        ("quorate_space_low", "The volume is nearly full", view.is_space_low),
        (
            "quorate_majority_space_low",
            "This member leads, and the volumes of a majority of the voters are nearly full",
            !view.low_majority.is_empty(),
        ),
    ] {
        gauge(registry, name, help, value);
    }
    for (name, help, value) in [
        ("quorate_term", "The term", status.term.0),
        ("quorate_log_first_index", "The first entry kept in the log", status.first.0),
        ("quorate_log_last_index", "The last entry of the log", status.last.index.0),
        ("quorate_commit_index", "Committed up to here", status.commit.0),
        ("quorate_applied_index", "Applied up to here", view.applied.index.0),
        ("quorate_durable_applied_index", "Applied and synced up to here", view.durable_applied.index.0),
    ] {
        gauge(registry, name, help, number(value));
    }
    let size: Gauge = Gauge::default();
    size.set(number(status.log_bytes));
    registry.register_with_unit("quorate_log_size", "Size of the log, an estimate", Unit::Bytes, size);
    if let Some(silence) =
        if view.is_leader() { Some(std::time::Duration::ZERO) } else { view.leader_silence() }
    {
        let contact = Seconds::default();
        contact.set(silence.as_secs_f64());
        let help = "Time since a leader was last known";
        registry.register_with_unit("quorate_leader_last_contact", help, Unit::Seconds, contact);
    }
}

fn sessions(registry: &mut Registry, sessions: &Sessions) {
    let help = "Sessions with a TTL that this leader measures";
    gauge(registry, "quorate_session_ttl_active", help, number(sessions.measured() as u64));
    let ended: Counter = Counter::default();
    ended.inc_by(sessions.expired());
    let help = "Sessions that ended because their time was over by this member's clock";
    registry.register("quorate_session_ttl_invalidate", help, ended);
}

/// An application's log, as this member has applied it, and its readers here (K22).
fn application(registry: &mut Registry, application: &Application) {
    let meta = application.meta();
    for (name, help, value) in [
        ("entries", "Entries kept of the application's log", meta.entries),
        ("last_index", "The last entry of the application's log; 0: there was none", meta.last.0),
        (
            "trimmed_index",
            "The last entry that was dropped, since a snapshot has it; 0: none was",
            meta.trimmed.0,
        ),
        (
            "snapshot_index",
            "The last entry in the application's latest snapshot; 0: there is none",
            meta.covered().0,
        ),
        (
            "durable_index",
            "What the application at this member said is durable",
            application.word().applied.0,
        ),
        ("subscriptions", "Open subscriptions at this member", application.subscriptions() as u64),
    ] {
        gauge(registry, &format!("quorate_application_{name}"), help, number(value));
    }
    let size: Gauge = Gauge::default();
    size.set(number(meta.bytes));
    let help = "What the kept entries of the application's log count for";
    registry.register_with_unit("quorate_application_log_size", help, Unit::Bytes, size);
}

/// The same picture as the state APIs give (A22). `applied` is the leader's own applied index.
fn autopilot(registry: &mut Registry, state: &v1::AutopilotState, applied: u64) {
    for (name, help, value) in [
        ("healthy", "Every server is healthy", i64::from(state.is_healthy)),
        (
            "failure_tolerance",
            "How many healthy voters may fail before writes stop",
            i64::from(state.failure_tolerance),
        ),
        (
            "optimistic_failure_tolerance",
            "How many servers may fail one after the other before writes stop",
            i64::from(state.optimistic_failure_tolerance),
        ),
        ("quorum_lost", "Fewer voters are healthy than a write needs", i64::from(state.is_quorum_lost)),
        ("reconciling", "What autopilot wants done is done", i64::from(state.is_reconciling)),
        ("blocked_actions", "Actions that are wanted and held back", number(state.blocked.len() as u64)),
    ] {
        gauge(registry, &format!("quorate_autopilot_{name}"), help, value);
    }
    let (health, behind) = (Family::<Peer, Gauge>::default(), Family::<Peer, Gauge>::default());
    let reported = Family::<Peer, Seconds>::default();
    for server in &state.servers {
        let id = server.server.as_ref().and_then(|server| server.id.as_ref());
        let peer = Peer { raft_id: id.map(|id| id.raft_id.clone()).unwrap_or_default() };
        health.get_or_create(&peer).set(i64::from(server.is_healthy));
        if let (Some(theirs), Some(age)) = (server.applied_index, server.report_age_ms) {
            behind.get_or_create(&peer).set(number(applied.saturating_sub(theirs)));
            reported.get_or_create(&peer).set(Duration::from_millis(age).as_secs_f64());
        }
    }
    registry.register("quorate_autopilot_server_healthy", "The server is healthy", health);
    let help = "Entries the leader has applied and the server, when it last reported, had not";
    registry.register("quorate_autopilot_server_applied_index_delta", help, behind);
    let help = "Age of the server's last report";
    registry.register_with_unit("quorate_autopilot_server_last_report", help, Unit::Seconds, reported);
}

/// What the leader knows of the others; nothing on followers.
fn peers(registry: &mut Registry, view: &View) {
    let (matched, acked) = (Family::<Peer, Gauge>::default(), Family::<Peer, Seconds>::default());
    if let Some(latest) = &view.status.latest {
        let help = "Servers of the configuration";
        gauge(registry, "quorate_raft_peers", help, number(latest.configuration.servers().len() as u64));
    }
    for status in &view.status.peers {
        let peer = Peer { raft_id: status.id.raft_id.to_string() };
        matched.get_or_create(&peer).set(number(status.matched.0));
        if let Some(age) = status.last_ack {
            acked.get_or_create(&peer).set(age.as_secs_f64());
        }
    }
    registry.register("quorate_peer_match_index", "The last entry known to be on the peer's disk", matched);
    let help = "Age of the peer's last acknowledgement";
    registry.register_with_unit("quorate_peer_last_ack", help, Unit::Seconds, acked);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: impl Into<i64>) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value.into());
    registry.register(name, help, gauge);
}

/// Indexes stay far below 2^62 (the core's `NUMBER_MAX`).
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
