//! What a leader believes of one peer, and how it supplies it.
//!
//! ```text
//!          rejected, link broken, silent           log does not reach
//! Replicate ───────────────────────────► Probe ────────────────────────► Snapshot
//!     ▲                accepted            │ ▲   sending failed or stalled    │
//!     └────────────────────────────────────┘ └────────────────────────────────┤
//!     ▲                    accepted at or above the snapshot's last entry     │
//!     └────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Probe sends one message and waits for its answer, or for a heartbeat answer after a growing
//! pause; Replicate keeps a pipeline within the limits of K25; Snapshot sends nothing.
//! Invariant: `matched < next`, and in Replicate everything from `matched` to `next` is in flight.
//! `matched` moves only on answers of this `epoch` (O5).

use std::collections::VecDeque;
use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::limits::{APPEND_BYTES_IN_FLIGHT_MAX, APPENDS_IN_FLIGHT_MAX, SNAPSHOT_STALL_ELECTION_TIMEOUTS};
use crate::settings::Settings;
use crate::status::ReplicationState;
use crate::types::{Epoch, Index, LogId, Now, Round};

/// After this many heartbeats without an answer the connection was down, not slow.
const SILENT_HEARTBEATS: u32 = 3;

pub(crate) struct Progress {
    pub(crate) epoch: Epoch,
    /// The last entry known to be on its disk and equal to ours.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) supply: Supply,
    /// Its last answer of any kind; none before the first (K13 and K27 count only these).
    pub(crate) last_ack: Option<Now>,
    /// The same, but a new peer counts as heard: a grace for check-quorum alone (S8).
    pub(crate) contact: Now,
    /// The newest heartbeat round it answered (K11).
    pub(crate) round: Round,
    /// The commit index it was last told.
    pub(crate) commit_told: Index,
    /// The commit index it last said it knows.
    pub(crate) commit_known: Index,
    /// The last entry it last said its machine has applied (K17).
    pub(crate) applied: Index,
    /// Before then it is sent no other snapshot in place of the archive that it lacks.
    pub(crate) rescue_after: Now,
    /// Storage was asked for entries for it.
    pub(crate) is_reading: bool,
    /// Set once it is out of the configuration.
    pub(crate) departing: Option<Departing>,
}

/// How a peer is supplied.
pub(crate) enum Supply {
    Probe {
        /// When the one message was sent; none: it may be sent.
        sent: Option<Now>,
        /// How long to wait for its answer; doubles with each try.
        retry: Duration,
    },
    Replicate(InFlight),
    Snapshot {
        /// The last entry in it, once the sender said.
        last: Option<LogId>,
        moved: Now,
    },
}

/// Appends sent and not yet answered, oldest first.
#[derive(Default)]
pub(crate) struct InFlight {
    appends: VecDeque<Append>,
    bytes: u64,
}

struct Append {
    last: Index,
    bytes: u64,
    sent: Now,
}

/// A removed peer is told of its removal, as far as it goes (S8).
#[derive(Clone, Copy)]
pub(crate) struct Departing {
    /// The configuration without it.
    pub(crate) index: Index,
    pub(crate) until: Now,
}

impl Progress {
    pub(crate) const fn new(epoch: Epoch, last: Index, now: Now, settings: &Settings) -> Self {
        Self {
            epoch,
            matched: Index(0),
            next: last.next(),
            supply: Supply::Probe { sent: None, retry: settings.heartbeat_interval },
            last_ack: None,
            contact: now,
            round: Round(0),
            commit_told: Index(0),
            commit_known: Index(0),
            applied: Index(0),
            rescue_after: now,
            is_reading: false,
            departing: None,
        }
    }

    /// Whether an append may be sent now.
    pub(crate) fn may_send(&self) -> bool {
        match &self.supply {
            Supply::Probe { sent, .. } => sent.is_none(),
            Supply::Replicate(in_flight) => !in_flight.is_full(),
            Supply::Snapshot { .. } => false,
        }
    }

    pub(crate) const fn is_replicating(&self) -> bool {
        matches!(self.supply, Supply::Replicate(_))
    }

    /// An append up to `last` was sent.
    pub(crate) fn sent(&mut self, last: Index, bytes: u64, commit: Index, now: Now) {
        self.commit_told = commit;
        match &mut self.supply {
            Supply::Probe { sent, .. } => *sent = Some(now),
            Supply::Replicate(in_flight) => {
                // Without entries it promises nothing that must be waited for.
                if last >= self.next {
                    in_flight.push(Append { last, bytes, sent: now });
                    self.next = last.next();
                }
            }
            Supply::Snapshot { .. } => {}
        }
    }

    /// It answered.
    pub(crate) const fn heard(&mut self, now: Now) {
        self.last_ack = Some(now);
        self.contact = now;
    }

    /// It holds everything up to `matched`; `first` is our first entry.
    pub(crate) fn accepted(&mut self, matched: Index, first: Index) {
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        let goes_on = match &mut self.supply {
            Supply::Probe { .. } => true,
            Supply::Replicate(in_flight) => {
                in_flight.answered(self.matched);
                false
            }
            Supply::Snapshot { last, .. } => {
                let has_it = last.is_some_and(|last| self.matched >= last.index);
                has_it || self.matched.next() >= first
            }
        };
        if goes_on {
            self.next = self.matched.next();
            self.supply = Supply::Replicate(InFlight::default());
        }
    }

    /// It does not hold the entry at `previous`; what it holds may match at or below `candidate`.
    /// A late rejection changes nothing.
    pub(crate) fn rejected(&mut self, previous: Index, candidate: Index, settings: &Settings) {
        let is_current = match &self.supply {
            Supply::Probe { .. } => previous.next() == self.next,
            Supply::Replicate(_) => previous > self.matched && previous < self.next,
            Supply::Snapshot { .. } => false,
        };
        if is_current && previous > self.matched {
            self.probe(settings);
            // At least one step down, never into what is known to match.
            self.next = candidate.next().min(previous).max(self.matched.next());
        }
    }

