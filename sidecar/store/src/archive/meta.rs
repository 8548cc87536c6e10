//! `meta.json`: what an archive says of itself, for people and for the check of its version.

use quorate_raft::{ClusterId, Index, LogId, Term};
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use crate::limits::{ARCHIVE_FORMAT_VERSION, ARCHIVE_FORMAT_VERSION_OLDEST};
use crate::snapshot::SnapshotHeader;

const FORMAT: &str = "quorate archive";

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveMeta {
    /// The cluster it was taken in. Another one may take it: its own ID stays.
    pub cluster_id: ClusterId,
    /// The last entry in it.
    pub last: LogId,
    /// API index = log index + this (K17).
    pub index_base: u64,
    /// The cluster's version there (K24).
    pub cluster_version: u32,
    /// The release that wrote it.
    pub written_by: String,
}

/// Read first, alone: a newer format may have other fields, and must still say which it is.
#[derive(Deserialize)]
struct Version {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Json {
    format: String,
    version: u32,
    cluster_id: String,
    term: u64,
    index: u64,
    index_base: u64,
    cluster_version: u32,
    written_by: String,
}

impl ArchiveMeta {
    /// Of the archive of a snapshot.
    pub(super) fn of(header: &SnapshotHeader, written_by: &str) -> Self {
        Self {
            cluster_id: header.cluster_id,
            last: header.last,
            index_base: header.index_base,
            cluster_version: header.configuration.configuration.version().0,
            written_by: written_by.to_owned(),
        }
    }

    /// The API index of its last entry: a restore goes on above it.
    pub fn api_index(&self) -> u64 {
        self.last.index.0.saturating_add(self.index_base)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let json = Json {
            format: FORMAT.to_owned(),
            version: ARCHIVE_FORMAT_VERSION,
            cluster_id: format!("{:032x}", self.cluster_id.0),
            term: self.last.term.0,
            index: self.last.index.0,
            index_base: self.index_base,
            cluster_version: self.cluster_version,
            written_by: self.written_by.clone(),
        };
        // Texts and numbers only: there is nothing that serialising could fail on.
        let mut bytes = serde_json::to_vec_pretty(&json).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let foreign = |error: serde_json::Error| ArchiveError::foreign(format!("its meta.json: {error}"));
        let Version { format, version } = serde_json::from_slice(bytes).map_err(foreign)?;
        if format != FORMAT {
            return Err(ArchiveError::foreign("its meta.json names another format"));
        }
        let (oldest, newest) = (ARCHIVE_FORMAT_VERSION_OLDEST, ARCHIVE_FORMAT_VERSION);
        if !(oldest..=newest).contains(&version) {
            return Err(ArchiveError::Version { found: version, oldest, newest });
        }
        let json: Json = serde_json::from_slice(bytes).map_err(foreign)?;
        let cluster_id = u128::from_str_radix(&json.cluster_id, 16)
            .map_err(|error| ArchiveError::foreign(format!("its meta.json: cluster_id: {error}")))?;
        Ok(Self {
            cluster_id: ClusterId(cluster_id),
            last: LogId::new(Term(json.term), Index(json.index)),
            index_base: json.index_base,
            cluster_version: json.cluster_version,
            written_by: json.written_by,
        })
    }
}
