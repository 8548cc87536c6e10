//! When to try again: a deadline for the whole call, and pauses that grow and differ between clients.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{CALL_TIMEOUT_MAX, RETRY_PAUSE_FIRST, RETRY_PAUSE_MAX};

pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
    random: RandomState,
}

impl Retry {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout.min(CALL_TIMEOUT_MAX),
            pause: RETRY_PAUSE_FIRST,
            random: RandomState::new(),
        }
    }

    /// What is left for one attempt.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits before the next attempt; false if there is no time for one.
    pub(crate) async fn wait(&mut self) -> bool {
        // The standard hasher's keys are random: enough to spread clients, without a dependency.
        let part = u32::try_from(self.random.hash_one(self.remaining()) % 512).unwrap_or(0);
        let pause = self.pause / 2 + self.pause * part / 1_024;
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        if pause >= self.remaining() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
