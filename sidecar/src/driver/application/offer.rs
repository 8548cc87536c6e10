//! A snapshot of the application: onto the disks of a quorum, then into the log; and back, from here or from a member (K22).

use std::sync::Arc;

use quorate_machine::{ApplicationSnapshot, Command, Outcome, Tagged};
use quorate_store::{ApplicationFile, StoreError};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::driver::error::{CallError, ErrorKind};
use crate::driver::handle::Handle;
use crate::driver::spread::{is_quorum, spread};
use crate::limits::REQUEST_TIMEOUT_MAX;
use crate::link::fetch;

impl Handle {
    /// Spreads what is on this member's disk to a quorum and records it. It takes as long as that takes.
    pub(crate) async fn offer_snapshot(&self, file: &ApplicationFile) -> Result<Outcome, CallError> {
        self.check_serving()?;
        let (view, snapshot) = (self.view(), file.snapshot());
        let Some(latest) = &view.status.latest else { return Err(CallError::no_leader()) };
        let (configuration, leaders) = (&latest.configuration, self.leaders());
        let own = view.identity.server.clone();
        let ask = |id| {
            let leaders = leaders.clone();
            async move { leaders.stage_application(&id, snapshot).await }
        };
        let holders = spread(configuration, own, |holders| is_quorum(configuration, holders), ask).await;
        let holders = holders.map_err(|why| {
            CallError::not_applied(
                ErrorKind::WouldLoseQuorum,
                format!(
                    "the snapshot could not be put on the disks of a majority of the voters ({why}): heal them and offer it again; not recorded"
                ),
            )
        })?;
        let command = Tagged { tag: None, command: Command::RecordSnapshot(snapshot) };
        let applied = self.propose(&command, Instant::now() + REQUEST_TIMEOUT_MAX).await?;
        let ApplicationSnapshot { index, bytes, .. } = snapshot;
        info!(%index, bytes, holders, "a snapshot of the application was recorded");
        Ok(applied.outcome)
    }

    /// The snapshot's file: from this disk, or from the first member that gives it.
    pub(crate) async fn application_file(
        &self,
        snapshot: ApplicationSnapshot,
    ) -> Result<Arc<ApplicationFile>, CallError> {
        let snapshots = self.application().snapshots();
        if let Some(file) = snapshots.get(snapshot) {
            return Ok(file);
        }
        let identity = Arc::clone(&self.view().identity);
        let peers: Vec<_> = self.leaders().book().borrow().values().cloned().collect();
        for dialer in peers {
            match fetch::application(&identity, &dialer, snapshot, snapshots).await {
                Ok(file) => return Ok(file),
                Err(error) => debug!(peer = %dialer.peer(), %error, "a peer did not give the snapshot"),
            }
        }
        Err(CallError::not_applied(
            ErrorKind::Unreachable,
            format!(
                "no member gave the snapshot of index {}: ask again when the members that have it are back, or offer a newer one",
                snapshot.index
            ),
        ))
    }
}

/// What a refused or failed write of a snapshot's file means to whoever offers it.
pub(crate) fn offer_failed(error: &StoreError) -> CallError {
    let kind = match error {
        StoreError::NoSpace { .. } => ErrorKind::NoSpace,
        StoreError::SnapshotRefused { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Stopping,
    };
    CallError::not_applied(kind, format!("{error}; not recorded"))
}
