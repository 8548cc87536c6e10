//! A disk that fails: the member ends with a clear word, and nothing acknowledged is lost.

use std::sync::Arc;

use quorate_sidecar::exit::Code;
use quorate_store::{CrashDisk, Disk};

use crate::{PATIENCE, cluster, put, read, soon, write};

/// K8, K39: a full volume ends the process with exit code 74; the cluster goes on, and the member comes
/// back with everything once there is room.
#[tokio::test]
async fn a_full_disk_ends_the_member_with_code_74_and_loses_nothing_acknowledged() {
    let (mut cluster, _directory) = cluster(3).await;
    let disk = Arc::new(CrashDisk::new());
    let joiner = cluster.start_member_on(Arc::clone(&disk) as Arc<dyn Disk>).await.unwrap();
    cluster.add_non_voter(joiner, soon()).await.unwrap();
    write(cluster.handle(joiner), "before", "x").await.unwrap();
    let space = disk.space().unwrap();
    disk.set_capacity(Some(space.total_bytes - space.free_bytes + 256 * 1024));
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let mut acknowledged = Vec::new();
    let failure = loop {
        let key = format!("k{}", acknowledged.len());
        cluster.handle(leader).propose(&put(&key, vec![b'x'; 64 * 1024]), soon()).await.unwrap();
        acknowledged.push(key);
        tokio::select! {
            biased;
            failure = cluster.member(joiner).failed() => break failure,
            () = tokio::task::yield_now() => assert!(acknowledged.len() < 10_000, "the disk never got full"),
        }
    };
    assert_eq!(failure.code, Code::Io);
    assert_eq!(failure.code.number(), 74);
    assert!(failure.message.contains("no space"), "{failure}");
    cluster.abort_member(joiner).await;
    disk.set_capacity(None);
    cluster.start_again(joiner).await.unwrap();
    assert_eq!(read(cluster.handle(joiner), "before").await.as_deref(), Some("x"));
    for key in acknowledged {
        assert!(read(cluster.handle(joiner), &key).await.is_some(), "{key}");
    }
    cluster.stop().await;
}
