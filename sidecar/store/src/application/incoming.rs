//! A snapshot of an application on its way in: bytes into a file, a hash, a name.

use quorate_machine::{ApiIndex, ApplicationSnapshot};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::held::{ApplicationFile, ApplicationSnapshots};
use crate::disk::DiskFile;
use crate::error::StoreError;
use crate::limits::APPLICATION_SPACE_CHECK_BYTES;
use crate::names::{application_name, application_staging_name};
use crate::site::Site;
use crate::snapshot::refused;

const DOING: &str = "taking a snapshot of the application";

/// One snapshot being written. Dropping it abandons it and removes its file.
#[derive(Debug)]
pub struct IncomingSnapshot<'a> {
    snapshots: &'a ApplicationSnapshots,
    site: Site,
    file: Option<DiskFile>,
    index: ApiIndex,
    offset: u64,
    /// Where the volume's free space is looked at next.
    look_at: u64,
    hash: Sha256,
}

impl<'a> IncomingSnapshot<'a> {
    pub(super) fn begin(
        snapshots: &'a ApplicationSnapshots,
        number: u64,
        index: ApiIndex,
    ) -> Result<Self, StoreError> {
        let disk = snapshots.disk();
        let site = Site::new(disk, application_staging_name(number));
        check_space(&site)?;
        let file = disk.create(&site.file).map_err(|error| site.io(DOING, error))?;
        let look_at = APPLICATION_SPACE_CHECK_BYTES;
        Ok(Self { snapshots, site, file: Some(file), index, offset: 0, look_at, hash: Sha256::new() })
    }

    /// Takes the next bytes. A [`StoreError::NoSpace`] leaves nothing behind.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let Some(file) = &self.file else { return Err(StoreError::Stopped) };
        if self.offset >= self.look_at {
            self.look_at = self.offset + APPLICATION_SPACE_CHECK_BYTES;
            check_space(&self.site)?;
        }
        file.write(self.offset, data).map_err(|error| self.site.io(DOING, error))?;
        self.hash.update(data);
        self.offset += data.len() as u64;
        Ok(())
    }

    /// Syncs it and gives it its name. With `expected` it must be that one, else it is a [`StoreError::SnapshotRefused`],
    /// which leaves nothing behind.
    pub fn finish(
        mut self,
        expected: Option<ApplicationSnapshot>,
    ) -> Result<Arc<ApplicationFile>, StoreError> {
        let sha256 = self.hash.clone().finalize().into();
        let snapshot = ApplicationSnapshot { index: self.index, sha256, bytes: self.offset };
        if expected.is_some_and(|expected| expected != snapshot) {
            return Err(refused("it is another one than was asked for"));
        }
        if let Some(held) = self.snapshots.get(snapshot) {
            return Ok(held);
        }
        let Some(file) = self.file.take() else { return Err(StoreError::Stopped) };
        file.sync_data().map_err(|error| self.site.io(DOING, error))?;
        let disk = self.snapshots.disk();
        let site = Site::new(disk, application_name(&snapshot));
        disk.rename(&self.site.file, &site.file).map_err(|error| site.io(DOING, error))?;
        // The name is what a restart finds it by.
        disk.sync_names().map_err(|error| site.io(DOING, error))?;
        Ok(self.snapshots.hold(ApplicationFile::new(snapshot, file, site)))
    }
}

impl Drop for IncomingSnapshot<'_> {
    fn drop(&mut self) {
        // Gone already if it was renamed; if it stays, the next start removes it.
        drop(self.site.disk.remove(&self.site.file));
    }
}

fn check_space(site: &Site) -> Result<(), StoreError> {
    let space = site.disk.space().map_err(|error| site.io(DOING, error))?;
    if space.is_low() {
        return Err(site.io(DOING, std::io::ErrorKind::StorageFull.into()));
    }
    Ok(())
}
