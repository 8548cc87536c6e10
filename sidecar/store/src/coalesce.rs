//! A backend that holds page writes back and merges neighbours just before the sync.
//!
//! redb writes a commit page by page, in no particular order. Here they wait in a map ordered by
//! offset; `sync_data` writes each run of adjacent pages with one call, then syncs once:
//!
//! ```text
//!   write 8, write 4, write 12, write 40      held:  [4..16) [40..44)
//!   sync                                      2 writes, 1 fdatasync
//! ```
//!
//! Invariant: held writes never overlap. What would overlap, and a read of held bytes, writes
//! everything held out first; so a reader never sees older bytes than it wrote.
//! Not here: any promise before the sync. Losing held writes is what a power loss does anyway.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use crate::disk::DiskFile;
use crate::limits::COALESCE_BYTES_MAX;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Coalescing {
    file: DiskFile,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Start offset to bytes; ranges never overlap.
    writes: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Coalescing {
    /// Wraps a file.
    pub(crate) fn new(file: DiskFile) -> Self {
        Self { file, held: Mutex::default() }
    }

    /// A panic elsewhere leaves the map whole: it is changed by single calls only.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_out(&self, held: &mut Held) -> io::Result<()> {
        // Taken out first: after an error the whole process stops, so nothing is tried twice.
        held.bytes = 0;
        let mut run: Option<(u64, Vec<u8>)> = None;
        for (offset, bytes) in std::mem::take(&mut held.writes) {
            match &mut run {
                Some((start, merged)) if *start + merged.len() as u64 == offset => {
                    merged.extend_from_slice(&bytes);
                }
                _ => {
                    if let Some((start, merged)) = run.replace((offset, bytes)) {
                        self.file.write(start, &merged)?;
                    }
                }
            }
        }
        run.map_or(Ok(()), |(start, merged)| self.file.write(start, &merged))
    }
}

impl Held {
    fn overlaps(&self, offset: u64, len: usize) -> bool {
        let end = offset + len as u64;
        // Ranges never overlap each other, so the last one that starts before `end` reaches furthest.
        self.writes.range(..end).next_back().is_some_and(|(start, bytes)| start + bytes.len() as u64 > offset)
    }

    fn hold(&mut self, offset: u64, data: &[u8]) {
        self.bytes += data.len();
        self.writes.insert(offset, data.to_vec());
    }
}

impl StorageBackend for Coalescing {
    fn len(&self) -> io::Result<u64> {
        // redb sets the length before it writes beyond it, so held writes never lengthen the file.
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut held = self.held();
        if held.overlaps(offset, out.len()) {
            self.write_out(&mut held)?;
        }
        // The lock is kept: a concurrent write must not fall between the check and the read.
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut held = self.held();
        self.write_out(&mut held)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut held = self.held();
        self.write_out(&mut held)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut held = self.held();
        if let Some(same) = held.writes.get_mut(&offset).filter(|same| same.len() == data.len()) {
            same.copy_from_slice(data);
            return Ok(());
        }
        if held.overlaps(offset, data.len()) || held.bytes + data.len() > COALESCE_BYTES_MAX {
            self.write_out(&mut held)?;
        }
        held.hold(offset, data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        let mut held = self.held();
        let written = self.write_out(&mut held);
        // Locks are released even if the last writes failed: nothing was promised for them.
        self.file.close().and(written)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash_disk::{Call, CrashDisk};
    use crate::disk::Disk;

    fn coalescing(disk: &CrashDisk) -> Coalescing {
        let file = Coalescing::new(disk.create("f").unwrap());
        file.set_len(64).unwrap();
        file
    }

    /// Adjacent pages reach the file in one write, just before the one sync.
    #[test]
    fn adjacent_writes_are_merged_before_the_sync() {
        let disk = CrashDisk::new();
        let file = coalescing(&disk);
        let before = (disk.count(Call::Write), disk.count(Call::Sync));
        for offset in [8u64, 4, 12, 40] {
            file.write(offset, &[u8::try_from(offset).unwrap(); 4]).unwrap();
        }
        assert_eq!(disk.count(Call::Write), before.0, "nothing is written before the sync");
        file.sync_data().unwrap();
        assert_eq!(disk.count(Call::Write), before.0 + 2);
        assert_eq!(disk.count(Call::Sync), before.1 + 1);
        let mut out = [0; 12];
        file.read(4, &mut out).unwrap();
        assert_eq!(out, [4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]);
    }

    /// A read of held bytes, and a write that overlaps held ones, see the newest bytes.
    #[test]
    fn reads_see_held_writes_and_later_writes_win() {
        let disk = CrashDisk::new();
        let file = coalescing(&disk);
        file.write(0, &[1; 8]).unwrap();
        file.write(0, &[2; 8]).unwrap();
        file.write(4, &[3; 8]).unwrap();
        let mut out = [0; 12];
        file.read(0, &mut out).unwrap();
        assert_eq!(out, [2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]);
    }
}
