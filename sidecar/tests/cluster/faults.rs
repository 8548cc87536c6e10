//! A disk that fails: the member ends with a clear word, and nothing acknowledged is lost.

use std::sync::Arc;
use std::time::Duration;

use quorate_machine::{Command, Tagged};
use quorate_raft::RaftId;
use quorate_sidecar::driver::{Effect, ErrorKind};
use quorate_sidecar::exit::Code;
use quorate_store::limits::FREE_BYTES_MIN;
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

/// K8: a leader with room refuses what grows while the volumes of a majority of the voters are nearly full, and says whose;
/// deletes go on. One of them with room again, so do writes.
#[tokio::test]
async fn what_grows_is_refused_while_the_volumes_of_a_majority_are_nearly_full() {
    let (mut cluster, _directory) = cluster(1).await;
    let disks = [Arc::new(CrashDisk::new()), Arc::new(CrashDisk::new())];
    for disk in &disks {
        let joiner = cluster.start_member_on(Arc::clone(disk) as Arc<dyn Disk>).await.unwrap();
        cluster.add_non_voter(joiner, soon()).await.unwrap();
    }
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    write(cluster.handle(0), "before", "x").await.unwrap();
    assert_eq!(cluster.leader(PATIENCE).await.unwrap(), 0);
    for disk in &disks {
        leave(disk, FREE_BYTES_MIN / 2);
    }
    let refused = loop {
        match write(cluster.handle(0), "grows", "x").await {
            Ok(_) => tokio::time::sleep(GLANCE).await,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.kind, refused.effect), (ErrorKind::NoSpace, Effect::NotApplied), "{refused}");
    let names = cluster.handle(0).view().low_majority.iter().map(RaftId::to_string).collect::<Vec<_>>();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(refused.message.contains(&names.join(", ")), "{refused}");
    let through = write(cluster.handle(1), "grows", "x").await.unwrap_err();
    assert_eq!(through.kind, ErrorKind::NoSpace, "through another member: {through}");
    let delete = Tagged { tag: None, command: Command::Delete { key: "before".into(), expected: None } };
    cluster.handle(0).propose(&delete, soon()).await.unwrap();
    assert_eq!(read(cluster.handle(0), "before").await, None);
    disks[1].set_capacity(None);
    while write(cluster.handle(0), "grows", "x").await.is_err() {
        tokio::time::sleep(GLANCE).await;
    }
    cluster.stop().await;
}

/// How often it is looked whether something is noticed.
const GLANCE: Duration = Duration::from_millis(20);

/// Leaves so many bytes free.
fn leave(disk: &CrashDisk, bytes: u64) {
    let space = disk.space().unwrap();
    disk.set_capacity(Some(space.total_bytes - space.free_bytes + bytes));
}
