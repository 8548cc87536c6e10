//! Whether one server is well: one sample a round, and a verdict that does not jump.
//!
//! ```text
//!   sample   ok   ok   late late ok   late late late ok
//!   verdict  ────────── healthy ──────────────┐ bad  ┌── healthy
//!                                        3rd in a row: stable_since moves at both flips
//! ```
//!
//! A late contact or a lagging log needs [`BAD_SAMPLES_TO_FLIP`] samples in a row, because a pause of a second is no
//! failure (consul #7348); a wrong term, a server never heard and one the platform calls failed flip at once.
//! One good sample flips back: what a vote needs is the unbroken time that starts there (P5).
//!
//! Upstream's clock never restarts at a flip (D1); ours does, and that is the point of it.

use std::fmt;
use std::time::Duration;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, LogId, Now, Term};

use crate::input::{Fact, PodFact, Stats};
use crate::limits::{BAD_SAMPLES_TO_FLIP, FACT_AGE_MAX};
use crate::settings::Settings;
use crate::state::{Health, NodeStatus};

/// Why a server is not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unhealthy {
    /// There is no leader to compare with.
    NoLeader,
    /// The platform says that it does not run.
    Failed,
    /// The leader never heard it.
    NeverHeard,
    /// It was not heard for too long.
    LastContact {
        /// How long ago.
        age: Duration,
        /// How long is allowed.
        threshold: Duration,
    },
    /// Its last entry is of another term than the leader's.
    Term {
        /// Its term.
        actual: Term,
        /// The leader's.
        expected: Term,
    },
    /// Its log trails by too much.
    Trailing {
        /// By how many entries.
        entries: u64,
        /// How many are allowed.
        entries_max: u64,
    },
}

impl Unhealthy {
    /// As status and labels spell it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoLeader => "NoLeader",
            Self::Failed => "Failed",
            Self::NeverHeard => "NeverHeard",
            Self::LastContact { .. } => "LastContact",
            Self::Term { .. } => "Term",
            Self::Trailing { .. } => "Trailing",
        }
    }

    /// Whether it may be a passing pause.
    fn may_pass(&self) -> bool {
        match self {
            Self::LastContact { .. } | Self::Trailing { .. } => true,
            Self::NoLeader | Self::Failed | Self::NeverHeard | Self::Term { .. } => false,
        }
    }
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => write!(f, "no leader is known"),
            Self::Failed => write!(f, "its Pod does not run"),
            Self::NeverHeard => write!(f, "the leader has not heard it yet"),
            Self::LastContact { age, threshold } => {
                write!(
                    f,
                    "not heard for {:.1} s, allowed are {:.1} s",
                    age.as_secs_f64(),
                    threshold.as_secs_f64()
                )
            }
            Self::Term { actual, expected } => {
                write!(f, "its log ends in term {actual}, the leader's in term {expected}")
            }
            Self::Trailing { entries, entries_max } => {
                write!(f, "its log trails by {entries} entries, allowed are {entries_max}")
            }
        }
    }
}

/// What a server is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    /// The leader's last entry; at 0: there is no leader to compare with.
    pub(crate) last: LogId,
    /// The leader's last index a while ago: who has reached it is no laggard, whatever was written since (K27).
    pub(crate) last_before: Index,
}

/// What this round alone says of a server.
pub(crate) fn sample(
    stats: Option<&Stats>,
    status: NodeStatus,
    reference: Reference,
    settings: &Settings,
) -> Result<(), Unhealthy> {
    if reference.last.index == Index(0) || reference.last.term == Term(0) {
        return Err(Unhealthy::NoLeader);
    }
    if status == NodeStatus::Failed {
        return Err(Unhealthy::Failed);
    }
    let stats = stats.ok_or(Unhealthy::NeverHeard)?;
    let age = stats.last_contact.ok_or(Unhealthy::NeverHeard)?;
    let threshold = settings.last_contact_threshold;
    if age > threshold || broken(Mutant::A2) && age == threshold {
        return Err(Unhealthy::LastContact { age, threshold });
    }
    let (actual, expected) = (stats.last.term, reference.last.term);
    if actual != expected && !broken(Mutant::A2Term) {
        return Err(Unhealthy::Term { actual, expected });
    }
    let entries = reference.last.index.0.saturating_sub(stats.last.index.0);
    let entries_max = settings.max_trailing_logs;
    let is_behind = stats.last.index < reference.last_before || broken(Mutant::K27Lag);
    if entries > entries_max && is_behind {
        return Err(Unhealthy::Trailing { entries, entries_max });
    }
    Ok(())
}

/// Whether a server runs. What the leader hears is newer than a fact that was observed before.
pub(crate) fn node_status(
    now: Now,
    stats: Option<&Stats>,
    fact: Option<&Fact>,
    settings: &Settings,
) -> NodeStatus {
    let age = stats.and_then(|stats| stats.last_contact);
    let fact = fact.filter(|fact| now.since(fact.observed) <= FACT_AGE_MAX || broken(Mutant::K15FactAge));
    if let Some(fact) = fact {
        let is_gone = fact.pod == PodFact::Gone || fact.is_claim_gone;
        let heard_since = age.is_some_and(|age| age < now.since(fact.observed)) && !broken(Mutant::K15Heard);
        if is_gone && !heard_since {
            return NodeStatus::Failed;
        }
        if fact.has_left {
            return NodeStatus::Left;
        }
    }
    match age {
        Some(age) if age <= settings.last_contact_threshold => NodeStatus::Alive,
        _ => NodeStatus::Unknown,
    }
}

/// A server's verdict, carried from round to round.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    is_healthy: bool,
    stable_since: Now,
    bad_samples: u32,
    reason: Option<Unhealthy>,
}

impl Verdict {
    /// The first sample is the first verdict.
    pub(crate) fn first(now: Now, sample: &Result<(), Unhealthy>) -> Self {
        let reason = sample.as_ref().err().cloned();
        Self { is_healthy: reason.is_none(), stable_since: now, bad_samples: 0, reason }
    }

    /// Take in a round's sample.
    pub(crate) fn update(&mut self, now: Now, sample: &Result<(), Unhealthy>) {
        let is_healthy = match sample {
            Ok(()) => {
                self.bad_samples = 0;
                true
            }
            Err(reason) => {
                self.bad_samples = self.bad_samples.saturating_add(1);
                let is_few = self.bad_samples < BAD_SAMPLES_TO_FLIP && !broken(Mutant::K27Samples);
                self.is_healthy && reason.may_pass() && is_few
            }
        };
        if is_healthy != self.is_healthy {
            self.is_healthy = is_healthy;
            if !broken(Mutant::A5) {
                self.stable_since = now;
            }
        }
        self.reason = sample.as_ref().err().filter(|_| !is_healthy).cloned();
    }

    /// As the state shows it.
    pub(crate) fn health(&self, sample: Result<(), Unhealthy>) -> Health {
        Health {
            is_healthy: self.is_healthy,
            stable_since: self.stable_since,
            reason: self.reason.clone(),
            sample,
        }
    }
}

/// Whole seconds, rounded up: nobody is told "0 s more" while there is something to wait for.
pub(crate) fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