    /// Goes back to sending one message at a time, from what is known to match.
    pub(crate) fn probe(&mut self, settings: &Settings) {
        self.next = self.matched.next();
        self.supply = Supply::Probe { sent: None, retry: settings.heartbeat_interval };
    }

    /// A snapshot ended without the answer that it is installed; `first` is our first entry. Perhaps only the answer
    /// was lost: then another one would be refused as known, again and again. So it is asked for the entry before
    /// our log first, and gets the next snapshot only when it does not hold that.
    pub(crate) fn probe_after_snapshot(&mut self, first: Index, now: Now, settings: &Settings) {
        self.next = self.matched.next().max(first);
        // As if it were sent: the first message waits for a sign of life.
        self.supply = Supply::Probe { sent: Some(now), retry: settings.heartbeat_interval };
    }

    /// A heartbeat was answered: an append that was not, for long, counts as lost (S13, B11).
    pub(crate) fn resume(&mut self, first: Index, now: Now, settings: &Settings) {
        match &mut self.supply {
            Supply::Probe { sent, retry } => {
                if sent.is_some_and(|sent| now.since(sent) >= *retry) {
                    *sent = None;
                    let longest = settings.election_timeout * if broken(Mutant::B11) { 1_000 } else { 1 };
                    *retry = (*retry * 2).min(longest);
                }
            }
            Supply::Replicate(in_flight) => {
                if in_flight.oldest().is_some_and(|sent| now.since(sent) >= settings.election_timeout) {
                    self.probe(settings);
                }
            }
            Supply::Snapshot { moved, .. } => {
                if now.since(*moved) >= settings.election_timeout * SNAPSHOT_STALL_ELECTION_TIMEOUTS {
                    self.probe_after_snapshot(first, now, settings);
                }
            }
        }
    }

    /// Whether it answered within `window`.
    pub(crate) fn answered_within(&self, window: Duration, now: Now) -> bool {
        self.last_ack.is_some_and(|ack| now.since(ack) <= window)
    }

    /// Whether it has missed several heartbeats before it answers again.
    pub(crate) fn was_silent(&self, now: Now, settings: &Settings) -> bool {
        self.last_ack.is_some_and(|ack| now.since(ack) > settings.heartbeat_interval * SILENT_HEARTBEATS)
    }

    pub(crate) const fn replication(&self) -> ReplicationState {
        match &self.supply {
            Supply::Probe { .. } => ReplicationState::Probe,
            Supply::Replicate(_) => ReplicationState::Replicate,
            Supply::Snapshot { last, .. } => ReplicationState::Snapshot(*last),
        }
    }
}

impl InFlight {
    fn is_full(&self) -> bool {
        (self.appends.len() >= APPENDS_IN_FLIGHT_MAX || self.bytes >= APPEND_BYTES_IN_FLIGHT_MAX)
            && !broken(Mutant::B13)
    }

    fn push(&mut self, append: Append) {
        self.bytes += append.bytes;
        self.appends.push_back(append);
    }

    fn answered(&mut self, matched: Index) {
        while let Some(append) = self.appends.pop_front_if(|append| append.last <= matched) {
            self.bytes -= append.bytes;
        }
    }

    fn oldest(&self) -> Option<Now> {
        self.appends.front().map(|append| append.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Now = Now(Duration::from_secs(1));

    fn replicating(last: u64) -> Progress {
        let settings = Settings::default();
        let mut progress = Progress::new(Epoch(1), Index(last), AT, &settings);
        progress.sent(Index(last), 0, Index(0), AT);
        progress.accepted(Index(last), Index(1));
        progress
    }

    /// K25: 64 messages or 4 MiB in flight, whichever comes first.
    #[test]
    fn a_pipeline_stops_at_its_limits_and_goes_on_with_answers() {
        let mut small = replicating(0);
        for index in 1..=64 {
            assert!(small.may_send());
            small.sent(Index(index), 100, Index(0), AT);
        }
        assert!(!small.may_send());
        small.accepted(Index(1), Index(1));
        assert!(small.may_send());
        let mut big = replicating(0);
        for index in 1..=4 {
            assert!(big.may_send());
            big.sent(Index(index), 1 << 20, Index(0), AT);
        }
        assert!(!big.may_send());
    }

    /// S13: a late rejection, and one below what is known to match, change nothing.
    #[test]
    fn only_the_rejection_of_what_was_sent_moves_next() {
        let settings = Settings::default();
        let mut progress = replicating(10);
        progress.sent(Index(20), 100, Index(0), AT);
        progress.rejected(Index(10), Index(3), &settings);
        assert_eq!((progress.next, progress.is_replicating()), (Index(21), true));
        progress.rejected(Index(15), Index(3), &settings);
        assert_eq!((progress.next, progress.is_replicating()), (Index(11), false));
        progress.rejected(Index(15), Index(3), &settings);
        assert_eq!(progress.next, Index(11));
    }

    /// S13, B11: an unanswered probe is repeated with growing pauses, capped at the election timeout.
    #[test]
    fn an_unanswered_probe_is_repeated_after_growing_pauses() {
        let settings = Settings::default();
        let mut progress = Progress::new(Epoch(1), Index(5), AT, &settings);
        let mut now = AT;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            progress.sent(Index(5), 0, Index(0), now);
            let sent = now;
            while !progress.may_send() {
                now = now.plus(Duration::from_millis(50));
                progress.resume(Index(1), now, &settings);
            }
            pauses.push(now.since(sent).as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    }
}
