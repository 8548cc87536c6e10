//! Waiting for a condition, with a deadline that prints the last state seen.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How often a condition is looked at. Kubernetes answers from memory, and a member's own deadlines are longer.
const GLANCE: Duration = Duration::from_millis(250);

/// What one look found.
pub(crate) enum Look<T> {
    /// What was waited for.
    Found(T),
    /// Not yet; what was seen instead.
    NotYet(String),
}

/// Looks until `look` finds it. An error of one look is not the end: what is broken on purpose may well not answer.
pub(crate) async fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let seen = match look().await {
            Ok(Look::Found(found)) => return Ok(found),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() > patience {
            bail!("waited {} s for {what}; last seen: {seen}", patience.as_secs());
        }
        sleep(GLANCE).await;
    }
}
