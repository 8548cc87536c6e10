//! The open loop: calls that are due at a fixed rate, whoever is free makes the next.
//!
//! A call's latency counts from when it was due. A system that stands still for a moment is charged with every call that
//! was due meanwhile; a closed loop would not even have made them (coordinated omission).

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

/// Calls that wait for a free caller. Beyond it the rest is handed out late, and still counts from when it was due.
const LINE_MAX: usize = 64 * 1024;

/// Calls that become due.
pub(crate) struct Due {
    line: Mutex<mpsc::Receiver<Instant>>,
}

impl Due {
    /// So many a second from `began` on, for so long.
    pub(crate) fn at(per_second: u32, began: Instant, lasts: Duration) -> Self {
        let (sender, line) = mpsc::channel(LINE_MAX);
        // A thread, since timers of the runtime are no finer than a millisecond.
        std::thread::spawn(move || {
            for number in 0_u32.. {
                let due = Duration::from_secs(number.into()) / per_second;
                if due >= lasts {
                    return;
                }
                std::thread::sleep((began + due).saturating_duration_since(Instant::now()));
                // Nobody listens any more if the load was given up.
                if sender.blocking_send(began + due).is_err() {
                    return;
                }
            }
        });
        Self { line: Mutex::new(line) }
    }

    /// When the next one was due, once it is; none after the last.
    pub(crate) async fn next(&self) -> Option<Instant> {
        self.line.lock().await.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_become_due_at_their_rate_and_never_before() {
        let began = Instant::now();
        let due = Due::at(500, began, Duration::from_millis(100));
        let mut count = 0;
        while let Some(at) = due.next().await {
            assert_eq!(at - began, Duration::from_millis(2 * count));
            assert!(Instant::now() >= at);
            count += 1;
        }
        assert_eq!(count, 50);
    }
}
