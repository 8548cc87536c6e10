//! Members that the log can't help any more.

use quorate_raft::Settings;
use quorate_sidecar::dev::{Cluster, ClusterOptions};

use crate::{PATIENCE, put, read, soon};

/// Larger than a memtable (32 MiB), so that the machine flushes and the log forgets.
const WRITES: usize = 90;
const VALUE_BYTES: usize = 480 * 1024;

/// K5, K7: after compaction a joiner gets the state as a snapshot, and then the log.
#[tokio::test]
async fn a_member_that_joins_after_compaction_gets_a_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let raft = Settings { retention_bytes: 64 * 1024, retention_bytes_max: 64 * 1024, ..Settings::default() };
    let options = ClusterOptions { raft, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(1, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    for number in 0..WRITES {
        let value = vec![u8::try_from(number).unwrap(); VALUE_BYTES];
        cluster.handle(0).propose(&put(&format!("k{number}"), value), soon()).await.unwrap();
    }
    cluster
        .wait_until("the log forgot its beginning", PATIENCE, |view| view.status.first.0 > 1)
        .await
        .unwrap();
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
