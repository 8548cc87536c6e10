//! A data directory in memory that loses power, fills up and fails on command.
//!
//! The whole store runs on it, redb included, in tests and in the simulator. It is stricter than
//! most disks: what was not synced is lost, kept, or torn sector by sector, names not synced are rolled
//! back, and after a failed sync the pages count as clean.
//!
//! ```text
//!   write, rename, …   ──▶ live image     (what reads see)
//!   sync               ──▶ durable image  (what a crash leaves)
//!   cut power at call n: that call and all later ones fail, as if the process had died there
//!   crash(rng)         ──▶ live = durable + a random part of what was not synced; locks are free
//! ```
//!
//! Invariant: handles opened before a crash never touch the disk again.
//! All randomness comes from the generator handed in, so that any run replays.

mod file;
mod image;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::disk::{DirectoryLock, Disk, DiskFile, Space};
use file::MemoryFile;
use image::{Image, Survival};

/// Kinds of calls that are counted and can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A file's bytes are written.
    Write,
    /// A file's length is changed.
    SetLen,
    /// A file is synced.
    Sync,
    /// A name is created, changed or removed.
    Names,
    /// Names are synced.
    SyncNames,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space left on the device.
    NoSpace,
    /// The device reports an error.
    Io,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::Error::from(io::ErrorKind::StorageFull),
            Self::Io => io::Error::other("injected I/O error"),
        }
    }
}

/// A data directory in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct CrashDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, Image>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Names after each change since the last sync of names; a crash keeps one of these states.
    unsynced_names: Vec<BTreeMap<String, u64>>,
    file_last: u64,
    /// Grows with every crash; older handles are dead.
    generation: u64,
    locked: bool,
    calls: BTreeMap<Call, u64>,
    power_cut_at: Option<u64>,
    fault: Option<(Call, u64, Fault)>,
    capacity_bytes: Option<u64>,
}

/// Capacity when none was set.
const CAPACITY_DEFAULT_BYTES: u64 = 64 * 1024 * 1024 * 1024;

impl CrashDisk {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls of one kind since the beginning.
    pub fn count(&self, call: Call) -> u64 {
        self.inner().calls.get(&call).copied().unwrap_or(0)
    }

    /// All counted calls since the beginning: where power can be cut.
    pub fn calls(&self) -> u64 {
        self.inner().calls.values().sum()
    }

    /// Cuts power at the `n`th counted call from now (0 = the next one). Only [`CrashDisk::crash`] ends it.
    pub fn cut_power_after(&self, n: u64) {
        let now = self.calls();
        self.inner().power_cut_at = Some(now + n);
    }

    /// Whether the power has been cut.
    pub fn is_dead(&self) -> bool {
        self.inner().is_dead()
    }

    /// Makes the `n`th call of a kind from now fail (0 = the next one), once.
    pub fn fail_after(&self, call: Call, n: u64, fault: Fault) {
        let now = self.count(call);
        self.inner().fault = Some((call, now + n, fault));
    }

    /// Limits the sum of all files' lengths; beyond it calls fail with [`Fault::NoSpace`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity_bytes = bytes;
    }

    /// Loses power (or ends a power cut): unsynced changes are kept or lost by `rng`, locks are free,
    /// old handles are dead, faults are cleared.
    pub fn crash(&self, rng: &mut SmallRng) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        for image in inner.files.values_mut() {
            let survival = match rng.random_range(0..4) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                _ => Survival::SomeSectors,
            };
            image.crash(survival, rng);
        }
        let states = std::mem::take(&mut inner.unsynced_names);
        let kept = rng.random_range(0..=states.len());
        if kept > 0 {
            inner.durable_names.clone_from(&states[kept - 1]);
        }
        inner.names.clone_from(&inner.durable_names);
        let names = &inner.names;
        inner.files.retain(|id, _| names.values().any(|named| named == id));
        inner.generation += 1;
        inner.locked = false;
        inner.power_cut_at = None;
        inner.fault = None;
    }

    /// The live bytes of a file, if there is one of that name.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        Some(inner.files.get(inner.names.get(name)?)?.live.clone())
    }

    /// Turns over a bit of a file, durably, as a decaying disk does.
    pub fn flip_bit(&self, name: &str, offset: usize) {
        let mut inner = self.inner();
        if let Some(id) = inner.names.get(name).copied()
            && let Some(image) = inner.files.get_mut(&id)
        {
            image.flip_bit(offset);
        }
    }

    /// A panic in a test elsewhere does not make the images unusable.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, inner: &Inner, id: u64) -> DiskFile {
        Box::new(MemoryFile { disk: self.clone(), id, generation: inner.generation })
    }
}

