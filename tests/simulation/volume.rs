//! A member's volume: a [`CrashDisk`], and the process that has it open.
//!
//! Two things can end a process between any two calls of its disk:
//! ```text
//!   power is cut   the page cache is gone with it: what was not synced is lost, kept or torn, sector by sector
//!   killed         the kernel lives: everything written is still seen by the next process, synced or not
//! ```
//! After either, handles of the ended process reach nothing: what redb wants to tidy up when it is dropped is
//! not done, as it would not be done by a process that is gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_store::{Call, CrashDisk, DirectoryLock, Disk, DiskFile, Fault, Space};
use rand::rngs::SmallRng;
use redb::StorageBackend;

/// No kill is planned.
const NEVER: u64 = u64::MAX;

/// A volume. It outlives processes.
#[derive(Debug, Default)]
pub struct Volume {
    disk: CrashDisk,
    life: Arc<Life>,
}

/// The process that has the volume open.
#[derive(Debug)]
struct Life {
    /// Which process; handles of others are dead.
    generation: AtomicU64,
    /// Changing calls until it is killed.
    calls_left: AtomicU64,
    is_killed: AtomicBool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(0),
            calls_left: AtomicU64::new(NEVER),
            is_killed: AtomicBool::new(false),
        }
    }
}

impl Volume {
    /// What a process opens.
    pub fn attach(&self) -> Arc<dyn Disk> {
        Arc::new(self.attached())
    }

    fn attached(&self) -> Attached {
        let generation = self.life.generation.load(Ordering::Relaxed);
        Attached { disk: self.disk.clone(), life: Arc::clone(&self.life), generation }
    }

    /// Power fails at the `n`th call from now.
    pub fn cut_power_after(&self, n: u64) {
        self.disk.cut_power_after(n);
    }

    /// The process is killed at the `n`th call from now.
    pub fn kill_after(&self, n: u64) {
        self.life.calls_left.store(n, Ordering::Relaxed);
    }

    /// The `n`th call of a kind from now fails, once.
    pub fn fail_after(&self, call: Call, n: u64, fault: Fault) {
        self.disk.fail_after(call, n, fault);
    }

    /// Leaves so much room on the volume, or as much as one likes.
    pub fn set_room(&self, bytes: Option<u64>) {
        let used = self.disk.space().map_or(0, |space| space.total_bytes - space.free_bytes);
        self.disk.set_capacity(bytes.map(|bytes| used + bytes));
    }

    /// Whether power has failed.
    pub fn is_without_power(&self) -> bool {
        self.disk.is_dead()
    }

    /// Whether the process was killed.
    pub fn is_killed(&self) -> bool {
        self.life.is_killed.load(Ordering::Relaxed)
    }

    /// The process ends here and now, by whatever cause: its handles are dead.
    pub fn detach(&self) {
        self.life.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// What the loss of power does to what was not synced.
    pub fn lose_power(&self, rng: &mut SmallRng) {
        self.detach();
        self.disk.crash(rng);
    }

    /// Ready for the next process: no kill is planned any more.
    pub fn revive(&self) {
        self.life.calls_left.store(NEVER, Ordering::Relaxed);
        self.life.is_killed.store(false, Ordering::Relaxed);
    }
}

impl Life {
    fn check(&self, generation: u64) -> io::Result<()> {
        if self.generation.load(Ordering::Relaxed) == generation {
            Ok(())
        } else {
            Err(io::Error::other("this process is gone"))
        }
    }

    /// A call that changes something.
    fn spend(&self, generation: u64) -> io::Result<()> {
        self.check(generation)?;
        match self.calls_left.load(Ordering::Relaxed) {
            NEVER => Ok(()),
            0 => {
                self.is_killed.store(true, Ordering::Relaxed);
                self.generation.fetch_add(1, Ordering::Relaxed);
                Err(io::Error::other("this process was killed"))
            }
            left => {
                self.calls_left.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// The volume as one process has it open.
#[derive(Debug)]
struct Attached {
    disk: CrashDisk,
    life: Arc<Life>,
    generation: u64,
}

impl Attached {
    fn file(&self, file: DiskFile) -> DiskFile {
        Box::new(File { under: file, life: Arc::clone(&self.life), generation: self.generation })
    }

    fn spend(&self) -> io::Result<()> {
        self.life.spend(self.generation)
    }
}

impl Disk for Attached {
    fn location(&self) -> String {
        self.disk.location()
    }

    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        self.life.check(self.generation)?;
        self.disk.lock()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.life.check(self.generation)?;
        self.disk.names()
    }

    fn open(&self, name: &str) -> io::Result<DiskFile> {
        self.life.check(self.generation)?;
        Ok(self.file(self.disk.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<DiskFile> {
        self.spend()?;
        Ok(self.file(self.disk.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.spend()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.spend()?;
        self.disk.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.spend()?;
        self.disk.sync_names()
    }

    fn settle(&self) -> io::Result<()> {
        self.spend()?;
        self.disk.settle()
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}

/// One open file of it.
#[derive(Debug)]
struct File {
    under: DiskFile,
    life: Arc<Life>,
    generation: u64,
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        self.life.check(self.generation)?;
        self.under.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.life.check(self.generation)?;
        self.under.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.life.spend(self.generation)?;
        self.under.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.life.spend(self.generation)?;
        self.under.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.life.spend(self.generation)?;
        self.under.write(offset, data)
    }
}
