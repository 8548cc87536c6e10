//! How long a member takes from its start, after its process was killed, until it answers a linearizable read: by then it
//! has read its files, knows a leader and has applied what was committed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

use crate::histogram::Latencies;
use crate::shape::Shape;
use crate::system::System;

/// About how long one takes, with all that lies between; for the estimate at the start.
pub(crate) const RESTART_SECONDS: u64 = 5;

/// All members serve for so long before each kill.
const CALM: Duration = Duration::from_secs(1);
/// It stays down for so long.
const DOWN: Duration = Duration::from_secs(1);
/// A member that does not serve by then is not going to.
const LONGEST: Duration = Duration::from_mins(1);
/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(5);

/// Kills and starts a follower so many times.
pub(crate) async fn restarts<S: System>(system: &mut S, shape: &Shape, times: u32) -> Result<Latencies> {
    let mut took = Latencies::new();
    for number in 1..=times {
        system.whole().await?;
        sleep(CALM).await;
        let follower = (system.leader().await? + 1) % shape.members;
        system.kill(follower);
        sleep(DOWN).await;
        let started = Instant::now();
        system.start(follower)?;
        while !system.serves(follower).await {
            if started.elapsed() > LONGEST {
                bail!("start {number} of member {follower}: it does not serve within {LONGEST:?}");
            }
            sleep(GLANCE).await;
        }
        took.record(started.elapsed());
    }
    Ok(took)
}
