//! A consistent picture of the state, for an archive (K17): taken from what is synced, while writes go on.
//!
//! ```text
//!   the leader's index (K11) ─▶ applied here ─▶ flushed ─▶ one read transaction ─▶ a snapshot file
//! ```
//!
//! Invariant: it holds every write that was acknowledged before it was asked for, through whatever member.

use std::sync::Arc;

use quorate_raft::{ClusterId, Index, LogId};
use quorate_store::{SnapshotFile, Snapshots, StateFile, StoreError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::doom::Doom;
use super::error::{CallError, ErrorKind};
use super::handle::{Consistency, Handle, capped};
use super::machine::log_id;
use super::request::Ask;
use super::snapshots::made;
use super::turn::Driver;
use crate::limits::ARCHIVE_FLUSH_GLANCE;

/// What a snapshot is made from, at the moment of asking.
pub(crate) struct Files {
    snapshots: Arc<Snapshots>,
    state: StateFile,
    cluster_id: ClusterId,
    doom: Doom,
}

/// A picture of the state at one entry. It takes space on the data volume while it lives.
pub struct Snapshot {
    /// The file.
    pub file: Arc<SnapshotFile>,
    _place: OwnedSemaphorePermit,
}

impl Driver {
    pub(super) fn files(&self) -> Files {
        Files {
            snapshots: Arc::clone(&self.snapshots),
            state: self.state.clone(),
            cluster_id: self.identity.cluster_id,
            doom: self.doom.clone(),
        }
    }
}

impl Handle {
    /// A picture of this member's state. With [`Consistency::Linearizable`] it holds every write acknowledged before this
    /// call; stale, whatever this member has applied, which is all there is to save when a majority is gone.
    ///
    /// `Busy`: others are being saved. `NoSpace`: the volume could not hold it.
    pub async fn snapshot(&self, consistency: Consistency, deadline: Instant) -> Result<Snapshot, CallError> {
        self.check_serving()?;
        let place = Arc::clone(&self.shared.archives)
            .try_acquire_owned()
            .map_err(|_| CallError::busy("the number of archives being saved (ARCHIVES_MAX)"))?;
        if self.view().is_space_low {
            return Err(no_space());
        }
        let deadline = capped(deadline);
        let index = match consistency {
            Consistency::Linearizable => self.read_index(deadline).await?,
            Consistency::Stale => Index(0),
        };
        let applied = |state: &super::machine::State| Ok(log_id(state.applied()));
        let (at_least, _) = self.shared.machine.query(index, deadline, applied).await?;
        loop {
            self.shared.machine.flush()?;
            // Asked each time: an installed snapshot may have put another file in its place.
            let files = self.ask(deadline, |reply| Ask::Files { reply }).await?;
            if let Some(file) = files.snapshot(at_least).await? {
                return Ok(Snapshot { file, _place: place });
            }
            if Instant::now() >= deadline {
                return Err(CallError::not_applied(
                    ErrorKind::Deadline,
                    format!(
                        "the state was not on the disk up to {at_least} by the deadline: retry, or ask another member"
                    ),
                ));
            }
            sleep(ARCHIVE_FLUSH_GLANCE).await;
        }
    }
}

impl Files {
    /// `None` while the state is not synced so far.
    async fn snapshot(self, at_least: LogId) -> Result<Option<Arc<SnapshotFile>>, CallError> {
        let Self { snapshots, state, cluster_id, doom } = self;
        match made(snapshots, state, cluster_id, at_least).await {
            Some(Ok(file)) => Ok(file),
            // The copy found no room; nothing that the member lives on was written.
            Some(Err(StoreError::NoSpace { .. })) => Err(no_space()),
            Some(Err(error)) => {
                doom.storage(&error);
                Err(CallError::stopping())
            }
            None => Err(CallError::stopping()),
        }
    }
}

fn no_space() -> CallError {
    CallError::not_applied(
        ErrorKind::NoSpace,
        "the data volume has no room for a copy of the state: ask another member, grow the volume claim or delete keys",
    )
}
