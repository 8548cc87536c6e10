//! A data directory: created once with a random incarnation (K1), opened by one process at a time.
//!
//! ```text
//!   lock                       held while open
//!   log.redb                   exists ⇔ the directory was created; names its state file (K5)
//!   state.redb                 the first state file, or
//!   state-<index>-<term>.redb  the one a snapshot was installed into
//!   ballast                    space held back (K8); holds nothing
//!   snapshot-….snap            materialised for receivers;  receiving-….snap: incoming; both go at start
//! ```
//!
//! Creation writes `log.redb.new`, syncs it and renames it, so a crash leaves either nothing or a whole
//! directory. The first start does the same with `state.redb.new`. Invariant: the incarnation is written by the one
//! transaction of `log.redb.new` and never again.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Incarnation, Index, RaftId, RecoveryEpoch, Stored};

use crate::ballast::{self, Ballast};
use crate::codec::meta::DirectoryIdentity;
use crate::disk::{DirectoryLock, Disk, Space};
use crate::error::StoreError;
use crate::log::{LOG_NAME, Log};
use crate::names::{LOG_NEW_NAME, STATE_FIRST_NAME, STATE_NEW_NAME, is_of_a_transfer, is_state};
use crate::os_disk::OsDisk;
use crate::site::Site;
use crate::snapshot::Received;
use crate::state::StateFile;
use crate::watermarks::Watermarks;

/// A data directory that this process holds.
#[derive(Debug)]
pub struct Directory {
    disk: Arc<dyn Disk>,
    identity: DirectoryIdentity,
    watermarks: Arc<Watermarks>,
    received: Received,
    ballast: Ballast,
    _lock: DirectoryLock,
}

/// An opened data directory and its two files.
#[derive(Debug)]
pub struct Opened {
    /// Holds the lock; outlives the files.
    pub directory: Directory,
    /// `log.redb`, for the storage thread.
    pub log: Log,
    /// The state file that belongs to it, for the machine.
    pub state: StateFile,
    /// What the core is started with.
    pub stored: Stored,
}

impl Directory {
    /// Creates a data directory at `path` for `raft_id`, with a random incarnation from the
    /// operating system (K1), for a cluster that was never recovered. Fails if there is one already.
    pub fn create(path: impl AsRef<Path>, raft_id: RaftId) -> Result<(), StoreError> {
        let mut incarnation = [0; 16];
        rustix::rand::getrandom(&mut incarnation, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| {
                let directory = path.as_ref().display().to_string();
                StoreError::Io {
                    directory,
                    file: ".".to_owned(),
                    doing: "minting the incarnation",
                    source: error.into(),
                }
            },
        )?;
        if broken(Mutant::K1Minted) {
            incarnation = [7; 16];
        }
        let incarnation = Incarnation(u128::from_le_bytes(incarnation));
        Self::create_on(&os_disk(path)?, raft_id, incarnation, RecoveryEpoch::default())
    }

    /// [`Directory::create`] on any disk, with an incarnation from the caller's seeded generator. Being empty it may
    /// belong to any recovery epoch: it is that of the cluster it is made for (K18).
    pub fn create_on(
        disk: &Arc<dyn Disk>,
        raft_id: RaftId,
        incarnation: Incarnation,
        recovery_epoch: RecoveryEpoch,
    ) -> Result<(), StoreError> {
        let site = Site::new(disk, ".");
        let _lock = lock(disk)?;
        let names = disk.names().map_err(|error| site.io("listing", error))?;
        if let Some(found) = names.into_iter().find(|name| name == LOG_NAME || is_state(name)) {
            return Err(StoreError::AlreadyExists { directory: disk.location(), found });
        }
        let identity = DirectoryIdentity { cluster_id: None, raft_id, incarnation, recovery_epoch };
        Log::create(disk, LOG_NEW_NAME, &identity, STATE_FIRST_NAME)?;
        disk.rename(LOG_NEW_NAME, LOG_NAME).map_err(|error| site.io("creating", error))?;
        disk.sync_names().map_err(|error| site.io("creating", error))
    }

    /// Whether a data directory was created at `path`.
    pub fn exists(path: impl AsRef<Path>) -> Result<bool, StoreError> {
        Self::exists_on(&os_disk(path)?)
    }

    /// [`Directory::exists`] on any disk.
    pub fn exists_on(disk: &Arc<dyn Disk>) -> Result<bool, StoreError> {
        let names = disk.names().map_err(|error| Site::new(disk, ".").io("listing", error))?;
        Ok(names.iter().any(|name| name == LOG_NAME))
    }

    /// Opens the data directory at `path`, which must belong to `raft_id`.
    ///
    /// Refused for another Raft ID, another process, a format of another release, or a log that was
    /// compacted past the state (K3). What interrupted transfers left is removed.
    pub fn open(path: impl AsRef<Path>, raft_id: &RaftId) -> Result<Opened, StoreError> {
        Self::open_on(&os_disk(path)?, raft_id)
    }

