//! A counter that many replicas raise at once, without a lock: read it, write one more if nobody else did, else again.

use quorate_client::{CasOutcome, Client, Error};

use crate::Failed;

const KEY: &str = "example/visits";

/// Attempts against other writers. Each lost one means that another visit was counted, so the
/// group as a whole always moves on; past this many the visitor is told to try again.
const ATTEMPTS_MAX: u32 = 100;

/// Counts a visit and returns its number. Two visits never get the same one.
pub(crate) async fn count_one(client: &Client) -> Result<u64, Failed> {
    for _ in 0..ATTEMPTS_MAX {
        let entry = client.get(KEY).await?;
        let number = entry.as_ref().map_or(Ok(0), |entry| number(&entry.value))?.saturating_add(1);
        let expected = entry.map(|entry| entry.modify_index);
        match client.compare_and_set(KEY, expected, number.to_string()).await? {
            CasOutcome::Written(_) => return Ok(number),
            CasOutcome::Mismatch(_) => {}
        }
    }
    Err(Failed::Cluster(Error::Unavailable {
        message: format!("other visitors were faster {ATTEMPTS_MAX} times: try again; not counted"),
    }))
}

/// How many there were.
pub(crate) async fn so_far(client: &Client) -> Result<u64, Failed> {
    client.get(KEY).await?.map_or(Ok(0), |entry| number(&entry.value))
}

fn number(value: &[u8]) -> Result<u64, Failed> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failed::Foreign(format!("the key {KEY} does not hold a number: delete it to start again from 0"))
    })
}
