//! How long sessions live: the leader measures, and only with its own monotonic clock (K21).
//!
//! ```text
//!   machine ──began, ended──▶ ┌────────┐ ◀──renewed, on the machine's thread── renewals
//!                             │ timers │
//!   keeper  ◀──whose is over──└────────┘
//!      └── DestroySession, EndLockDelay ─▶ the log
//! ```
//!
//! A renewal leaves no trace in the log. It is acknowledged after a round that shows that this member led when it came,
//! and once everything proposed before is applied and the session still lives. So an earlier leader's end of the session
//! is seen, ours is waited for, and a later leader begins its count after the renewal was sent.
//!
//! Invariants: a session is never ended before twice its TTL has passed since the last renewal, or since this leader
//! began to measure; once its end is proposed no renewal is acknowledged before what came of it is known.
//! Not here: what an end does to keys. That is the machine's.

mod keeper;
mod renew;
mod timers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_machine::{Session, SessionEvent};
use quorate_raft::{Now, Term};
use tokio::sync::watch;
use tokio::time::Instant;

use super::machine::{QueryError, State};
pub(crate) use keeper::keep_sessions;
pub use timers::{Clock, Renewal, Timers};

/// The timers, shared between the machine's thread and the keeper. Held for moments only.
pub(crate) struct Sessions {
    timers: Mutex<Timers>,
    /// From when their moments count.
    started: Instant,
    /// Counts changes that somebody may wait for: another first end, or an end that was settled.
    changes: watch::Sender<u64>,
    /// Sessions that ended because their time was over by this member's clock.
    expired: AtomicU64,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            timers: Mutex::new(Timers::default()),
            started: Instant::now(),
            changes: watch::Sender::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// Sessions this member measures; none while it does not lead.
    pub(crate) fn measured(&self) -> usize {
        self.lock().sessions()
    }

    /// Sessions that ended because their time was over, by its clock, since it started.
    pub(crate) fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// What the machine has just applied.
    pub(super) fn note(&self, events: &[SessionEvent]) {
        if events.is_empty() {
            return;
        }
        let now = self.now();
        let mut timers = self.lock();
        for event in events {
            timers.note(*event, now);
        }
        drop(timers);
        self.tell();
    }

    /// The machine is on another state: if this member measures, it measures the sessions of that one.
    pub(super) fn replaced(&self, state: &State) -> Result<(), QueryError> {
        let term = self.lock().term();
        term.map_or(Ok(()), |term| self.lead(term, state))
    }

    /// Measure every session and lock delay of this state in full.
    fn lead(&self, term: Term, state: &State) -> Result<(), QueryError> {
        let sessions = state.sessions()?.sessions;
        let delays = state.lock_delays()?;
        let sessions = sessions.iter().map(|session| (session.spec.id, session.spec.ttl.duration));
        self.lock().lead(term, sessions, delays, self.now());
        self.tell();
        Ok(())
    }

    fn renew(&self, session: &Session) -> Renewal {
        self.lock().renew(session, self.now())
    }

    /// Those whose time is over, at most so many.
    fn due(&self, max: usize) -> Vec<Clock> {
        self.lock().due(self.now(), max)
    }

    /// The next moment at which something is over.
    fn next_end(&self) -> Option<Instant> {
        self.lock().next_end().map(|end| self.started + end.0)
    }

    /// An end that was certainly not proposed.
    fn not_proposed(&self, term: Term, clock: Clock) {
        self.lock().not_proposed(term, clock, self.now());
        self.tell();
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed())
    }

    fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        // Nothing in here panics while it holds the mutex half-changed.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
