//! A disk that a test plays: it can say that it is full, and let snapshots stand still.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use quorate_store::{CrashDisk, DirectoryLock, Disk, DiskFile, Space};
use tokio::sync::Notify;

/// A snapshot stands still for so long at most, if nobody lets it go on.
pub(crate) const STANDS_STILL_FOR: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct PlayedDisk {
    disk: CrashDisk,
    says_full: AtomicBool,
    holds_snapshots: Mutex<bool>,
    released: Condvar,
    began: Notify,
    began_at: OnceLock<Instant>,
}

impl PlayedDisk {
    /// From now on it says that nothing is free, or what is true. What is written is taken all the same.
    pub(crate) fn say_full(&self, is_full: bool) {
        self.says_full.store(is_full, Ordering::Relaxed);
    }

    /// From now on a snapshot stands still when its file is to be made.
    pub(crate) fn hold_snapshots(&self) {
        *self.holds_snapshots.lock().unwrap() = true;
    }

    pub(crate) fn release_snapshots(&self) {
        *self.holds_snapshots.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// Waits for the first snapshot that is held; since when.
    pub(crate) async fn snapshot_began(&self) -> Instant {
        self.began.notified().await;
        *self.began_at.get().unwrap()
    }
}

impl Disk for PlayedDisk {
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
        let holds = self.holds_snapshots.lock().unwrap();
        if *holds && name.starts_with("snapshot-") {
            self.began_at.get_or_init(Instant::now);
            self.began.notify_one();
            drop(self.released.wait_timeout_while(holds, STANDS_STILL_FOR, |holds| *holds).unwrap());
        } else {
            drop(holds);
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
        let space = self.disk.space()?;
        let is_full = self.says_full.load(Ordering::Relaxed);
        Ok(if is_full { Space { free_bytes: 0, ..space } } else { space })
    }
}
