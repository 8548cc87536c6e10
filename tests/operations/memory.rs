//! The little that the operator remembers between rounds, and loses when it dies (`operator/src/memory.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_plan::Ordinal;

/// A quorum found missing twice this far apart is missing (K32).
const QUORUM_MISSING_TWICE_AFTER: Duration = Duration::from_secs(3);
/// A refusal by the API server is quoted to the planner this long.
const REFUSAL_KEPT: Duration = Duration::from_mins(2);
/// The first wait after a round failed; it doubles.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest one.
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// What is remembered of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    quorum_missing_since: Option<Duration>,
    renewal: Option<(u64, Duration)>,
    unpublished: Option<(Option<u64>, Duration)>,
    refusals: BTreeMap<Ordinal, (Duration, String)>,
    failures: u32,
    /// This process has finished a round.
    pub has_finished_a_round: bool,
}

impl Memory {
    /// K32: found missing by another look at least 3 s ago.
    pub fn quorum_was_missing(&self, now: Duration) -> bool {
        self.quorum_missing_since.is_some_and(|since| now.saturating_sub(since) >= QUORUM_MISSING_TWICE_AFTER)
    }

    /// What this round found.
    pub fn note_quorum(&mut self, is_missing: bool, now: Duration) {
        self.quorum_missing_since = is_missing.then(|| self.quorum_missing_since.unwrap_or(now));
    }

    /// Age of the Lease's last renewal by the operator's own clock.
    pub fn leader_heard(&mut self, renewed: Option<u64>, now: Duration) -> Option<Duration> {
        let renewed = renewed?;
        match self.renewal {
            Some((known, seen)) if known == renewed => Some(now.saturating_sub(seen)),
            _ => {
                self.renewal = Some((renewed, now));
                Some(Duration::ZERO)
            }
        }
    }

    /// How long a leader has answered while its Lease stayed as it was.
    pub fn unpublished(&mut self, renewed: Option<u64>, is_led: bool, now: Duration) -> Duration {
        let same = self.unpublished.filter(|(known, _)| *known == renewed);
        self.unpublished = is_led.then(|| same.unwrap_or((renewed, now)));
        self.unpublished.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(since))
    }

    /// The API server would not create an object of this slot.
    pub fn refuse(&mut self, ordinal: Ordinal, words: &str, now: Duration) {
        self.refusals.insert(ordinal, (now, words.to_owned()));
    }

    /// It did.
    pub fn accept(&mut self, ordinal: Ordinal) {
        self.refusals.remove(&ordinal);
    }

    /// What was refused lately.
    pub fn refusals(&self, now: Duration) -> impl Iterator<Item = (Ordinal, String)> {
        let recent = self.refusals.iter().filter(move |(_, (at, _))| now.saturating_sub(*at) < REFUSAL_KEPT);
        recent.map(|(ordinal, (_, words))| (*ordinal, words.clone()))
    }

    /// The wait after a failed round.
    pub fn failed(&mut self) -> Duration {
        let wait = (BACKOFF_MIN * 2_u32.pow(self.failures.min(16))).min(BACKOFF_MAX);
        self.failures += 1;
        wait
    }

    /// A round was carried out to its end.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.has_finished_a_round = true;
    }
}
