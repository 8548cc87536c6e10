//! What autopilot remembers between rounds, and only within one term: a new leader knows nothing (K55).
//!
//! Invariant: it holds exactly the servers of the last round's configuration; one that leaves and returns starts anew.

use std::collections::{BTreeMap, VecDeque};

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, Now, ServerId, Term, Version};

use crate::action::ActionKind;
use crate::blocked::BlockedReason;
use crate::health::{Unhealthy, Verdict};
use crate::input::{Input, Stats};
use crate::limits::{LAG_SAMPLES_MAX, LAG_WINDOW, REMOVALS_REMEMBERED_MAX};
use crate::report::Report;
use crate::state::Health;

/// See the module. Start with the default, hand it to every round, drop it when leadership ends.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    term: Term,
    /// When this leadership's first state was computed (A8).
    first_round: Option<Now>,
    servers: BTreeMap<ServerId, Record>,
    /// The leader's last index over time, oldest first.
    last_indexes: VecDeque<(Now, Index)>,
    /// Since when what is held back.
    blocked: BTreeMap<(ActionKind, ServerId), (&'static str, Now)>,
    /// Whom this leader took out, when, and whether it voted (A13).
    removed: BTreeMap<ServerId, (Now, bool)>,
    /// The next version of the cluster, and since when every member speaks it (K24).
    pub(crate) spoken: Option<(Version, Now)>,
}

#[derive(Clone, Debug, Default)]
struct Record {
    /// When it was first seen in the configuration.
    since: Option<Now>,
    /// The last statistics that were given, and when.
    stats: Option<(Now, Stats)>,
    /// How much it had in the last round of the snapshot that is on its way to it.
    snapshot: Option<u64>,
    /// When that last grew. That a transfer begins, or begins anew, is no sign of the server's.
    snapshot_grew: Option<Now>,
    /// The last report that was given.
    report: Option<Report>,
    verdict: Option<Verdict>,
}

impl Observer {
    /// Begin a round: forget another term and servers that left; take in what is new.
    pub(crate) fn begin(&mut self, input: &Input) {
        let is_new_term = self.term != input.membership.term && !broken(Mutant::A4);
        if is_new_term || self.first_round.is_none() {
            *self = Self { term: input.membership.term, first_round: Some(input.now), ..Self::default() };
        }
        let configuration = &input.membership.configuration;
        self.servers.retain(|id, _| configuration.contains(id));
        for server in configuration.servers() {
            let record = self.servers.entry(server.id.clone()).or_default();
            record.since.get_or_insert(input.now);
            if let Some(stats) = input.stats.get(&server.id) {
                record.stats = Some((input.now, *stats));
                let bytes = stats.snapshot.map(|snapshot| snapshot.sent_bytes);
                let has_grown = record.snapshot.is_some() || broken(Mutant::A18Begun);
                if has_grown && bytes > record.snapshot {
                    record.snapshot_grew = Some(input.now);
                }
                record.snapshot = bytes;
            }
            if let Some(report) = input.reports.get(&server.id) {
                record.report = Some(report.or(record.report.take()));
            }
        }
    }

    /// How old this leadership's first state is.
    pub(crate) fn age(&self, now: Now) -> std::time::Duration {
        self.first_round.map_or(std::time::Duration::ZERO, |first| now.since(first))
    }

    /// For how long this leader could have heard the server: since it leads, or since the server is there.
    pub(crate) fn listened(&self, id: &ServerId, now: Now) -> std::time::Duration {
        let record = self.servers.get(id).filter(|_| !broken(Mutant::A15Newcomer));
        record.and_then(|record| record.since).map_or(self.age(now), |since| now.since(since))
    }

    /// A server's statistics as of now: the contact of one that was not heard of this round has grown older (D2, A7).
    pub(crate) fn stats(&self, id: &ServerId, now: Now) -> Option<Stats> {
        let (given, stats) = self.servers.get(id)?.stats?;
        let since = if broken(Mutant::A7) { std::time::Duration::ZERO } else { now.since(given) };
        let aged = stats.last_contact.map(|age| age.saturating_add(since));
        Some(Stats { last_contact: aged, ..stats })
    }

    /// Whether the server itself has told this leader what it is.
    pub(crate) fn has_reported(&self, id: &ServerId) -> bool {
        self.report(id).is_some_and(|report| report.received.is_some())
    }

    /// What the server last said of itself.
    pub(crate) fn report(&self, id: &ServerId) -> Option<&Report> {
        self.servers.get(id)?.report.as_ref()
    }

    /// When more of the snapshot that is on its way to it had last arrived.
    pub(crate) fn snapshot_advanced(&self, id: &ServerId) -> Option<Now> {
        self.servers.get(id)?.snapshot_grew
    }

    /// Remember that it is taken out now.
    pub(crate) fn removes(&mut self, id: &ServerId, has_vote: bool, now: Now) {
        if self.removed.len() >= REMOVALS_REMEMBERED_MAX {
            let oldest = self.removed.iter().min_by_key(|(_, (at, _))| *at).map(|(id, _)| id.clone());
            oldest.map(|id| self.removed.remove(&id));
        }
        self.removed.insert(id.clone(), (now, has_vote));
    }

    /// How many voters this leader took out within that time. One that is still there was not taken out after all.
    pub(crate) fn voters_removed(&self, input: &Input, within: std::time::Duration) -> usize {
        let is_out = |id: &ServerId| !input.membership.configuration.contains(id);
        let counts = |(id, (at, has_vote)): &(&ServerId, &(Now, bool))| {
            *has_vote && is_out(id) && input.now.since(*at) <= within
        };
        self.removed.iter().filter(counts).count()
    }

    /// Take in a server's sample and give its health.
    pub(crate) fn judge(&mut self, id: &ServerId, now: Now, sample: Result<(), Unhealthy>) -> Health {
        let record = self.servers.entry(id.clone()).or_default();
        let verdict = match record.verdict.take() {
            None => Verdict::first(now, &sample),
            Some(mut verdict) => {
                verdict.update(now, &sample);
                verdict
            }
        };
        record.verdict.insert(verdict).health(sample)
    }

    /// Remember the leader's last index, and give what it was [`LAG_WINDOW`] ago (or at first sight, if that is less long ago).
    pub(crate) fn last_before(&mut self, now: Now, last: Index) -> Index {
        self.last_indexes.push_back((now, last));
        let is_old = |at: Now| now.since(at) >= LAG_WINDOW;
        while self.last_indexes.get(1).is_some_and(|(at, _)| is_old(*at))
            || self.last_indexes.len() > LAG_SAMPLES_MAX
        {
            self.last_indexes.pop_front();
        }
        self.last_indexes.front().map_or(last, |(_, index)| *index)
    }

    /// Since when an action is held back for a reason of this kind; a new kind starts anew.
    pub(crate) fn blocked_since(
        &mut self,
        action: ActionKind,
        server: &ServerId,
        reason: &BlockedReason,
        now: Now,
    ) -> Now {
        let word = reason.as_str();
        let entry = self.blocked.entry((action, server.clone())).or_insert((word, now));
        if entry.0 != word {
            *entry = (word, now);
        }
        entry.1
    }

    /// End a round: forget what is not held back any more.
    pub(crate) fn end(&mut self, is_blocked: impl Fn(ActionKind, &ServerId) -> bool) {
        self.blocked.retain(|(action, server), _| is_blocked(*action, server));
    }
}
