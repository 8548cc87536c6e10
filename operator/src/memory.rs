//! The little that is remembered between rounds.
//!
//! Nothing here decides anything that must survive a restart: that is in the API (planner.md). Lost, it costs a few
//! seconds: a quorum is looked for twice again, an obstacle is met once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use quorate_plan::observed::Ordinal;

use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, FAILURES_TOLD, QUORUM_MISSING_TWICE_AFTER, REFUSAL_CHARS_MAX, REFUSAL_KEPT,
};

/// What the API server would not do for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    /// Create one of its objects (K51).
    Creation,
    /// Let its volume grow.
    Growth,
}

/// What is remembered of one cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recollection {
    quorum_missing_since: Option<Instant>,
    /// The Lease's last value, and when it was first seen: clocks are never compared across machines (K32).
    renewal: Option<(Timestamp, Instant)>,
    /// The Lease's value under a leader that answers, and since when: for [`Self::unpublished`].
    unpublished: Option<(Option<Timestamp>, Instant)>,
    refusals: BTreeMap<(Ordinal, Refused), (Instant, String)>,
    failures: u32,
    /// What the last one said.
    failure: Option<String>,
    has_finished_a_round: bool,
}

impl Recollection {
    /// K32: found missing by another look at least 3 s ago.
    pub(crate) fn quorum_was_missing(&self) -> bool {
        self.quorum_missing_since.is_some_and(|since| since.elapsed() >= QUORUM_MISSING_TWICE_AFTER)
    }

    /// What this round found.
    pub(crate) fn note_quorum(&mut self, is_missing: bool) {
        self.quorum_missing_since =
            is_missing.then(|| self.quorum_missing_since.unwrap_or_else(Instant::now));
    }

    /// Age of the last renewal by our own clock; none if it was never seen renewed.
    pub(crate) fn leader_heard(&mut self, renewed: Option<Timestamp>) -> Option<Duration> {
        let renewed = renewed?;
        match self.renewal {
            Some((known, seen)) if known == renewed => Some(seen.elapsed()),
            _ => {
                self.renewal = Some((renewed, Instant::now()));
                Some(Duration::ZERO)
            }
        }
    }

    /// How long a leader has answered in every round while its Lease stayed as it was, by our own clock (K32).
    pub(crate) fn unpublished(&mut self, renewed: Option<Timestamp>, is_led: bool) -> Duration {
        let same = self.unpublished.filter(|(known, _)| *known == renewed);
        self.unpublished = is_led.then(|| same.unwrap_or((renewed, Instant::now())));
        self.unpublished.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// The API server would not.
    pub(crate) fn refuse(&mut self, ordinal: Ordinal, what: Refused, words: &str) {
        let words = words.chars().take(REFUSAL_CHARS_MAX).collect();
        self.refusals.insert((ordinal, what), (Instant::now(), words));
    }

    /// It did.
    pub(crate) fn accept(&mut self, ordinal: Ordinal, what: Refused) {
        self.refusals.remove(&(ordinal, what));
    }

    /// Whether this process has not finished a round for the cluster yet.
    pub(crate) fn is_first_round(&self) -> bool {
        !self.has_finished_a_round
    }

    /// What was refused lately.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Ordinal, Refused, String)> {
        let is_recent = |at: &Instant| at.elapsed() < REFUSAL_KEPT;
        self.refusals
            .iter()
            .filter(move |(_, (at, _))| is_recent(at))
            .map(|(&(ordinal, what), (_, text))| (ordinal, what, text.clone()))
    }

    /// The wait before the next try after a failed round: doubling, bounded, up to a quarter longer by `jitter` so
    /// that clusters which failed together do not come back together.
    pub(crate) fn failed(&mut self, jitter: u8, error: &str) -> Duration {
        let wait = (BACKOFF_MIN * 2u32.pow(self.failures.min(16))).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(error.chars().take(REFUSAL_CHARS_MAX).collect());
        wait + wait * u32::from(jitter) / 1024
    }

    /// What the last round said, if so many have failed in a row that a person is told.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref().filter(|_| self.failures >= FAILURES_TOLD)
    }

    /// A round was finished.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.failure = None;
        self.has_finished_a_round = true;
    }
}

/// Recollections by the cluster's UID; one entry per cluster that exists.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    clusters: Mutex<HashMap<String, Recollection>>,
}

impl Memory {
    /// Takes a cluster's recollection for a round; of one cluster only one round runs at a time.
    pub(crate) fn take(&self, uid: &str) -> Recollection {
        self.lock().remove(uid).unwrap_or_default()
    }

    /// Gives it back.
    pub(crate) fn put(&self, uid: &str, recollection: Recollection) {
        self.lock().insert(uid.to_owned(), recollection);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Recollection>> {
        // A panic while it was held left a map that is still a map.
        self.clusters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K32: only a change of the Lease counts, by our own clock; what it says of the time is another machine's.
    #[test]
    fn a_renewal_counts_from_when_it_was_first_seen() {
        let mut recollection = Recollection::default();
        assert_eq!(recollection.leader_heard(None), None);
        let first = Timestamp::from_second(1_000).unwrap();
        assert_eq!(recollection.leader_heard(Some(first)), Some(Duration::ZERO));
        let (known, seen) = recollection.renewal.unwrap();
        recollection.renewal = Some((known, seen.checked_sub(Duration::from_secs(30)).unwrap()));
        assert!(recollection.leader_heard(Some(first)).unwrap() >= Duration::from_secs(30));
        let second = Timestamp::from_second(10).unwrap();
        assert_eq!(recollection.leader_heard(Some(second)), Some(Duration::ZERO));
    }

    /// K32: a leader that never once renewed its Lease cannot publish either; one that has just begun to lead may yet.
    #[test]
    fn a_lease_that_was_never_renewed_counts_from_the_first_answer_of_a_leader() {
        let mut recollection = Recollection::default();
        assert_eq!(recollection.unpublished(None, false), Duration::ZERO);
        recollection.unpublished(None, true);
        let (known, since) = recollection.unpublished.unwrap();
        recollection.unpublished = Some((known, since.checked_sub(Duration::from_secs(30)).unwrap()));
        assert!(recollection.unpublished(None, true) >= Duration::from_secs(30));
        let renewed = Timestamp::from_second(1_000).unwrap();
        assert!(recollection.unpublished(Some(renewed), true) < Duration::from_secs(1));
        recollection.unpublished(Some(renewed), false);
        assert!(recollection.unpublished.is_none(), "without a leader nothing is owed");
    }

    /// K32: one look is not enough, and a look that found it ends the count.
    #[test]
    fn a_quorum_is_missing_when_seen_twice_with_time_between() {
        let mut recollection = Recollection::default();
        recollection.note_quorum(true);
        assert!(!recollection.quorum_was_missing());
        recollection.quorum_missing_since =
            recollection.quorum_missing_since.unwrap().checked_sub(QUORUM_MISSING_TWICE_AFTER);
        recollection.note_quorum(true);
        assert!(recollection.quorum_was_missing());
        recollection.note_quorum(false);
        assert!(!recollection.quorum_was_missing());
    }

    /// One broken cluster is tried ever more rarely, and at once again when it is well (operator.md, acceptance 39).
    #[test]
    fn failed_rounds_wait_longer_each_time_up_to_a_minute() {
        let mut recollection = Recollection::default();
        let waits: Vec<u64> = (0..8).map(|_| recollection.failed(0, "no answer").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        recollection.succeeded();
        assert_eq!(recollection.failed(255, "no answer").as_millis(), 1_249);
    }
}
