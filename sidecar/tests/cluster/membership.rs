//! Members that come back, and members that join.

use std::time::Duration;

use quorate_autopilot::SettingsChange;
use quorate_machine::{Command, SettingsMode, Tagged};

use crate::{PATIENCE, cluster, read, soon, write};

/// K3, K4: what a member missed while it was down it gets from the leader's log; what it had it still has.
#[tokio::test]
async fn a_member_that_was_down_catches_up_and_then_answers_reads() {
    let (mut cluster, _directory) = cluster(3).await;
    write(cluster.handle(0), "before", "x").await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let down = (leader + 1) % 3;
    cluster.stop_member(down).await;
    for number in 0..50 {
        write(cluster.handle(leader), &format!("missed-{number}"), "x").await.unwrap();
    }
    cluster.start_again(down).await.unwrap();
    assert_eq!(read(cluster.handle(down), "before").await.as_deref(), Some("x"));
    assert_eq!(read(cluster.handle(down), "missed-49").await.as_deref(), Some("x"));
    cluster.stop().await;
}

/// K15, A8: a member added later is a non-voter first; autopilot gives it its vote after the stabilization time.
#[tokio::test]
async fn a_fourth_member_joins_without_a_vote_and_gets_it_after_the_stabilization_time() {
    let (mut cluster, _directory) = cluster(3).await;
    let change = SettingsChange {
        server_stabilization_time: Some(Duration::from_secs(2)),
        ..SettingsChange::default()
    };
    let command = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None };
    cluster.handle(0).propose(&Tagged { tag: None, command }, soon()).await.unwrap();
    // Another term: the bootstrap grace of the first leader no longer holds (K55).
    let leader = cluster.leader(PATIENCE).await.unwrap();
    cluster.handle(leader).transfer_leadership(None, soon()).await.unwrap();
    let joiner = cluster.start_member().await.unwrap();
    cluster.add_non_voter(joiner, soon()).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    assert_eq!(cluster.voters(leader), 3, "a member that was just added must not vote");
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    write(cluster.handle(joiner), "through-the-fourth", "x").await.unwrap();
    assert_eq!(read(cluster.handle(0), "through-the-fourth").await.as_deref(), Some("x"));
    cluster.stop().await;
}
