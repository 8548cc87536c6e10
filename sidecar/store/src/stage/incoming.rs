//! A state on its way in: bytes into a file, checks, a name (K17).

use std::sync::Arc;

use quorate_machine::RestoreOrder;
use quorate_raft::Term;
use sha2::{Digest, Sha256};

use super::held::{StagedFile, Stages};
use crate::disk::DiskFile;
use crate::error::StoreError;
use crate::names::{staged_name, staging_name};
use crate::site::Site;
use crate::snapshot::{check, refused};

/// One staged state being written. Dropping it abandons it and removes its file.
#[derive(Debug)]
pub struct Incoming<'a> {
    stages: &'a Stages,
    site: Site,
    file: Option<DiskFile>,
    bytes: u64,
    offset: u64,
    hash: Sha256,
}

impl<'a> Incoming<'a> {
    /// Begins to take a state of so many bytes.
    ///
    /// Refused if the volume has no room for it, the state made from it, and what growing writes are kept away from (K8).
    pub(super) fn begin(stages: &'a Stages, number: u64, bytes: u64) -> Result<Self, StoreError> {
        let disk = stages.disk();
        let site = Site::new(disk, staging_name(number));
        let doing = "staging an archive";
        let space = disk.space().map_err(|error| site.io(doing, error))?;
        // The state file made from it takes about as much again, and more while it is written.
        let needed = bytes.saturating_mul(3).saturating_add(space.floor_bytes());
        if space.free_bytes < needed {
            let free = space.free_bytes;
            return Err(refused(format!(
                "its state has {bytes} bytes, restoring it needs {needed} and the volume has {free} free: grow the volume claim"
            )));
        }
        let file = disk.create(&site.file).map_err(|error| site.io(doing, error))?;
        Ok(Self { stages, site, file: Some(file), bytes, offset: 0, hash: Sha256::new() })
    }

    /// Takes the next bytes.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        if data.len() as u64 > self.bytes - self.offset {
            return Err(refused(format!("it is longer than the {} bytes announced", self.bytes)));
        }
        let Some(file) = &self.file else { return Err(StoreError::Stopped) };
        file.write(self.offset, data).map_err(|error| self.site.io("staging an archive", error))?;
        self.hash.update(data);
        self.offset += data.len() as u64;
        Ok(())
    }

    /// Checks every chunk, every row and the whole, syncs it and gives it its name; from then on it is staged, in `term`.
    ///
    /// With `expected` it must be that one. A [`StoreError::SnapshotRefused`] leaves nothing behind. Reads the whole file,
    /// so it is called off the driver's thread.
    pub fn finish(
        mut self,
        expected: Option<RestoreOrder>,
        term: Term,
    ) -> Result<Arc<StagedFile>, StoreError> {
        if self.offset < self.bytes {
            return Err(refused(format!("only {} of {} bytes came", self.offset, self.bytes)));
        }
        let order = RestoreOrder { sha256: self.hash.clone().finalize().into(), bytes: self.bytes };
        if expected.is_some_and(|expected| expected != order) {
            return Err(refused("it is another one than was asked for"));
        }
        let doing = "staging an archive";
        if let Some(staged) = self.stages.get(order, term) {
            return Ok(staged);
        }
        let Some(file) = self.file.take() else { return Err(StoreError::Stopped) };
        let header = check(&self.site, &*file, self.bytes)?;
        file.sync_data().map_err(|error| self.site.io(doing, error))?;
        let disk = self.stages.disk();
        let site = Site::new(disk, staged_name(&order.sha256, None));
        disk.rename(&self.site.file, &site.file).map_err(|error| site.io(doing, error))?;
        // K17: the name is what a restart finds it by.
        disk.sync_names().map_err(|error| site.io(doing, error))?;
        Ok(self.stages.hold(StagedFile::new(order, header, file, site), term, None))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // Gone already if it was renamed; if it stays, the next start removes it.
        drop(self.site.disk.remove(&self.site.file));
    }
}
