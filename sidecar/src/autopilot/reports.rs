//! What members say of themselves (autopilot.md §6b): each with its answers to whoever leads, once a second.
//!
//! ```text
//!   words (build, zone, upgrade version) + view ──▶ report ══answers══▶ the leader's link ──▶ Reports ─┐
//!   words ───────────────────────────────────────────────────────────── of the leader itself ─────────┼─▶ a round
//!   the replicated state: what each said last, under whatever leader ────────────────────────────────┘
//! ```
//!
//! Invariants: a report counts only for a server of the latest configuration and only if it came in under this
//! leadership; what lasts longer (zone, versions) is remembered by the cluster, so that nobody forgets the zone of a server
//! that is down (A28). What a server wishes to be is its intent in the configuration (K15): it is not reported.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quorate_api::peer::v1 as proto;
use quorate_autopilot::Report;
use quorate_machine::limits::AUTOPILOT_TEXT_BYTES_MAX;
use quorate_machine::{ApiIndex, RememberedServer};
use quorate_raft::{Index, Now, ServerId, Term};

use super::{Facts, Words};
use crate::driver::{ApplicationWord, View, owner};

/// What was heard, each server's latest. Shared by the link and autopilot; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    heard: Arc<Mutex<BTreeMap<ServerId, Heard>>>,
}

#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    report: Report,
    application: ApplicationWord,
}

impl Reports {
    /// A report of `peer`, whose certificate and hello were checked. Texts longer than members write are not kept.
    pub(crate) fn hear(&self, peer: &ServerId, report: proto::Report) {
        let text = |text: String| Some(text).filter(|text| is_said(text));
        let application = ApplicationWord {
            applied: ApiIndex(report.application_applied),
            snapshot: ApiIndex(report.application_snapshot),
        };
        let report = Report {
            received: None,
            applied: Index(report.applied_index),
            term: Term(report.term),
            build: text(report.build),
            zone: text(report.zone),
            upgrade_version: text(report.upgrade_version),
            desired_suffrage: None,
        };
        self.lock().insert(peer.clone(), Heard { at: Instant::now(), report, application });
    }

    /// What `id` last said of its application, whoever led then: where it falls, that is learned a report later (K22).
    pub(crate) fn application(&self, id: &ServerId) -> ApplicationWord {
        self.lock().get(id).map(|heard| heard.application).unwrap_or_default()
    }

    /// Keeps only what is told of these.
    pub(crate) fn retain(&self, is_known: impl Fn(&ServerId) -> bool) {
        self.lock().retain(|id, _| is_known(id));
    }

    /// What `id` said since `since`, its time on a clock that began at `started`.
    fn since(&self, id: &ServerId, since: Instant, started: Instant) -> Option<Report> {
        let heard = self.lock().get(id).filter(|heard| heard.at >= since).cloned()?;
        let received = Some(Now(heard.at.saturating_duration_since(started)));
        Some(Report { received, ..heard.report })
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServerId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_said(text: &str) -> bool {
    !text.is_empty() && text.len() <= AUTOPILOT_TEXT_BYTES_MAX
}

/// Where a round's knowledge of what servers say comes from.
pub(super) struct Sources<'a> {
    pub(super) words: &'a Words,
    pub(super) heard: &'a Reports,
    pub(super) facts: &'a Facts,
    /// From the replicated state.
    pub(super) remembered: &'a [RememberedServer],
    /// When this leadership began.
    pub(super) led_since: Instant,
    /// The zero of the round's clock.
    pub(super) started: Instant,
}

impl Sources<'_> {
    /// What is known of each server of the latest configuration, as of `now`: what it says, else what it said last.
    pub(super) fn reports(&self, view: &View, now: Now) -> BTreeMap<ServerId, Report> {
        let latest = view.status.latest.iter().flat_map(|latest| latest.configuration.servers());
        let own = &view.identity.server;
        let report = |id: &ServerId| {
            let said = if id == own {
                Some(self.own(view, now))
            } else {
                self.heard.since(id, self.led_since, self.started)
            };
            let mut report = said.unwrap_or_default();
            let remembered = self.remembered.iter().find(|known| known.owner == owner(id));
            let text = |text: &str| Some(text.to_owned()).filter(|text| is_said(text));
            if report.received.is_none() {
                report.build = remembered.and_then(|known| text(&known.build));
                report.upgrade_version = remembered.and_then(|known| text(&known.upgrade_version));
            }
            // A member that has just started may not know its zone yet; it has not moved, for its volume has not.
            let fact = self.facts.of(id).and_then(|fact| text(&fact.zone));
            report.zone = report.zone.or(fact).or_else(|| remembered.and_then(|known| text(&known.zone)));
            report
        };
        latest.map(|server| (server.id.clone(), report(&server.id))).collect()
    }

