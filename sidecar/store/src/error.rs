//! What can go wrong in the store, and what the process should do about it.
//!
//! Every variant is one thing a caller can do differently; [`StoreError::exit_code`] is the process's
//! exit code (K39). No-space, a newer format and a second process are never taken for corruption (K8).

use std::io;

use quorate_raft::{Index, RaftId, RecoveryEpoch};

/// Exit code: data on disk is damaged. The operator may replace this member (K39).
pub const EXIT_CORRUPT: u8 = 65;
/// Exit code: the data can't be used now, though nothing is known to be wrong with it.
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Exit code: the data directory can't be created.
pub const EXIT_CANNOT_CREATE: u8 = 73;
/// Exit code: an I/O error, or no space left.
pub const EXIT_IO: u8 = 74;
/// Exit code: this volume belongs to another member, or to a time before a recovery (K39, K18).
pub const EXIT_WRONG_IDENTITY: u8 = 78;

/// An error of the store. All but [`StoreError::FlushAheadOfLog`] and the refusals of a snapshot
/// that is being received end the process: a storage error is never retried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The volume is full. Nothing acknowledged is lost.
    #[error(
        "no space left in {directory} while {doing} ({free} free): grow the volume claim or remove what else is on the volume, \
         then start again; nothing acknowledged was lost"
    )]
    NoSpace {
        /// The data directory.
        directory: String,
        /// What was being done, as a gerund.
        doing: &'static str,
        /// Free space when the error was met, with its unit, or `unknown`.
        free: String,
    },
    /// The operating system reported an error.
    #[error(
        "{doing} failed on {directory}/{file}: {source}; look at the volume and the node's kernel log, then start again; \
         nothing acknowledged was lost"
    )]
    Io {
        /// The data directory.
        directory: String,
        /// File inside the data directory, or `.`.
        file: String,
        /// What was being done, as a gerund.
        doing: &'static str,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// Bytes on disk are not what was written.
    #[error(
        "{directory}/{file} is damaged: {what}; do not start this member from this volume again: replace the member so that it \
         rejoins empty under a new Raft ID, and keep the volume for examination"
    )]
    Corrupt {
        /// The data directory.
        directory: String,
        /// File inside the data directory.
        file: String,
        /// What was found.
        what: String,
    },
    /// A file was written in a format this build does not read (K24).
    #[error(
        "{directory}/{file} has format version {found}, this build reads {oldest} to {newest}: start the release that wrote it, \
         or one that reads both"
    )]
    FormatVersion {
        /// The data directory.
        directory: String,
        /// File inside the data directory.
        file: String,
        /// The version found.
        found: u32,
        /// The oldest version this build reads.
        oldest: u32,
        /// The newest version this build reads.
        newest: u32,
    },
    /// The directory belongs to another Raft ID.
    #[error(
        "this volume holds the log of {found}, but this member is {expected}: mount {expected}'s own volume, or delete the claim \
         to rejoin empty under a new Raft ID"
    )]
    WrongIdentity {
        /// The Raft ID in the directory.
        found: RaftId,
        /// The Raft ID of this member.
        expected: RaftId,
    },
    /// The directory is from before a recovery (K18).
    #[error(
        "this volume is at recovery epoch {}, but the cluster was recovered at epoch {}: its log may contradict the recovered \
         one; delete the claim to rejoin empty under a new Raft ID",
        found.0, minimum.0
    )]
    BeforeRecovery {
        /// The recovery epoch in the directory.
        found: RecoveryEpoch,
        /// The least one this member may have.
        minimum: RecoveryEpoch,
    },
    /// Another process uses the directory.
    #[error(
        "{directory} is in use by another process: stop it first; two processes on one log would lose data"
    )]
    Locked {
        /// The data directory.
        directory: String,
    },
    /// There is no data here.
    #[error("{directory} holds no data (no log.redb): create it first")]
    Missing {
        /// The data directory.
        directory: String,
    },
    /// The directory cannot be made or entered.
    #[error(
        "{directory} cannot be created: {source}; check that the volume is mounted and writable by this user"
    )]
    CannotCreate {
        /// The data directory.
        directory: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// There is something here already.
    #[error(
        "{directory} cannot be created: it already holds {found}; open it instead, or mount an empty volume"
    )]
    AlreadyExists {
        /// The data directory.
        directory: String,
        /// The file that was found.
        found: String,
    },
    /// The log was compacted past what the state holds (K3).
    #[error(
        "{directory} cannot be opened: the log begins at {first} but the state ends at {durable_applied}, entries between are \
         missing; do not start this member from this volume again: replace the member so that it rejoins empty under a new Raft ID"
    )]
    Gap {
        /// The data directory.
        directory: String,
        /// First index in the log.
        first: Index,
        /// Last index in the state file.
        durable_applied: Index,
    },
    /// A flush was asked for before its entries are durable in the log (K4). Wait for the log, then retry.
    #[error(
        "state at {applied} cannot be flushed: the log is durable only up to {persisted}; retry when it has caught up"
    )]
    FlushAheadOfLog {
        /// Applied index of the flush.
        applied: Index,
        /// Last durable index of the log.
        persisted: Index,
    },
    /// A request contradicts what is stored; a mistake of ours, not of the disk.
    #[error("{doing} was refused: {why}; this is a bug, please report it")]
    Refused {
        /// What was being done, as a gerund.
        doing: &'static str,
        /// The contradiction.
        why: String,
    },
    /// A received snapshot is not acceptable. The store is unharmed; ask for it again.
    #[error("the snapshot received was refused: {why}; request it again from its beginning")]
    SnapshotRefused {
        /// What is wrong with it.
        why: String,
    },
    /// An earlier storage error ended this handle; nothing was done.
    #[error("the store stopped at an earlier error: start the process again; nothing was acknowledged since")]
    Stopped,
}

