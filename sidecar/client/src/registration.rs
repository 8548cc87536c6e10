//! The client as the cluster knows it: its ID, and which of its writes are open (K20).
//!
//! Invariant: a sequence is used for one write only, and `acked_below` never passes a write that may still be sent.
//! A write given up leaves the open ones too: should an old attempt of it arrive after that, the
//! cluster refuses it, which is what a caller who was told *outcome unknown* wants.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_api::v1::Tag;
use tokio::sync::Notify;

use crate::limits::WRITES_OPEN_MAX;

#[derive(Debug)]
pub(crate) struct Registration {
    client_id: u64,
    sequences: Mutex<Sequences>,
    /// Told whenever a write is done.
    done: Notify,
}

#[derive(Debug)]
struct Sequences {
    next: u64,
    open: BTreeSet<u64>,
}

/// A write's place; dropping it says that the write will not be sent again.
#[derive(Debug)]
pub(crate) struct OpenWrite {
    registration: Arc<Registration>,
    sequence: u64,
}

impl Registration {
    pub(crate) fn new(client_id: u64) -> Self {
        Self {
            client_id,
            sequences: Mutex::new(Sequences { next: 1, open: BTreeSet::new() }),
            done: Notify::new(),
        }
    }

    /// Takes a place, waiting while the window is full.
    pub(crate) async fn open(self: &Arc<Self>) -> OpenWrite {
        loop {
            // Listening begins before looking, so that a write done in between is not missed.
            let done = self.done.notified();
            if let Some(sequence) = self.lock().begin() {
                return OpenWrite { registration: Arc::clone(self), sequence };
            }
            done.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sequences> {
        // Nothing in here panics while it holds the mutex half-changed.
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sequences {
    fn acked_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    fn begin(&mut self) -> Option<u64> {
        if self.next - self.acked_below() >= WRITES_OPEN_MAX {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.open.insert(sequence);
        Some(sequence)
    }
}

impl OpenWrite {
    /// What to mark the next attempt with.
    pub(crate) fn tag(&self) -> Tag {
        let acked_below = self.registration.lock().acked_below();
        Tag { client_id: self.registration.client_id, sequence: self.sequence, acked_below }
    }
}

impl Drop for OpenWrite {
    fn drop(&mut self) {
        self.registration.lock().open.remove(&self.sequence);
        self.registration.done.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K20: `acked_below` never passes a write that may be sent again.
    #[tokio::test]
    async fn what_is_acknowledged_stays_below_the_oldest_open_write() {
        let registration = Arc::new(Registration::new(7));
        let first = registration.open().await;
        let second = registration.open().await;
        assert_eq!(second.tag(), Tag { client_id: 7, sequence: 2, acked_below: 1 });
        drop(first);
        assert_eq!(second.tag().acked_below, 2);
        drop(second);
        assert_eq!(registration.open().await.tag().acked_below, 3);
    }

    /// K20: beyond the window a write waits for the oldest one instead of being refused.
    #[tokio::test]
    async fn a_full_window_makes_the_next_write_wait() {
        let registration = Arc::new(Registration::new(7));
        let oldest = registration.open().await;
        for _ in 1..WRITES_OPEN_MAX {
            drop(registration.open().await);
        }
        let waiting = tokio::spawn({
            let registration = Arc::clone(&registration);
            async move { registration.open().await.sequence }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(oldest);
        assert_eq!(waiting.await.unwrap(), WRITES_OPEN_MAX + 1);
    }
}
