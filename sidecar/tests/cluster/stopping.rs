//! Stopping: leadership goes first, then the process, soon.

use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use quorate_api::v1::SnapshotRequest;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_store::{CrashDisk, DirectoryLock, Disk, DiskFile, Space};
use tokio::sync::Notify;

use crate::{PATIENCE, cluster, soon, write};

/// A snapshot stands still for so long at most, if nobody lets it go on.
const STUCK_FOR: Duration = Duration::from_secs(20);
/// The promise is one second (raft.md §7, 22); this allows for a busy machine, and is far below the former.
const STOPPED_WITHIN: Duration = Duration::from_secs(8);

/// A disk on which every snapshot stands still at its beginning.
#[derive(Debug)]
struct StuckDisk {
    disk: CrashDisk,
    began: Notify,
    began_at: OnceLock<Instant>,
    goes_on: Mutex<bool>,
    change: Condvar,
}

impl StuckDisk {
    fn new() -> Self {
        Self {
            disk: CrashDisk::new(),
            began: Notify::new(),
            began_at: OnceLock::new(),
            goes_on: Mutex::new(false),
            change: Condvar::new(),
        }
    }

    fn stand_still(&self) {
        self.began_at.get_or_init(Instant::now);
        self.began.notify_one();
        let goes_on = self.goes_on.lock().unwrap();
        drop(self.change.wait_timeout_while(goes_on, STUCK_FOR, |goes_on| !*goes_on).unwrap());
    }

    fn let_go_on(&self) {
        *self.goes_on.lock().unwrap() = true;
        self.change.notify_all();
    }
}

impl Disk for StuckDisk {
    fn location(&self) -> String {
        self.disk.location()
    }
    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        self.disk.lock()
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names()
    }
    fn open(&self, name: &str) -> io::Result<DiskFile> {
        self.disk.open(name)
    }
    fn create(&self, name: &str) -> io::Result<DiskFile> {
        if name.starts_with("snapshot-") {
            self.stand_still();
        }
        self.disk.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }
    fn settle(&self) -> io::Result<()> {
        self.disk.settle()
    }
    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}

/// B2: a snapshot that is being made, however long that takes, holds up no stop.
#[tokio::test]
async fn a_member_whose_snapshot_stands_still_is_stopped_as_soon_as_any_other() {
    let (mut cluster, _directory) = cluster(1).await;
    let disk = Arc::new(StuckDisk::new());
    let member = cluster.start_member_on(Arc::clone(&disk) as Arc<dyn Disk>).await.unwrap();
    cluster.add_non_voter(member, soon()).await.unwrap();
    write(cluster.handle(0), "k", "x").await.unwrap();
    let address = format!("http://127.0.0.1:{}", cluster.ports(member).grpc);
    let mut client = ClusterClient::connect(address).await.unwrap();
    let saving = tokio::spawn(async move { client.snapshot(SnapshotRequest { is_stale: false }).await });
    tokio::time::timeout(PATIENCE, disk.began.notified()).await.expect("no snapshot is being made");
    cluster.stop_member(member).await;
    let took = disk.began_at.get().unwrap().elapsed();
    disk.let_go_on();
    assert!(
        took < STOPPED_WITHIN,
        "it took {took:?} from the beginning of the snapshot to the end of the member"
    );
    drop(saving.await);
    cluster.stop().await;
}

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
