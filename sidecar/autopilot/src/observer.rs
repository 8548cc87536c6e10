//! What autopilot remembers between rounds, and only within one term: a new leader knows nothing (K55).
//!
//! Invariant: it holds exactly the servers of the last round's configuration; one that leaves and returns starts anew.

use std::collections::{BTreeMap, VecDeque};

use quorate_raft::{Index, Now, ServerId, Term, Version};

use crate::action::{ActionKind, BlockedReason};
use crate::health::{Unhealthy, Verdict};
use crate::input::{Input, Stats};
use crate::limits::{LAG_SAMPLES_MAX, LAG_WINDOW};
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
    /// The next version of the cluster, and since when every member speaks it (K24).
    pub(crate) spoken: Option<(Version, Now)>,
}

#[derive(Clone, Debug)]
struct Record {
    /// The last statistics that were given, and when.
    stats: Option<(Now, Stats)>,
    verdict: Option<Verdict>,
}

impl Observer {
    /// Begin a round: forget another term and servers that left; take in what is new.
    pub(crate) fn begin(&mut self, input: &Input) {
        if self.term != input.membership.term || self.first_round.is_none() {
            *self = Self { term: input.membership.term, first_round: Some(input.now), ..Self::default() };
        }
        let configuration = &input.membership.configuration;
        self.servers.retain(|id, _| configuration.contains(id));
        for server in configuration.servers() {
            let record =
                self.servers.entry(server.id.clone()).or_insert(Record { stats: None, verdict: None });
            if let Some(stats) = input.stats.get(&server.id) {
                record.stats = Some((input.now, *stats));
            }
        }
    }

    /// How old this leadership's first state is.
    pub(crate) fn age(&self, now: Now) -> std::time::Duration {
        self.first_round.map_or(std::time::Duration::ZERO, |first| now.since(first))
    }

    /// A server's statistics as of now: the contact of one that was not heard of this round has grown older (D2, A7).
    pub(crate) fn stats(&self, id: &ServerId, now: Now) -> Option<Stats> {
        let (given, stats) = self.servers.get(id)?.stats?;
        let aged = stats.last_contact.map(|age| age.saturating_add(now.since(given)));
        Some(Stats { last_contact: aged, ..stats })
    }

    /// Take in a server's sample and give its health.
    pub(crate) fn judge(&mut self, id: &ServerId, now: Now, sample: Result<(), Unhealthy>) -> Health {
        let record = self.servers.entry(id.clone()).or_insert(Record { stats: None, verdict: None });
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
