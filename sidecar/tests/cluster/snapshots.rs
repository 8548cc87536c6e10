//! Members that the log can't help any more.

use std::time::Duration;

use quorate_autopilot::SettingsChange;
use quorate_machine::{Command, SettingsMode, Tagged};
use quorate_raft::{Address, Change, Intent, Settings, Versions};
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::relay::Relay;
use crate::{PATIENCE, put, read, soon};

/// Larger than a memtable (32 MiB), so that the machine flushes and the log forgets.
const WRITES: usize = 90;
const VALUE_BYTES: usize = 480 * 1024;

/// One member whose log does not hold its beginning any more, after so many writes.
async fn compacted(writes: usize) -> (Cluster, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let raft = Settings { retention_bytes: 64 * 1024, retention_bytes_max: 64 * 1024, ..Settings::default() };
    let options = ClusterOptions { raft, ..ClusterOptions::default() };
    let cluster = Cluster::start_with(1, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    for number in 0..writes {
        let value = vec![u8::try_from(number).unwrap(); VALUE_BYTES];
        cluster.handle(0).propose(&put(&format!("k{number}"), value), soon()).await.unwrap();
    }
    // Each memtable is flushed when it is full; the last one may take a while.
    let flushed = writes as u64 * 2 / 3;
    cluster
        .wait_until("the log forgot its beginning", PATIENCE, |view| {
            view.status.first.0 > 1 && view.durable_applied.index.0 > flushed
        })
        .await
        .unwrap();
    (cluster, directory)
}

/// K5, K7: after compaction a joiner gets the state as a snapshot, and then the log.
#[tokio::test]
async fn a_member_that_joins_after_compaction_gets_a_snapshot() {
    let (mut cluster, _directory) = compacted(WRITES).await;
    let joiner = cluster.start_member().await.unwrap();
    cluster.add_non_voter(joiner, soon()).await.unwrap();
    cluster.handle(0).propose(&put("after", "x"), soon()).await.unwrap();
    assert_eq!(read(cluster.handle(joiner), "after").await.as_deref(), Some("x"));
    let first = read(cluster.handle(joiner), "k7").await.unwrap();
    assert_eq!(first.as_bytes(), vec![7; VALUE_BYTES], "what only the snapshot held");
    let view = cluster.handle(joiner).view();
    assert!(view.status.first.0 > 1, "the joiner's log must begin after the snapshot");
    // What was installed survives a restart: the log names it.
    cluster.stop_member(joiner).await;
    cluster.start_again(joiner).await.unwrap();
    assert_eq!(read(cluster.handle(joiner), "k8").await.unwrap().as_bytes(), vec![8; VALUE_BYTES]);
    cluster.stop().await;
}

/// No person may set so short a threshold (A20); the machine itself takes any.
const DEAD_THRESHOLD: Duration = Duration::from_secs(3);
/// The snapshot, of 64 MiB and more, takes longer than ten thresholds on this road.
const NARROW_BYTES_PER_SECOND: u64 = 2_000_000;

/// A18, raft-autopilot #17: a joiner that can do nothing but take a snapshot, so that the leader hears nothing of it for ten
/// dead thresholds, stays as long as bytes arrive. Once they do not, it goes.
#[tokio::test]
async fn a_joiner_that_is_heard_of_by_its_snapshot_alone_stays_while_bytes_arrive() {
    let (mut cluster, _directory) = compacted(2 * WRITES).await;
    let change = SettingsChange {
        dead_server_last_contact_threshold: Some(DEAD_THRESHOLD),
        min_quorum: Some(1),
        ..SettingsChange::default()
    };
    let command = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None };
    cluster.handle(0).propose(&Tagged { tag: None, command }, soon()).await.unwrap();
    let joiner = cluster.start_member().await.unwrap();
    let relay = Relay::to(cluster.ports(joiner).peer, NARROW_BYTES_PER_SECOND).await;
    let id = cluster.handle(joiner).view().identity.server.clone();
    let status = cluster.handle(0).status(soon()).await.unwrap();
    let add = Change::AddNonVoter {
        id: id.clone(),
        address: Address::new(&format!("127.0.0.1:{}", relay.port())).unwrap(),
        intent: Intent::Voter,
        versions: Versions::OURS,
    };
    cluster.handle(0).change_membership(status.latest.as_ref().unwrap().index, add, soon()).await.unwrap();

    let autopilot = cluster.member(0).autopilot();
    let mut rounds = autopilot.watch();
    let (mut sent, mut silence) = (0, Duration::ZERO);
    while silence <= DEAD_THRESHOLD * 10 {
        timeout(PATIENCE, rounds.changed()).await.unwrap().unwrap();
        let Some(found) = autopilot.conclusion() else { continue };
        let Some(server) = found.state.server(&id) else {
            assert_eq!(sent, 0, "removed after {sent} bytes and {silence:?}");
            continue;
        };
        assert!(!server.is_dead, "dead after {sent} bytes and {silence:?}");
        silence = if relay.is_narrow() { server.stats.last_contact.unwrap() } else { Duration::ZERO };
        if let Some(snapshot) = server.stats.snapshot {
            assert!(
                snapshot.sent_bytes >= sent && snapshot.sent_bytes <= snapshot.total_bytes,
                "{snapshot:?}"
            );
            sent = snapshot.sent_bytes;
            assert!(sent == 0 || sent < snapshot.total_bytes, "it was through after {silence:?} of silence");
        }
    }
    assert!(sent > 0);
    relay.shut();
    let is_gone = |view: &std::sync::Arc<quorate_sidecar::driver::View>| {
        !view.status.latest.as_ref().unwrap().configuration.contains(&id)
    };
    let mut view = cluster.handle(0).watch_view();
    timeout(PATIENCE, view.wait_for(is_gone)).await.expect("nothing arrives any more").unwrap();
    cluster.stop().await;
}
