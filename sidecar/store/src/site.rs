//! Where an error happened: turns what redb, the disk and the decoders say into a [`StoreError`].

use std::io;
use std::sync::Arc;

use crate::codec::record::DecodeError;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::limits::{FORMAT_VERSION, FORMAT_VERSION_OLDEST};

/// One file of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) file: String,
}

impl Site {
    pub(crate) fn new(disk: &Arc<dyn Disk>, file: impl Into<String>) -> Self {
        Self { disk: Arc::clone(disk), file: file.into() }
    }

    /// An error of redb.
    pub(crate) fn redb(&self, doing: &'static str, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Io(source) => self.io(doing, source),
            redb::Error::Corrupted(what) => self.corrupt(what),
            redb::Error::DatabaseAlreadyOpen => StoreError::Locked { directory: self.disk.location() },
            // redb's own file format: version 3 since its release 3.
            redb::Error::UpgradeRequired(found) => {
                self.corrupt(format!("redb file format {found} was never written by us"))
            }
            redb::Error::PreviousIo => StoreError::Stopped,
            other => self.corrupt(other.to_string()),
        }
    }

    /// An error of the operating system.
    pub(crate) fn io(&self, doing: &'static str, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::NoSpace { directory: self.disk.location(), doing, free: self.free() }
            }
            // What redb and the file say of bytes that cannot be a database.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => self.corrupt(source.to_string()),
            _ => StoreError::Io { directory: self.disk.location(), file: self.file.clone(), doing, source },
        }
    }

    /// Bytes that are not what was written.
    pub(crate) fn corrupt(&self, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { directory: self.disk.location(), file: self.file.clone(), what: what.into() }
    }

    /// Bytes that could not be decoded.
    pub(crate) fn decode(&self, error: DecodeError) -> StoreError {
        match error {
            DecodeError::Damaged(what) => self.corrupt(what),
            DecodeError::Version { found, .. } => self.version(u32::from(found)),
        }
    }

    /// A format this build does not read (K24).
    pub(crate) fn version(&self, found: u32) -> StoreError {
        StoreError::FormatVersion {
            directory: self.disk.location(),
            file: self.file.clone(),
            found,
            oldest: FORMAT_VERSION_OLDEST,
            newest: FORMAT_VERSION,
        }
    }

    fn free(&self) -> String {
        self.disk.space().map_or_else(|_| "unknown".to_owned(), |space| format!("{} bytes", space.free_bytes))
    }
}
