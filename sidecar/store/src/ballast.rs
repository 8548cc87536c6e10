//! Space held back on the data volume (K8): a file that is given up when the volume is all but full.
//!
//! ```text
//!   free:  0 ──── GIVEN_UP_BELOW ──────────── floor ──── floor + BALLAST ────▶
//!          given up: 64 MiB more   │ as it is       │ as it is    │ laid again
//!                    growing writes are refused ────┘
//! ```
//! What other files on the volume, or the log itself, took then leaves room for what frees space: deletes, membership,
//! compaction; and a member that ended because the volume was full can start again and do them.
//!
//! Invariants: the file holds nothing. Losing it, or finding half of it after a crash, costs nothing but the space. A
//! ballast that cannot be had (some file systems reserve nothing) is said once and never hides how full the volume is.
//! Not here: refusing growing writes, which begins far above ([`Space::is_low`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, Space};
use crate::error::StoreError;
use crate::limits::{BALLAST_BYTES, BALLAST_GIVEN_UP_BELOW_BYTES};
use crate::names::BALLAST_NAME;
use crate::site::Site;

/// The ballast of one directory.
#[derive(Debug)]
pub(crate) struct Ballast {
    disk: Arc<dyn Disk>,
    /// It could not be laid once: not tried again by this process.
    cannot_be_had: AtomicBool,
}

impl Ballast {
    pub(crate) fn new(disk: &Arc<dyn Disk>) -> Self {
        Self { disk: Arc::clone(disk), cannot_be_had: AtomicBool::new(false) }
    }

    /// Lays or gives up the ballast as the free space asks for; returns the space as it is then.
    pub(crate) fn tend(&self) -> Result<Space, StoreError> {
        let space = look(&self.disk)?;
        let is_laid = self.is_laid()?;
        if is_laid && space.free_bytes < BALLAST_GIVEN_UP_BELOW_BYTES {
            self.give_up();
        } else if !is_laid && space.free_bytes >= space.floor_bytes() + BALLAST_BYTES {
            self.lay();
        } else {
            return Ok(space);
        }
        look(&self.disk)
    }

    /// Before anything is opened: a full volume could not take what opening writes.
    pub(crate) fn give_up_if_full(&self) -> Result<(), StoreError> {
        if self.is_laid()? && look(&self.disk)?.free_bytes < BALLAST_GIVEN_UP_BELOW_BYTES {
            self.give_up();
        }
        Ok(())
    }

    fn is_laid(&self) -> Result<bool, StoreError> {
        let names = self.disk.names().map_err(|error| Site::new(&self.disk, ".").io("listing", error))?;
        Ok(names.iter().any(|name| name == BALLAST_NAME))
    }

    fn give_up(&self) {
        if let Err(error) = self.disk.remove(BALLAST_NAME) {
            tracing::warn!(%error, "the volume is all but full, and the ballast cannot be removed");
            return;
        }
        tracing::warn!("the volume is all but full: the ballast was given up");
    }

    fn lay(&self) {
        if self.cannot_be_had.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.disk.reserve(BALLAST_NAME, BALLAST_BYTES) {
            self.cannot_be_had.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "no space can be held back on the volume: once it is full, deletes may fail too");
            // Half a ballast is none; there may not even be half of it.
            let _ = self.disk.remove(BALLAST_NAME);
        }
    }
}

/// Size and free space of the volume.
pub(crate) fn look(disk: &Arc<dyn Disk>) -> Result<Space, StoreError> {
    disk.space().map_err(|error| Site::new(disk, ".").io("reading the free space", error))
}
