//! Storage of one member: the log, the state file and snapshots, on redb (K1-K7).
//!
//! ```text
//!   core ──Persist──▶ LogThread ──one transaction, one fdatasync──▶ log.redb ──names──┐
//!   machine ──Flush──▶ StateFile ──one transaction at one index──▶ state.redb ◀───────┘
//!   state.redb ──one read transaction──▶ snapshot file ──chunks──▶ receiver ──▶ state-<index>-<term>.redb
//!                                             └──gzip tar──▶ archive, for people (K17)
//! ```
//!
//! Promises: what was reported as persisted survives any crash (P1); a crash at any call leaves the store
//! before or after a whole transaction; an error of the disk ends the store, and nothing is
//! acknowledged after it. All files have format versions; `FORMAT.md` draws them.
//!
//! Everything runs over [`Disk`], so that tests and the simulator use the very same code on
//! [`CrashDisk`], which loses power on command.
//!
//! Not here: what commands mean (`machine`), when to compact and how much to keep (`raft`), async.

mod application;
mod archive;
mod ballast;
mod coalesce;
mod codec;
mod crash_disk;
mod database;
mod directory;
mod disk;
mod error;
pub mod limits;
mod log;
mod names;
mod os_disk;
mod recovery;
mod site;
mod snapshot;
mod stage;
mod state;
mod thread;
mod watermarks;

pub use application::{ApplicationFile, ApplicationSnapshots, IncomingSnapshot};
pub use archive::{ArchiveError, ArchiveMeta, ArchiveReader, write_archive};
pub use codec::configuration::{decode as decode_configuration, encode as encode_configuration};
pub use codec::meta::DirectoryIdentity;
pub use codec::record::DecodeError;
pub use crash_disk::{Call, CrashDisk, Fault};
pub use directory::{Directory, Opened};
pub use disk::{DirectoryLock, Disk, DiskFile, Space};
pub use error::{
    EXIT_CANNOT_CREATE, EXIT_CORRUPT, EXIT_IO, EXIT_UNAVAILABLE, EXIT_WRONG_IDENTITY, StoreError,
};
pub use log::{Committed, Log, LogReader};
pub use os_disk::OsDisk;
pub use recovery::{Recovery, RecoveryRequest, Unrecoverable};
pub use snapshot::{SnapshotFile, SnapshotHeader, SnapshotReceiver, Snapshots};
pub use stage::{Incoming, StagedFile, Stages};
pub use state::StateFile;
pub use thread::{LogThread, Rejected, Report, Request};
