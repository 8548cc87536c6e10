//! The receiving side: bytes into a file, checks, a state file that waits to be named (K5).

use std::sync::Arc;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{LogId, SnapshotMeta};

use super::build::build;
use crate::directory::Directory;
use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::names::{receiving_name, restored_name, state_name};
use crate::site::Site;
use crate::state::StateFile;
use crate::watermarks::Watermarks;

/// One snapshot on its way in. Dropping it abandons the transfer and removes its file.
#[derive(Debug)]
pub struct SnapshotReceiver {
    site: Site,
    file: DiskFile,
    last: LogId,
    bytes: u64,
    offset: u64,
    watermarks: Arc<Watermarks>,
}

impl SnapshotReceiver {
    /// Begins to receive the snapshot that ends at `last` and is `bytes` long.
    ///
    /// Refused if it is no newer than our state, or the volume has no room for the file and the
    /// state made from it.
    pub fn begin(directory: &Directory, last: LogId, bytes: u64) -> Result<Self, StoreError> {
        let durable_applied = directory.watermarks().durable_applied();
        if last.index <= durable_applied {
            return Err(refused(format!("it ends at {}, our state is at {durable_applied}", last.index)));
        }
        let space = directory.space()?;
        // The state file made from it takes about as much again.
        let needed = bytes.saturating_mul(2);
        if space.free_bytes < needed {
            return Err(refused(format!(
                "it needs {needed} bytes and the volume has {} free",
                space.free_bytes
            )));
        }
        let disk = directory.disk();
        let site = Site::new(disk, receiving_name(last));
        let file = disk.create(&site.file).map_err(|error| site.io("receiving a snapshot", error))?;
        let watermarks = Arc::clone(directory.watermarks());
        Ok(Self { site, file, last, bytes, offset: 0, watermarks })
    }

    /// Whether this is the reception of the snapshot that ends at `last` and is `bytes` long: only such a one goes on
    /// with an interrupted transfer (K7).
    pub fn is_of(&self, last: LogId, bytes: u64) -> bool {
        (self.last, self.bytes) == (last, bytes) || broken(Mutant::K7Resume)
    }

    /// Where the next bytes belong: an interrupted transfer goes on from here (K7).
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether all bytes are here.
    pub fn is_complete(&self) -> bool {
        self.offset == self.bytes
    }

    /// Takes the bytes at `offset`. Bytes that are here already are passed over, a gap is refused.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let known = self.offset.checked_sub(offset).and_then(|known| usize::try_from(known).ok());
        let Some(known) = known else {
            return Err(refused(format!("bytes at {offset} came when those at {} were due", self.offset)));
        };
        let new = bytes.get(known..).unwrap_or_default();
        if new.len() as u64 > self.bytes - self.offset {
            return Err(refused(format!("it is longer than the {} bytes announced", self.bytes)));
        }
        self.file.write(self.offset, new).map_err(|error| self.site.io("receiving a snapshot", error))?;
        self.offset += new.len() as u64;
        Ok(())
    }

    /// Checks every chunk and the whole, and builds the state file; both are synced when this
    /// returns. Nothing refers to it until the log names it.
    ///
    /// A [`StoreError::SnapshotRefused`] leaves nothing behind. Reads and writes the whole state, so
    /// it is called off the driver's thread, for one snapshot at a time.
    pub fn finish(self, directory: &Directory) -> Result<SnapshotMeta, StoreError> {
        if !self.is_complete() {
            return Err(refused(format!("only {} of {} bytes came", self.offset, self.bytes)));
        }
        if let Some(meta) = directory.received().again(self.last) {
            return Ok(meta);
        }
        // Asked after that: one that became the state just now is not here any more, and its file must not be built anew.
        let durable_applied = self.watermarks.durable_applied();
        if self.last.index <= durable_applied {
            return Err(refused(format!(
                "it ends at {}, our state is at {durable_applied}",
                self.last.index
            )));
        }
        let name = state_name(self.last);
        let built =
            build(&self.site, &*self.file, self.bytes, self.last, directory.identity().cluster_id, &name);
        if built.is_err() {
            // Best effort: the error that counts is the first one, and the next start removes the file too.
            drop(self.site.disk.remove(&name));
        }
        let header = built?;
        // K5: the name must be durable before the log can refer to it.
        self.site.disk.sync_names().map_err(|error| self.site.io("receiving a snapshot", error))?;
        directory.received().add(header.meta());
        Ok(header.meta())
    }
}

impl Drop for SnapshotReceiver {
    fn drop(&mut self) {
        if let Err(error) = self.site.disk.remove(&self.site.file) {
            tracing::debug!(file = %self.site.file, %error, "a received snapshot was not removed");
        }
    }
}

impl Directory {
    /// After the commit that named it: opens the state file of the snapshot that ends at `last`, in place of
    /// `replaced`, which is closed for flushes and whose file is removed (K5).
    pub fn open_installed(&self, last: LogId, replaced: &StateFile) -> Result<StateFile, StoreError> {
        self.open_named(&state_name(last), replaced)
    }

    /// The same for any file the log names now, by that name: a snapshot's or a restore's (K17).
    pub fn open_named(&self, name: &str, replaced: &StateFile) -> Result<StateFile, StoreError> {
        let disk: &Arc<dyn Disk> = self.disk();
        let state = StateFile::open(disk, name, Arc::clone(self.watermarks()))?;
        replaced.retire();
        let site = Site::new(disk, replaced.name());
        disk.remove(replaced.name()).map_err(|error| site.io("removing the replaced state", error))?;
        let settled = self.received().settle(state.durable_applied().index);
        for superseded in settled.iter().filter(|settled| *settled != name && *settled != replaced.name()) {
            disk.remove(superseded).map_err(|error| site.io("removing a superseded snapshot", error))?;
        }
        disk.sync_names().map_err(|error| site.io("removing the replaced state", error))?;
        Ok(state)
    }

    /// The core wants the snapshot that ends at `last` as the state, and its log stays (K17): its file gets the name of a
    /// state restored there, which [`crate::Log::name_restored`] names. Synced when this returns.
    pub fn adopt_snapshot(&self, last: LogId) -> Result<(), StoreError> {
        self.received().adopt(last);
        let (before, after) = (state_name(last), restored_name(last));
        let site = Site::new(self.disk(), &*before);
        let adopting = |error| site.io("moving to a snapshot", error);
        self.disk().rename(&before, &after).map_err(adopting)?;
        self.disk().sync_names().map_err(adopting)
    }

    /// The core does not want one reception of this snapshot (N3). Its file goes unless another reception of it is wanted, or
    /// may be.
    pub fn discard_snapshot(&self, last: LogId) -> Result<(), StoreError> {
        if !self.received().discard(last) {
            return Ok(());
        }
        let name = state_name(last);
        let site = Site::new(self.disk(), &*name);
        self.disk().remove(&name).map_err(|error| site.io("removing an unwanted snapshot", error))
    }
}

pub(crate) fn refused(why: impl Into<String>) -> StoreError {
    StoreError::SnapshotRefused { why: why.into() }
}
