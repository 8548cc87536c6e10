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
//! Invariant: the file holds nothing. Losing it, or finding half of it after a crash, costs nothing but the space.
//! Not here: refusing growing writes, which begins far above ([`Space::is_low`]).

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, Space};
use crate::error::StoreError;
use crate::limits::{BALLAST_BYTES, BALLAST_GIVEN_UP_BELOW_BYTES};
use crate::names::BALLAST_NAME;
use crate::site::Site;

/// Looks at the volume's space and lays or gives up the ballast; returns the space as it is then.
pub(crate) fn tend(disk: &Arc<dyn Disk>) -> Result<Space, StoreError> {
    let space = look(disk)?;
    let is_laid = is_laid(disk)?;
    if is_laid && space.free_bytes < BALLAST_GIVEN_UP_BELOW_BYTES {
        return give_up(disk);
    }
    if !is_laid && space.free_bytes >= space.floor_bytes() + BALLAST_BYTES {
        lay(disk)?;
    }
    look(disk)
}

/// Before anything is opened: a full volume could not take what opening writes.
pub(crate) fn give_up_if_full(disk: &Arc<dyn Disk>) -> Result<(), StoreError> {
    if is_laid(disk)? && look(disk)?.free_bytes < BALLAST_GIVEN_UP_BELOW_BYTES {
        give_up(disk)?;
    }
    Ok(())
}

pub(crate) fn look(disk: &Arc<dyn Disk>) -> Result<Space, StoreError> {
    disk.space().map_err(|error| Site::new(disk, ".").io("reading the free space", error))
}

fn is_laid(disk: &Arc<dyn Disk>) -> Result<bool, StoreError> {
    let names = disk.names().map_err(|error| Site::new(disk, ".").io("listing", error))?;
    Ok(names.iter().any(|name| name == BALLAST_NAME))
}

fn give_up(disk: &Arc<dyn Disk>) -> Result<Space, StoreError> {
    let site = Site::new(disk, BALLAST_NAME);
    disk.remove(BALLAST_NAME).map_err(|error| site.io("giving up the ballast", error))?;
    let space = look(disk)?;
    tracing::warn!(free_bytes = space.free_bytes, "the volume is all but full: the ballast was given up");
    Ok(space)
}

fn lay(disk: &Arc<dyn Disk>) -> Result<(), StoreError> {
    let site = Site::new(disk, BALLAST_NAME);
    match disk.reserve(BALLAST_NAME, BALLAST_BYTES) {
        Ok(()) => Ok(()),
        // Somebody else was faster, or the file system cannot reserve: half a ballast is none.
        Err(error) if is_harmless(&error) => {
            disk.remove(BALLAST_NAME).map_err(|error| site.io("laying the ballast", error))
        }
        Err(error) => Err(site.io("laying the ballast", error)),
    }
}

fn is_harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::Unsupported
    )
}
