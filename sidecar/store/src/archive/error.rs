//! Why an archive was not taken, or not written: what is wrong, and the way out.

use std::io;

use crate::error::StoreError;

/// Nothing was changed. One variant for each thing a person can do differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Something else than an archive of ours.
    #[error(
        "this is no archive of quorate: {why}; send a file as GET /v1/snapshot or Cluster.Snapshot gave it, unchanged"
    )]
    Foreign {
        /// How that was seen.
        why: String,
    },
    /// Bytes that are not what was written.
    #[error("the archive is damaged: {what}; copy it again from where it was kept, or take another one")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The file or the upload is short.
    #[error(
        "the archive ends too early: send it again, whole; if the file itself is short, copy it again or take another one"
    )]
    Truncated,
    /// Written by a newer release (K24).
    #[error(
        "the archive has format version {found}, this build reads {oldest} to {newest}: update every member to the release that wrote it"
    )]
    Version {
        /// The version found.
        found: u32,
        /// The oldest version this build reads.
        oldest: u32,
        /// The newest version this build reads.
        newest: u32,
    },
    /// The input could not be read on, or the output not written on: whoever is at the other end is gone.
    #[error("the archive did not come through: {0}; try again")]
    Stream(#[source] io::Error),
    /// Our own disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    pub(super) fn foreign(why: impl Into<String>) -> Self {
        Self::Foreign { why: why.into() }
    }

    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}
