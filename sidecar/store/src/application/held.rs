//! The snapshots of one directory, and when each may go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quorate_machine::{ApiIndex, ApplicationSnapshot};

use super::incoming::IncomingSnapshot;
use crate::directory::Directory;
use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::limits::APPLICATION_OFFER_LIFE;
use crate::names::{application_name, parse_application};
use crate::site::Site;

/// One snapshot, whole and synced.
#[derive(Debug)]
pub struct ApplicationFile {
    snapshot: ApplicationSnapshot,
    file: DiskFile,
    site: Site,
}

/// All of one directory.
#[derive(Debug)]
pub struct ApplicationSnapshots {
    disk: Arc<dyn Disk>,
    held: Mutex<BTreeMap<ApplicationSnapshot, Held>>,
    /// How many ever came in, so that no two share a name while they do.
    begun: AtomicU64,
}

#[derive(Debug)]
struct Held {
    file: Arc<ApplicationFile>,
    since: Instant,
}

impl ApplicationFile {
    pub(super) fn new(snapshot: ApplicationSnapshot, file: DiskFile, site: Site) -> Self {
        Self { snapshot, file, site }
    }

    /// What it is.
    pub fn snapshot(&self) -> ApplicationSnapshot {
        self.snapshot
    }

    /// At most `bytes_max` bytes from `offset`; empty at the end.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, StoreError> {
        let left = usize::try_from(self.snapshot.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(bytes_max)];
        self.file
            .read(offset, &mut bytes)
            .map_err(|error| self.site.io("reading a snapshot of the application", error))?;
        Ok(bytes.into())
    }
}

impl ApplicationSnapshots {
    /// Those that an earlier process left. One that is shorter than its name says is removed: it can be had from another
    /// member.
    pub fn open(directory: &Directory) -> Result<Self, StoreError> {
        let disk = Arc::clone(directory.disk());
        let snapshots = Self { disk, held: Mutex::default(), begun: AtomicU64::new(0) };
        let site = Site::new(&snapshots.disk, ".");
        for name in snapshots.disk.names().map_err(|error| site.io("listing", error))? {
            let Some(snapshot) = parse_application(&name) else { continue };
            let site = Site::new(&snapshots.disk, &*name);
            let reading = |error| site.io("reading a snapshot of the application", error);
            let file = snapshots.disk.open(&name).map_err(reading)?;
            if file.len().map_err(reading)? == snapshot.bytes {
                drop(snapshots.hold(ApplicationFile::new(snapshot, file, site)));
            } else {
                tracing::warn!(file = name, "a snapshot of the application is not whole: it is removed");
                drop(file);
                snapshots.disk.remove(&name).map_err(reading)?;
            }
        }
        Ok(snapshots)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Begins to take a snapshot of the entry `index`.
    ///
    /// A [`StoreError::NoSpace`] if the volume is below the floor that growing writes are kept away from (K8).
    pub fn begin(&self, index: ApiIndex) -> Result<IncomingSnapshot<'_>, StoreError> {
        IncomingSnapshot::begin(self, self.begun.fetch_add(1, Ordering::Relaxed), index)
    }

    /// The file of this snapshot, if it is here.
    pub fn get(&self, snapshot: ApplicationSnapshot) -> Option<Arc<ApplicationFile>> {
        self.lock().get(&snapshot).map(|held| Arc::clone(&held.file))
    }

    /// Removes what is not needed any more beside the recorded one: what is of no later entry, and what was offered long
    /// ago and never recorded.
    pub fn sweep(&self, recorded: Option<ApplicationSnapshot>) -> Result<(), StoreError> {
        let is_done = |snapshot: &ApplicationSnapshot, held: &Held| {
            recorded != Some(*snapshot)
                && (recorded.is_some_and(|recorded| snapshot.index <= recorded.index)
                    || held.since.elapsed() >= APPLICATION_OFFER_LIFE)
        };
        let mut held = self.lock();
        let done: Vec<ApplicationSnapshot> = held
            .iter()
            .filter(|(snapshot, held)| is_done(snapshot, held))
            .map(|(snapshot, _)| *snapshot)
            .collect();
        for snapshot in &done {
            held.remove(snapshot);
            let site = Site::new(&self.disk, application_name(snapshot));
            let removed = self.disk.remove(&site.file);
            removed.map_err(|error| site.io("removing a snapshot of the application", error))?;
            tracing::info!(file = site.file, "a snapshot of the application is not needed any more");
        }
        Ok(())
    }

    pub(super) fn hold(&self, file: ApplicationFile) -> Arc<ApplicationFile> {
        let file = Arc::new(file);
        let held = Held { file: Arc::clone(&file), since: Instant::now() };
        self.lock().insert(file.snapshot, held);
        file
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ApplicationSnapshot, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
