//! Blocking queries: a read that waits until what it asked for has changed (consul-http.md §3).
//!
//! ```text
//!   applied moves ─▶ one look at the keys' index ─▶ wakes who waits ─▶ each compares its own index, cheaply
//! ```
//!
//! One look serves all waiters: a write that touches no key wakes nobody, and a thousand waiters cost one look per
//! change. Waiting needs no leader, so a change of leadership disturbs nobody; only the answer itself asks for one.
//!
//! Invariant: at most [`WATCHES_MAX`] wait; each ends by its own deadline or with its connection.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::refused::Refused;
use crate::driver::{Consistency, Handle};
use crate::serve::limits::{HTTP_HOLD, WAIT_JITTER_PART, WATCHES_MAX};

/// Everybody who waits.
pub(super) struct Watches {
    keys_index: watch::Receiver<u64>,
    places: Arc<Semaphore>,
}

/// One who waits.
pub(super) struct Watch {
    keys_index: watch::Receiver<u64>,
    deadline: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watches {
    /// Starts the task that looks; it ends with the member, or when nobody can ask any more.
    pub(super) fn new(handle: Handle) -> Self {
        let (seen, keys_index) = watch::channel(0);
        tokio::spawn(look(handle, seen));
        Self { keys_index, places: Arc::new(Semaphore::new(WATCHES_MAX)) }
    }

    /// Begins to wait for at most `wait` and a little: begin before the first read, so that no change is missed.
    pub(super) fn begin(&self, wait: Duration) -> Result<Watch, Refused> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Refused::too_many_watches())?;
        let mut keys_index = self.keys_index.clone();
        keys_index.mark_unchanged();
        Ok(Watch { keys_index, deadline: Instant::now() + wait + jitter(wait), _place: place })
    }
}

impl Watch {
    /// Waits for a change of any key; false at the deadline.
    pub(super) async fn changed(&mut self) -> bool {
        matches!(tokio::time::timeout_at(self.deadline, self.keys_index.changed()).await, Ok(Ok(())))
    }
}

/// Spreads watchers that began together. The standard hasher's keys are random.
fn jitter(wait: Duration) -> Duration {
    let part = u32::try_from(RandomState::new().hash_one(wait) % 1_024).unwrap_or(0);
    wait / WAIT_JITTER_PART * part / 1_024
}

/// Publishes the keys' index whenever this member has applied more.
async fn look(handle: Handle, seen: watch::Sender<u64>) {
    let mut view = handle.watch_view();
    loop {
        view.borrow_and_update();
        let deadline = Instant::now() + HTTP_HOLD;
        let read = handle.read(Consistency::Stale, deadline, |state| Ok(state.meta().keys.index.0)).await;
        // Without an answer the next change of the view asks again.
        if let Ok(read) = read {
            seen.send_if_modified(|index| std::mem::replace(index, read.value) != read.value);
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = seen.closed() => return,
        }
    }
}
