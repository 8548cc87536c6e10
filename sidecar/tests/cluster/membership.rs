//! Members that come back, and members that join.

use std::time::Duration;

use quorate_autopilot::SettingsChange;
use quorate_machine::{Command, SettingsMode, Tagged};
use quorate_raft::{Intent, Settings};
use quorate_sidecar::autopilot::{Facts, MemberFact};
use quorate_sidecar::dev::{Cluster, ClusterOptions};

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

/// K15, K14: a voter that is declared to leave keeps its vote until its replacement is stable, and then gives
/// it away in one change: there are three voters before, between and after.
#[tokio::test]
async fn a_leaving_voter_s_vote_goes_to_its_replacement() {
    let (mut cluster, _directory) = cluster(3).await;
    let change = SettingsChange {
        server_stabilization_time: Some(Duration::from_secs(1)),
        ..SettingsChange::default()
    };
    let command = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None };
    cluster.handle(0).propose(&Tagged { tag: None, command }, soon()).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let old = (leader + 1) % 3;
    let server = |cluster: &Cluster, number: usize| cluster.handle(number).view().identity.server.clone();
    let left = server(&cluster, old);
    let joiner = cluster.start_member().await.unwrap();
    cluster.add_for(joiner, Intent::ReplacementFor(left.clone()), soon()).await.unwrap();
    let fact =
        MemberFact { has_left: true, name: "db-1".to_owned(), node: String::new(), zone: String::new() };
    cluster.member(leader).autopilot().report(Facts::new(3, [(left.clone(), fact)]));
    let joined = server(&cluster, joiner);
    let mut view = cluster.handle(leader).watch_view();
    let replaced = view.wait_for(|view| {
        let committed = view.status.committed.as_ref().unwrap();
        assert_eq!(committed.configuration.majorities()[0].len(), 3);
        committed.configuration.is_voter(&joined) && !committed.configuration.contains(&left)
    });
    tokio::time::timeout(PATIENCE, replaced).await.unwrap().unwrap();
    write(cluster.handle(joiner), "through-the-replacement", "x").await.unwrap();
    cluster.stop().await;
}

/// K12: a leader whose process is gone is replaced on that evidence. Nothing else could elect anybody here:
/// the election timeout is longer than the test waits.
#[tokio::test]
async fn a_leader_whose_process_is_gone_is_replaced_without_waiting_for_the_election_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let raft = Settings { election_timeout: PATIENCE * 10, ..Settings::default() };
    let mut cluster =
        Cluster::start_with(3, directory.path(), ClusterOptions { raft, ..ClusterOptions::default() })
            .await
            .unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    let gone = cluster.leader(PATIENCE).await.unwrap();
    write(cluster.handle(gone), "before", "x").await.unwrap();
    cluster.abort_member(gone).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    assert_ne!(leader, gone);
    assert_eq!(cluster.handle(leader).view().early_elections, 1);
    assert_eq!(read(cluster.handle(leader), "before").await.as_deref(), Some("x"));
    cluster.stop().await;
}
