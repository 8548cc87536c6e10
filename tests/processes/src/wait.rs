//! Waiting for a condition, with a deadline that prints the last state seen.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Generous: these machines are shared, and a test that waits longer has failed for another reason.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Looks until `look` finds it; what it says instead is the last state seen.
pub async fn until<T>(what: &str, patience: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => {
                assert!(started.elapsed() < patience, "waited {patience:?} for {what}; last seen: {seen}");
            }
        }
        sleep(GLANCE).await;
    }
}
