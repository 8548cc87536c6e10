//! A majority is lost for good: one survivor is made the cluster, with the user's word (K18, S28).

use std::time::Duration;

use quorate_autopilot::SettingsChange;
use quorate_machine::{Command, SettingsMode, Tagged};
use quorate_raft::{RecoveryEpoch, Role, Status};
use quorate_sidecar::args::RecoverArgs;
use quorate_sidecar::recover::recover;

use crate::{PATIENCE, cluster, put, read, soon, write};

/// Longer than any election takes: a member that could lead or be led would be by then.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// K18, K20, raft.md §7 item 20: the recovered member leads alone and has everything, the retry of an old write is still
/// a retry, an old member that comes back is refused and changes nothing, a new one joins and gets its vote.
#[tokio::test]
async fn a_survivor_becomes_the_cluster_and_the_old_majority_stays_out() {
    let (mut cluster, _directory) = cluster(3).await;
    let change = SettingsChange {
        server_stabilization_time: Some(Duration::from_secs(1)),
        ..SettingsChange::default()
    };
    let command = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None };
    cluster.handle(0).propose(&Tagged { tag: None, command }, soon()).await.unwrap();
    write(cluster.handle(1), "before", "x").await.unwrap();
    let tag = quorate_machine::Tag { client: register(cluster.handle(0)).await, sequence: 1, acked_below: 0 };
    let tagged = Tagged { tag: Some(tag), ..put("tagged", "first") };
    let first = cluster.handle(0).propose(&tagged, soon()).await.unwrap();
    // Everybody has it, so whoever survives does.
    for number in 0..3 {
        assert_eq!(read(cluster.handle(number), "tagged").await.as_deref(), Some("first"));
    }
    cluster.stop().await;
    let args = |lost: &[&str]| RecoverArgs {
        directory: cluster.member_directory(0),
        lost: lost.iter().map(ToString::to_string).collect(),
        epoch: None,
    };
    assert!(recover(&args(&["dev-1"])).unwrap_err().message.contains("--lost dev-1,dev-2"));
    let said = recover(&args(&["dev-1", "dev-2"])).unwrap();
    assert!(said.contains("at recovery epoch 1"), "{said}");

    cluster.start_again(0).await.unwrap();
    assert_eq!(cluster.leader(PATIENCE).await.unwrap(), 0);
    assert_eq!(cluster.voters(0), 1);
    assert_eq!(cluster.handle(0).view().identity.recovery_epoch, RecoveryEpoch(1));
    assert_eq!(read(cluster.handle(0), "before").await.as_deref(), Some("x"));
    let again = cluster.handle(0).propose(&tagged, soon()).await.unwrap();
    assert_eq!(again.outcome, first.outcome, "a retry gets the first answer");
    write(cluster.handle(0), "after", "y").await.unwrap();

    // One of the old majority comes back: with the survivor it would be a quorum of what it knows.
    cluster.start_again(1).await.unwrap();
    let term = cluster.handle(0).view().status.term;
    let known = |status: &Status| (status.term, status.last, status.leader.clone());
    let before = known(&cluster.handle(1).view().status);
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!(cluster.handle(0).view().status.term, term, "the old one must not disturb");
    let old = cluster.handle(1).view();
    assert_ne!(old.status.role, Role::Leader);
    assert_eq!(known(&old.status), before, "it must hear nothing, not even a term");
    assert_eq!(old.status.leader, None);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(500);
    let refused = cluster.handle(1).propose(&put("through-the-old", "x"), deadline).await.unwrap_err();
    assert_eq!(refused.effect, quorate_sidecar::driver::Effect::NotApplied);
    cluster.stop_member(1).await;

    cluster.set_recovery_epoch(RecoveryEpoch(1));
    let joiner = cluster.start_member().await.unwrap();
    cluster.add_non_voter(joiner, soon()).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    assert_eq!(read(cluster.handle(joiner), "before").await.as_deref(), Some("x"));
    assert_eq!(read(cluster.handle(joiner), "after").await.as_deref(), Some("y"));
    let latest = cluster.handle(joiner).view().status.latest.clone().unwrap();
    assert_eq!(latest.configuration.recovery_epoch(), RecoveryEpoch(1));
    cluster.stop().await;
}

async fn register(handle: &quorate_sidecar::driver::Handle) -> quorate_machine::ClientId {
    let command = quorate_machine::Command::RegisterClient { owner: None };
    match handle.propose(&Tagged { tag: None, command }, soon()).await.unwrap().outcome {
        quorate_machine::Outcome::Registered { client } => client,
        other => panic!("not registered: {other:?}"),
    }
}