    fn own(&self, view: &View, now: Now) -> Report {
        let text = |text: &str| Some(text.to_owned()).filter(|text| is_said(text));
        Report {
            received: Some(now),
            applied: view.applied.index,
            term: view.status.term,
            build: text(&self.words.build),
            zone: text(&self.words.zone),
            upgrade_version: text(&self.words.upgrade_version),
            desired_suffrage: None,
        }
    }
}

/// What the cluster should remember and does not.
pub(super) fn forgotten(
    reports: &BTreeMap<ServerId, Report>,
    remembered: &[RememberedServer],
) -> Vec<RememberedServer> {
    let said = reports.iter().map(|(id, report)| RememberedServer {
        owner: owner(id),
        build: report.build.clone().unwrap_or_default(),
        zone: report.zone.clone().unwrap_or_default(),
        upgrade_version: report.upgrade_version.clone().unwrap_or_default(),
    });
    let silent = |server: &RememberedServer| {
        server.build.is_empty() && server.zone.is_empty() && server.upgrade_version.is_empty()
    };
    said.filter(|server| !silent(server) && !remembered.contains(server)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_raft::{Incarnation, RaftId};

    use super::*;

    fn id(name: &str) -> ServerId {
        ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
    }

    /// K55: what was said under an earlier leader is no report of this one; §6b: only servers that are known are kept.
    #[test]
    fn a_report_counts_under_the_leadership_it_came_in() {
        let (reports, started) = (Reports::default(), Instant::now());
        reports.hear(&id("a"), proto::Report { zone: "z1".to_owned(), ..proto::Report::default() });
        let heard = reports.since(&id("a"), started, started).unwrap();
        assert_eq!((heard.zone.as_deref(), heard.build), (Some("z1"), None));
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(reports.since(&id("a"), later, started), None);
        assert_eq!(reports.since(&id("b"), started, started), None);
        reports.retain(|known| *known == id("b"));
        assert_eq!(reports.since(&id("a"), started, started), None);
    }

    /// The limits of what is kept hold for what comes in (P10).
    #[test]
    fn a_text_longer_than_members_write_is_not_kept() {
        let (reports, started) = (Reports::default(), Instant::now());
        let zone = "z".repeat(AUTOPILOT_TEXT_BYTES_MAX + 1);
        reports.hear(&id("a"), proto::Report { zone, build: "1.0.0".to_owned(), ..proto::Report::default() });
        let heard = reports.since(&id("a"), started, started).unwrap();
        assert_eq!((heard.zone, heard.build.as_deref()), (None, Some("1.0.0")));
    }

    /// A28: what differs from what the cluster remembers is to be remembered, and silence overwrites nothing.
    #[test]
    fn only_news_is_to_be_remembered() {
        let zoned = Report { zone: Some("z1".to_owned()), ..Report::default() };
        let reports = BTreeMap::from([(id("a"), zoned), (id("b"), Report::default())]);
        let known =
            RememberedServer { owner: owner(&id("a")), zone: "z1".to_owned(), ..RememberedServer::default() };
        assert_eq!(forgotten(&reports, &[]), std::slice::from_ref(&known));
        assert_eq!(forgotten(&reports, &[known]), []);
    }
}