impl StoreError {
    /// The process's exit code for this error (K39).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Corrupt { .. } | Self::Gap { .. } => EXIT_CORRUPT,
            Self::FormatVersion { .. } | Self::Locked { .. } | Self::Missing { .. } => EXIT_UNAVAILABLE,
            Self::AlreadyExists { .. } | Self::CannotCreate { .. } => EXIT_CANNOT_CREATE,
            Self::WrongIdentity { .. } | Self::BeforeRecovery { .. } => EXIT_WRONG_IDENTITY,
            Self::NoSpace { .. }
            | Self::Io { .. }
            | Self::FlushAheadOfLog { .. }
            | Self::Refused { .. }
            | Self::SnapshotRefused { .. }
            | Self::Stopped => EXIT_IO,
        }
    }

    /// Whether the store can be used on: the request was refused and changed nothing.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::FlushAheadOfLog { .. } | Self::SnapshotRefused { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> String {
        "/var/lib/quorate/member".to_owned()
    }

    fn io_error() -> io::Error {
        io::Error::other("device says no")
    }

    /// K39, K8: the exit code of each error. Only damage and a foreign volume may cost a member its
    /// volume; a full disk, a newer format and a second process never do.
    #[test]
    fn only_damage_and_a_foreign_volume_have_the_codes_of_a_broken_member() {
        let raft_id = |text| RaftId::new(text).unwrap();
        let file = || "log.redb".to_owned();
        let table = [
            (
                StoreError::NoSpace {
                    directory: directory(),
                    doing: "committing",
                    free: "0 bytes".to_owned(),
                },
                74,
            ),
            (
                StoreError::Io {
                    directory: directory(),
                    file: file(),
                    doing: "committing",
                    source: io_error(),
                },
                74,
            ),
            (StoreError::Corrupt { directory: directory(), file: file(), what: "a checksum".to_owned() }, 65),
            (
                StoreError::FormatVersion {
                    directory: directory(),
                    file: file(),
                    found: 2,
                    oldest: 1,
                    newest: 1,
                },
                69,
            ),
            (StoreError::WrongIdentity { found: raft_id("a"), expected: raft_id("b") }, 78),
            (StoreError::BeforeRecovery { found: RecoveryEpoch(0), minimum: RecoveryEpoch(1) }, 78),
            (StoreError::Locked { directory: directory() }, 69),
            (StoreError::Missing { directory: directory() }, 69),
            (StoreError::CannotCreate { directory: directory(), source: io_error() }, 73),
            (StoreError::AlreadyExists { directory: directory(), found: file() }, 73),
            (StoreError::Gap { directory: directory(), first: Index(9), durable_applied: Index(3) }, 65),
            (StoreError::FlushAheadOfLog { applied: Index(9), persisted: Index(3) }, 74),
            (StoreError::Refused { doing: "committing", why: "a gap".to_owned() }, 74),
            (StoreError::SnapshotRefused { why: "too short".to_owned() }, 74),
            (StoreError::Stopped, 74),
        ];
        for (error, code) in table {
            let text = error.to_string();
            assert_eq!(error.exit_code(), code, "{text}");
            assert!(!text.ends_with('.'), "{text}");
            assert!(text.contains(": "), "what failed and why: {text}");
            assert!(!text.contains("  "), "{text}");
        }
    }

    #[test]
    fn damage_says_what_to_do() {
        let error = StoreError::Corrupt {
            directory: directory(),
            file: "log.redb".to_owned(),
            what: "a record's checksum does not match its bytes".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "/var/lib/quorate/member/log.redb is damaged: a record's checksum does not match its bytes; do not start this \
             member from this volume again: replace the member so that it rejoins empty under a new Raft ID, and keep the \
             volume for examination"
        );
    }
}
