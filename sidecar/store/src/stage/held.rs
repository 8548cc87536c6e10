//! The staged files of one directory, and when each may go (K17).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_machine::RestoreOrder;
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, LogId, Term};

use super::incoming::Incoming;
use crate::directory::Directory;
use crate::disk::{Disk, DiskFile};
use crate::error::StoreError;
use crate::names::{parse_staged, staged_name};
use crate::site::Site;
use crate::snapshot::{SnapshotHeader, check};

/// One staged state, whole and synced.
#[derive(Debug)]
pub struct StagedFile {
    order: RestoreOrder,
    header: SnapshotHeader,
    file: DiskFile,
    site: Site,
}

/// All of one directory.
#[derive(Debug)]
pub struct Stages {
    disk: Arc<dyn Disk>,
    held: Mutex<BTreeMap<[u8; 32], Held>>,
    /// How many ever came in, so that no two share a name while they do.
    begun: AtomicU64,
}

#[derive(Debug)]
struct Held {
    file: Arc<StagedFile>,
    /// The latest term in which it may have been proposed.
    term: Term,
    /// The entry that was seen to name it.
    entry: Option<Index>,
}

impl StagedFile {
    pub(super) fn new(order: RestoreOrder, header: SnapshotHeader, file: DiskFile, site: Site) -> Self {
        Self { order, header, file, site }
    }

    /// What an entry calls it.
    pub fn order(&self) -> RestoreOrder {
        self.order
    }

    /// What it says of itself.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// At most `bytes_max` bytes from `offset`; empty at the end. For members that do not have it.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, StoreError> {
        let left = usize::try_from(self.order.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(bytes_max)];
        self.file
            .read(offset, &mut bytes)
            .map_err(|error| self.site.io("reading a staged archive", error))?;
        Ok(bytes.into())
    }

    pub(super) fn file(&self) -> &DiskFile {
        &self.file
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }
}

impl Stages {
    /// Those that an earlier process left; `term` is the one stored in the log. A file that is not what its name says is
    /// removed: it can be had from another member.
    pub fn open(directory: &Directory, term: Term) -> Result<Self, StoreError> {
        let disk = Arc::clone(directory.disk());
        let stages = Self { disk, held: Mutex::default(), begun: AtomicU64::new(0) };
        let site = Site::new(&stages.disk, ".");
        for name in stages.disk.names().map_err(|error| site.io("listing", error))? {
            let Some((sha256, entry)) = parse_staged(&name) else { continue };
            let site = Site::new(&stages.disk, &*name);
            let reading = |error| site.io("reading a staged archive", error);
            let file = stages.disk.open(&name).map_err(reading)?;
            let bytes = file.len().map_err(reading)?;
            match check(&site, &*file, bytes) {
                Ok(header) => {
                    let order = RestoreOrder { sha256, bytes };
                    drop(stages.hold(StagedFile::new(order, header, file, site), term, entry));
                }
                Err(error) if error.is_refusal() => {
                    tracing::warn!(file = name, %error, "a staged archive is removed");
                    drop(file);
                    stages.disk.remove(&name).map_err(reading)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(stages)
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Begins to take a state of so many bytes; it becomes a staged one with [`Incoming::finish`].
    pub fn begin(&self, bytes: u64) -> Result<Incoming<'_>, StoreError> {
        Incoming::begin(self, self.begun.fetch_add(1, Ordering::Relaxed), bytes)
    }

    /// The staged file of this order, kept from now on for a proposal in `term`.
    pub fn get(&self, order: RestoreOrder, term: Term) -> Option<Arc<StagedFile>> {
        let mut held = self.lock();
        let found = held.get_mut(&order.sha256).filter(|found| found.file.order == order)?;
        found.term = found.term.max(term);
        Some(Arc::clone(&found.file))
    }

    /// A committed entry names it: it stays while the log has that entry, for members that have yet to get it, whatever
    /// restarts in between. Synced when this returns.
    pub fn named_by(&self, order: RestoreOrder, entry: Index) -> Result<(), StoreError> {
        let mut held = self.lock();
        let Some(found) = held.get_mut(&order.sha256).filter(|found| found.entry < Some(entry)) else {
            return Ok(());
        };
        let doing = "keeping a staged archive";
        let (before, after) =
            (staged_name(&order.sha256, found.entry), staged_name(&order.sha256, Some(entry)));
        let site = Site::new(&self.disk, &*before);
        self.disk.rename(&before, &after).map_err(|error| site.io(doing, error))?;
        found.entry = Some(entry);
        self.disk.sync_names().map_err(|error| site.io(doing, error))
    }

    /// Removes what no entry can name any more, given how far the state is synced and where the log begins.
    ///
    /// A proposal stands in the log with the term it was staged for. Once an entry of a later term is applied and synced,
    /// it was applied before that, or is in no log that counts; applied, it stays until the log has forgotten its entry.
    pub fn sweep(&self, durable_applied: LogId, first: Index) -> Result<(), StoreError> {
        let is_done = |held: &Held| match held.entry {
            Some(entry) => entry <= durable_applied.index && entry < first,
            None => held.term < durable_applied.term,
        };
        let mut held = self.lock();
        let done: Vec<[u8; 32]> = held
            .iter()
            .filter(|(_, held)| is_done(held) || broken(Mutant::K17Staged))
            .map(|(sha256, _)| *sha256)
            .collect();
        for sha256 in &done {
            let Some(Held { entry, .. }) = held.remove(sha256) else { continue };
            let site = Site::new(&self.disk, staged_name(sha256, entry));
            self.disk.remove(&site.file).map_err(|error| site.io("removing a staged archive", error))?;
            tracing::info!(file = site.file, "a staged archive is not needed any more");
        }
        Ok(())
    }

    pub(super) fn hold(&self, file: StagedFile, term: Term, entry: Option<Index>) -> Arc<StagedFile> {
        let file = Arc::new(file);
        self.lock().insert(file.order.sha256, Held { file: Arc::clone(&file), term, entry });
        file
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