    /// [`Directory::open`] on any disk.
    pub fn open_on(disk: &Arc<dyn Disk>, raft_id: &RaftId) -> Result<Opened, StoreError> {
        let lock = lock(disk)?;
        settle(disk)?;
        let ballast = Ballast::new(disk);
        ballast.give_up_if_full()?;
        if !Self::exists_on(disk)? {
            return Err(StoreError::Missing { directory: disk.location() });
        }
        let watermarks = Arc::new(Watermarks::default());
        let log = Log::open(disk, Arc::clone(&watermarks))?;
        let identity = log.identity().clone();
        if identity.raft_id != *raft_id {
            return Err(StoreError::WrongIdentity { found: identity.raft_id, expected: raft_id.clone() });
        }
        remove_leftovers(disk, log.state_name())?;
        let state = open_state(disk, log.state_name(), &watermarks)?;
        let durable_applied = state.durable_applied().index;
        check_gap(disk, log.first(), durable_applied)?;
        let stored = log.stored(&state)?;
        Ok(Opened {
            directory: Self {
                disk: Arc::clone(disk),
                identity,
                watermarks,
                received: Received::default(),
                ballast,
                _lock: lock,
            },
            log,
            state,
            stored,
        })
    }

    /// Who the directory belonged to when it was opened.
    pub fn identity(&self) -> &DirectoryIdentity {
        &self.identity
    }

    /// Refuses a directory from before a recovery (K18); asked before any port is opened.
    pub fn require_recovery_epoch(&self, minimum: RecoveryEpoch) -> Result<(), StoreError> {
        let found = self.identity.recovery_epoch;
        if found < minimum { Err(StoreError::BeforeRecovery { found, minimum }) } else { Ok(()) }
    }

    /// Size and free space of the volume (K8).
    pub fn space(&self) -> Result<Space, StoreError> {
        ballast::look(&self.disk)
    }

    /// The same, after the ballast was laid or given up as they ask for (K8); to be called now and then.
    pub fn tend_ballast(&self) -> Result<Space, StoreError> {
        self.ballast.tend()
    }

    /// The disk under it.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn watermarks(&self) -> &Arc<Watermarks> {
        &self.watermarks
    }

    pub(crate) fn received(&self) -> &Received {
        &self.received
    }
}

fn os_disk(path: impl AsRef<Path>) -> Result<Arc<dyn Disk>, StoreError> {
    let path = path.as_ref();
    match OsDisk::new(path) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(source) => Err(StoreError::CannotCreate { directory: path.display().to_string(), source }),
    }
}

fn lock(disk: &Arc<dyn Disk>) -> Result<DirectoryLock, StoreError> {
    disk.lock()
        .map_err(|error| Site::new(disk, "lock").io("locking", error))?
        .ok_or_else(|| StoreError::Locked { directory: disk.location() })
}

/// A start counts what it reads as durable: it answers by it, and builds on it (P1).
fn settle(disk: &Arc<dyn Disk>) -> Result<(), StoreError> {
    if broken(Mutant::P1Settled) {
        return Ok(());
    }
    disk.settle().map_err(|error| Site::new(disk, ".").io("syncing what an earlier process wrote", error))
}

/// The named state file. Only the first one may be missing: it is created after the log, and while the log
/// still begins at 1 everything in it can be replayed (K3 is checked by the caller).
fn open_state(
    disk: &Arc<dyn Disk>,
    name: &str,
    watermarks: &Arc<Watermarks>,
) -> Result<StateFile, StoreError> {
    let site = Site::new(disk, name);
    let names = disk.names().map_err(|error| site.io("listing", error))?;
    if names.iter().any(|found| found == name) {
        return StateFile::open(disk, name, Arc::clone(watermarks));
    }
    if name != STATE_FIRST_NAME {
        return Err(site.corrupt("the log names this state file, and it is missing"));
    }
    // Renamed once it is whole and synced: a start that a crash or a full disk ends must not leave what the next one
    // would take for damage (K8).
    StateFile::create(disk, STATE_NEW_NAME)?;
    disk.rename(STATE_NEW_NAME, name).map_err(|error| site.io("creating", error))?;
    disk.sync_names().map_err(|error| site.io("creating", error))?;
    StateFile::open(disk, name, Arc::clone(watermarks))
}

/// Removes files of interrupted transfers and state files that the log does not name (K5).
fn remove_leftovers(disk: &Arc<dyn Disk>, state_name: &str) -> Result<(), StoreError> {
    let site = Site::new(disk, ".");
    let mut removed = 0;
    for name in disk.names().map_err(|error| site.io("listing", error))? {
        let is_half_made = name == LOG_NEW_NAME || name == STATE_NEW_NAME;
        if is_half_made || is_of_a_transfer(&name) || is_state(&name) && name != state_name {
            disk.remove(&name).map_err(|error| site.io("removing leftovers", error))?;
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::info!(removed, "removed what an interrupted transfer left");
        disk.sync_names().map_err(|error| site.io("removing leftovers", error))?;
    }
    Ok(())
}

/// K3: entries between the state and the log would be lost for good.
fn check_gap(disk: &Arc<dyn Disk>, first: Index, durable_applied: Index) -> Result<(), StoreError> {
    if first > durable_applied.next() && !broken(Mutant::K3Gap) {
        return Err(StoreError::Gap { directory: disk.location(), first, durable_applied });
    }
    Ok(())
}
