//! The files of one data directory, abstracted just enough to live in memory.
//!
//! A [`Disk`] is a flat set of named files. Each file is a [`redb::StorageBackend`], so that redb's
//! files and snapshot files are the same kind of thing and meet the same faults in tests:
//! [`crate::OsDisk`] is a real directory, [`crate::CrashDisk`] one that can lose power.
//!
//! Promise asked of an implementation: what was written to a file survives once its `sync_data`
//! returned, and names survive once [`Disk::sync_names`] returned. Nothing else is assumed: what reads show may be in
//! memory only, and may never reach the volume once a sync has failed, so a start begins with [`Disk::settle`].

use std::any::Any;
use std::fmt::Debug;
use std::io;

use quorate_mutants::{Mutant, broken};
use redb::StorageBackend;

use crate::limits::{FREE_BYTES_MIN, FREE_PERCENT_MIN};

/// A file of a [`Disk`], with its implementation hidden.
pub type DiskFile = Box<dyn StorageBackend>;

/// Holds the directory for this process until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _guard: Box<dyn Guard>,
}

/// What a [`DirectoryLock`] may hold.
trait Guard: Any + Debug + Send + Sync {}
impl<T: Any + Debug + Send + Sync> Guard for T {}

impl DirectoryLock {
    /// Wraps whatever releases the lock when it is dropped.
    pub fn new(guard: impl Any + Debug + Send + Sync) -> Self {
        Self { _guard: Box::new(guard) }
    }
}

/// One data directory: a flat set of named files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Where this is, for messages.
    fn location(&self) -> String;
    /// Takes the directory for this process; `None` if another one has it.
    fn lock(&self) -> io::Result<Option<DirectoryLock>>;
    /// Names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<DiskFile>;
    /// Creates a file, emptying one that exists.
    fn create(&self, name: &str) -> io::Result<DiskFile>;
    /// Renames a file, replacing what had the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Makes what is read next the same as what a power loss would leave: what an earlier process wrote is synced, and
    /// what it failed to sync is forgotten.
    fn settle(&self) -> io::Result<()>;
    /// Size and free space of the volume.
    fn space(&self) -> io::Result<Space>;
    /// Creates a file that takes so much of the volume; fails where that cannot be had without writing it.
    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.create(name)?.set_len(bytes)
    }
}

/// Size and free space of the data volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the volume.
    pub total_bytes: u64,
    /// What this process may still write.
    pub free_bytes: u64,
}

impl Space {
    /// Whether growing writes should be refused: less than max(5 %, 256 MiB) is free (K8).
    pub fn is_low(self) -> bool {
        self.free_bytes < self.floor_bytes()
    }

    /// The free space below which growing writes are refused (K8).
    pub fn floor_bytes(self) -> u64 {
        let part_bytes = self.total_bytes / 100 * FREE_PERCENT_MIN;
        if broken(Mutant::K8) { part_bytes } else { FREE_BYTES_MIN.max(part_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    /// K8: the floor is the larger of 256 MiB and 5 %.
    #[test]
    fn space_is_low_below_the_larger_of_256_mib_and_5_percent() {
        let small = Space { total_bytes: GIB, free_bytes: 256 * 1024 * 1024 };
        assert!(!small.is_low());
        assert!(Space { free_bytes: small.free_bytes - 1, ..small }.is_low());
        let large = Space { total_bytes: 100 * GIB, free_bytes: 6 * GIB };
        assert!(!large.is_low());
        assert!(Space { free_bytes: 4 * GIB, ..large }.is_low());
    }
}
