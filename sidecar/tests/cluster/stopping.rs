//! Stopping: leadership goes first, then the process, soon.

use std::time::{Duration, Instant};

use crate::{PATIENCE, cluster, write};

/// raft.md §7, 22 and K43: a leader that is asked to stop hands over, and is gone within a second.
#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_first_and_is_gone_within_a_second() {
    let (mut cluster, _directory) = cluster(3).await;
    write(cluster.handle(0), "k", "x").await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let term = cluster.handle(leader).view().status.term;
    let before = Instant::now();
    cluster.stop_member(leader).await;
    let took = before.elapsed();
    let next = cluster.leader(PATIENCE).await.unwrap();
    let view = cluster.handle(next).view();
    assert_eq!(view.status.term.0, term.0 + 1, "one hand-over, no election that failed");
    assert!(took < Duration::from_secs(1), "stopping took {took:?}");
    write(cluster.handle(next), "after", "x").await.unwrap();
    cluster.stop().await;
}

/// raft.md §7, 22: who leads without a majority has nobody to hand over to; it used to wait three seconds for one.
#[tokio::test]
async fn a_leader_whose_followers_are_gone_is_stopped_as_soon_as_any_other() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    cluster.abort_member((leader + 1) % 3).await;
    cluster.abort_member((leader + 2) % 3).await;
    let before = Instant::now();
    cluster.stop_member(leader).await;
    let took = before.elapsed();
    assert!(took < Duration::from_secs(2), "stopping took {took:?}");
}
