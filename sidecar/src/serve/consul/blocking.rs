//! Blocking queries: a read that waits until what it asked for has changed (consul-http.md §3).
//!
//! ```text
//!   the machine applied a change of a key, or of a session ─▶ wakes who waits for one ─▶ each compares its own index, cheaply
//! ```
//!
//! A write that touches no key wakes nobody, and while nobody waits nothing is done. The first change wakes at once;
//! who was woken for nothing looks again only after a pause, so that a thousand waiters and a stream of writes to other
//! keys cost a bounded number of looks. Waiting needs no leader, so a change of leadership disturbs nobody; only the
//! answer itself asks for one.
//!
//! Invariant: at most [`WATCHES_MAX`] wait; each ends by its own deadline or with its connection.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::refused::Refused;
use crate::driver::Handle;
use crate::serve::limits::{WAIT_JITTER_PART, WATCH_REST, WATCHES_MAX};

/// Everybody who waits.
pub(super) struct Watches {
    keys_index: watch::Receiver<u64>,
    sessions_index: watch::Receiver<u64>,
    places: Arc<Semaphore>,
}

/// One who waits.
pub(super) struct Watch {
    seen: watch::Receiver<u64>,
    deadline: Instant,
    /// No look before this.
    rests_until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watches {
    pub(super) fn new(handle: &Handle) -> Self {
        let places = Arc::new(Semaphore::new(WATCHES_MAX));
        Self { keys_index: handle.watch_keys(), sessions_index: handle.watch_sessions(), places }
    }

    /// Begins to wait for a change of any key, for at most `wait` and a little: begin before the first read, so that no
    /// change is missed.
    pub(super) fn keys(&self, wait: Duration) -> Result<Watch, Refused> {
        self.begin(&self.keys_index, wait)
    }

    /// The same for any session.
    pub(super) fn sessions(&self, wait: Duration) -> Result<Watch, Refused> {
        self.begin(&self.sessions_index, wait)
    }

    fn begin(&self, index: &watch::Receiver<u64>, wait: Duration) -> Result<Watch, Refused> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Refused::too_many_watches())?;
        let mut seen = index.clone();
        seen.mark_unchanged();
        let now = Instant::now();
        Ok(Watch { seen, deadline: now + wait + jitter(wait), rests_until: now, _place: place })
    }
}

impl Watch {
    /// Waits for a change; false at the deadline.
    pub(super) async fn changed(&mut self) -> bool {
        let changed = async {
            tokio::time::sleep_until(self.rests_until).await;
            self.seen.changed().await
        };
        let is_changed = matches!(tokio::time::timeout_at(self.deadline, changed).await, Ok(Ok(())));
        self.rests_until = Instant::now() + WATCH_REST;
        is_changed
    }
}

/// Spreads watchers that began together. The standard hasher's keys are random.
fn jitter(wait: Duration) -> Duration {
    let part = u32::try_from(RandomState::new().hash_one(wait) % 1_024).unwrap_or(0);
    wait / WAIT_JITTER_PART * part / 1_024
}
