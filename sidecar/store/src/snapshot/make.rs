//! The sending side: a snapshot is made once, and read by as many as need it (K7).

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use quorate_machine::{Base, KeyRange, Table};
use quorate_raft::{ClusterId, LogId, SnapshotMeta};
use sha2::{Digest, Sha256};

use super::format::{MAGIC, SnapshotHeader, table_number};
use crate::directory::Directory;
use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::limits::{FORMAT_VERSION, SNAPSHOT_CHUNK_BYTES};
use crate::names::snapshot_name;
use crate::site::Site;
use crate::state::{StateFile, View};

/// The snapshots of one directory that are being sent.
#[derive(Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    /// The newest one; it lives as long as somebody sends it.
    newest: Mutex<Weak<SnapshotFile>>,
    made: AtomicU64,
}

/// One materialised snapshot. The file is removed when the last receiver is done with it.
#[derive(Debug)]
pub struct SnapshotFile {
    header: SnapshotHeader,
    bytes: u64,
    file: DiskFile,
    site: Site,
}

impl Snapshots {
    /// Snapshots of this directory's state.
    pub fn new(directory: &Directory) -> Self {
        Self { disk: Arc::clone(directory.disk()), newest: Mutex::default(), made: AtomicU64::new(0) }
    }

    /// A snapshot whose last entry is at or above `at_least`: the one being sent already if it
    /// serves, else a new one from the state as it is synced now. `None` if the state is not
    /// synced that far, or no configuration was applied yet: flush, then ask again.
    ///
    /// Reads the whole state, so it is called off the driver's thread. Callers at the same time
    /// wait for one another and share the result.
    pub fn get(
        &self,
        state: &StateFile,
        cluster_id: ClusterId,
        at_least: LogId,
    ) -> Result<Option<Arc<SnapshotFile>>, StoreError> {
        // Nothing is half changed under this lock: a panic leaves the old pointer.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = newest.upgrade().filter(|file| file.header.last.index >= at_least.index) {
            return Ok(Some(shared));
        }
        let view = state.view();
        let Some(configuration) =
            view.configuration.clone().filter(|_| view.applied().index >= at_least.index)
        else {
            return Ok(None);
        };
        let header = SnapshotHeader {
            cluster_id,
            last: view.applied(),
            configuration,
            index_base: view.meta.index_base,
        };
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let file = Arc::new(make(&self.disk, header, &view, made)?);
        *newest = Arc::downgrade(&file);
        Ok(Some(file))
    }
}

impl SnapshotFile {
    /// What it stands for.
    pub fn meta(&self) -> SnapshotMeta {
        self.header.meta()
    }

    /// The file's own header.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// How long it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// At most `bytes_max` bytes from `offset`; empty at the end. A transfer resumes wherever the receiver is.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, StoreError> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(bytes_max)];
        self.file.read(offset, &mut bytes).map_err(|error| self.site.io("reading a snapshot", error))?;
        Ok(bytes.into())
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        // If this fails, the next start removes it.
        if let Err(error) = self.site.disk.remove(&self.site.file) {
            tracing::debug!(file = %self.site.file, %error, "a sent snapshot was not removed");
        }
    }
}

fn make(
    disk: &Arc<dyn Disk>,
    header: SnapshotHeader,
    view: &View,
    made: u64,
) -> Result<SnapshotFile, StoreError> {
    let name = snapshot_name(header.last, made);
    let site = Site::new(disk, name);
    let file = disk.create(&site.file).map_err(|error| site.io("making a snapshot", error))?;
    // From here on the file is removed if anything fails.
    let mut snapshot = SnapshotFile { header, bytes: 0, file, site };
    let mut sink =
        Sink { snapshot: &mut snapshot, hash: Sha256::new(), data: Vec::with_capacity(SNAPSHOT_CHUNK_BYTES) };
    sink.preamble()?;
    for table in Table::ALL {
        sink.table(view, table)?;
    }
    sink.end()?;
    Ok(snapshot)
}

/// Writes the file front to back.
struct Sink<'a> {
    snapshot: &'a mut SnapshotFile,
    hash: Sha256,
    /// Data of the chunk being filled.
    data: Vec<u8>,
}

impl Sink<'_> {
    fn preamble(&mut self) -> Result<(), StoreError> {
        let header = self.snapshot.header.encode();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&length(&header));
        bytes.extend_from_slice(&header);
        self.write(&bytes)
    }

    fn table(&mut self, view: &View, table: Table) -> Result<(), StoreError> {
        let mut result = Ok(());
        view.scan(table, &KeyRange::all(), &mut |key, value| {
            result = self.record(table, key, value);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }

    fn record(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.push(&[table_number(table)])?;
        self.push(&length(key))?;
        self.push(&length(value))?;
        self.push(key)?;
        self.push(value)
    }

    fn push(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = SNAPSHOT_CHUNK_BYTES - self.data.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.data.extend_from_slice(now);
            bytes = later;
            if self.data.len() == SNAPSHOT_CHUNK_BYTES {
                self.chunk()?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<(), StoreError> {
        let mut bytes = length(&self.data).to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&self.data).to_le_bytes());
        bytes.append(&mut self.data);
        self.write(&bytes)
    }

    fn end(mut self) -> Result<(), StoreError> {
        if !self.data.is_empty() {
            self.chunk()?;
        }
        let mut bytes = 0u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.hash.clone().finalize());
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        let at = self.snapshot.bytes;
        self.snapshot
            .file
            .write(at, bytes)
            .map_err(|error| self.snapshot.site.io("making a snapshot", error))?;
        self.snapshot.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// A length as stored. Keys and values are bounded by the size of an entry, far below 4 GiB.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}
