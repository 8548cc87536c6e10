//! Virtual time: what will happen next. Events due at the same moment happen in the order they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A queue of events by time; by default empty, at time zero.
pub struct Schedule<E> {
    now: Duration,
    scheduled: u64,
    queue: BinaryHeap<Reverse<Due<E>>>,
}

struct Due<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> Schedule<E> {
    /// The present.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets `event` happen after `delay`.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Lets `event` happen at `at`, or now if that has passed.
    pub fn at(&mut self, at: Duration, event: E) {
        self.scheduled += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), order: self.scheduled, event }));
    }

    /// Moves to the next event.
    pub fn advance(&mut self) -> Option<E> {
        let Reverse(due) = self.queue.pop()?;
        self.now = due.at;
        Some(due.event)
    }
}

// Derived, it would ask for events that have a default.
impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { now: Duration::ZERO, scheduled: 0, queue: BinaryHeap::new() }
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<E> Eq for Due<E> {}
impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