impl Inner {
    /// Counts a call; an error if it is the one to fail, or power is cut.
    fn call(&mut self, call: Call) -> io::Result<()> {
        let total: u64 = self.calls.values().sum();
        let count = self.calls.entry(call).or_default();
        let this = *count;
        *count += 1;
        if self.power_cut_at.is_some_and(|at| total >= at) {
            return Err(io::Error::other("power is cut"));
        }
        match self.fault {
            Some((failing, at, fault)) if failing == call && at == this => {
                self.fault = None;
                Err(fault.error())
            }
            _ => Ok(()),
        }
    }

    fn is_dead(&self) -> bool {
        self.power_cut_at.is_some_and(|at| self.calls.values().sum::<u64>() > at)
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|image| image.live.len() as u64).sum()
    }

    fn fits(&self, id: u64, len: usize) -> io::Result<()> {
        let own = self.files.get(&id).map_or(0, |image| image.live.len());
        let more = (len as u64).saturating_sub(own as u64);
        match self.capacity_bytes {
            Some(capacity) if more > 0 && self.used_bytes() + more > capacity => Err(Fault::NoSpace.error()),
            _ => Ok(()),
        }
    }

    fn change_names(&mut self, change: impl FnOnce(&mut BTreeMap<String, u64>)) {
        change(&mut self.names);
        self.unsynced_names.push(self.names.clone());
    }

    fn named(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// Frees the lock, unless the directory crashed meanwhile and someone else may have it.
#[derive(Debug)]
struct Lock {
    disk: CrashDisk,
    generation: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut inner = self.disk.inner();
        if inner.generation == self.generation {
            inner.locked = false;
        }
    }
}

impl Disk for CrashDisk {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        let mut inner = self.inner();
        if std::mem::replace(&mut inner.locked, true) {
            return Ok(None);
        }
        Ok(Some(DirectoryLock::new(Lock { disk: self.clone(), generation: inner.generation })))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<DiskFile> {
        let inner = self.inner();
        let id = inner.named(name)?;
        Ok(self.handle(&inner, id))
    }

    fn create(&self, name: &str) -> io::Result<DiskFile> {
        let mut inner = self.inner();
        inner.call(Call::Names)?;
        if let Some(id) = inner.names.get(name).copied() {
            if let Some(image) = inner.files.get_mut(&id) {
                image.set_len(0);
            }
            return Ok(self.handle(&inner, id));
        }
        inner.file_last += 1;
        let id = inner.file_last;
        inner.files.insert(id, Image::default());
        inner.change_names(|names| {
            names.insert(name.to_owned(), id);
        });
        Ok(self.handle(&inner, id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call(Call::Names)?;
        let id = inner.named(from)?;
        inner.change_names(|names| {
            names.remove(from);
            names.insert(to.to_owned(), id);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call(Call::Names)?;
        inner.named(name)?;
        inner.change_names(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call(Call::SyncNames)?;
        inner.durable_names = inner.names.clone();
        inner.unsynced_names.clear();
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        for name in self.names()? {
            self.open(&name)?.sync_data()?;
            let mut inner = self.inner();
            let id = inner.named(&name)?;
            inner.files.entry(id).and_modify(Image::forget);
        }
        self.sync_names()
    }

    fn space(&self) -> io::Result<Space> {
        let inner = self.inner();
        let total_bytes = inner.capacity_bytes.unwrap_or(CAPACITY_DEFAULT_BYTES);
        Ok(Space { total_bytes, free_bytes: total_bytes.saturating_sub(inner.used_bytes()) })
    }
}
