//! The tasks behind an application's log: one gets the recorded snapshot, and removes what it supersedes; one, where this
//! member leads, trims. Neither ends by itself; both sleep while there is no entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_machine::{ApiIndex, Command, Outcome, Tagged};
use quorate_raft::ServerId;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::ApplicationWord;
use super::trim;
use crate::autopilot::Reports;
use crate::driver::doom::Doom;
use crate::driver::handle::Handle;
use crate::limits::{APPLICATION_GLANCE, REQUEST_TIMEOUT_DEFAULT};

/// Gets the recorded snapshot where it is not on this member's disk, and removes what is not needed any more.
pub(crate) async fn keep_snapshot(handle: Handle, doom: Doom) {
    let mut meta = handle.application().watch();
    loop {
        // The sender is gone only when the member is ending.
        if meta.wait_for(|meta| meta.snapshot.is_some()).await.is_err() {
            return;
        }
        let application = Arc::clone(handle.application());
        let recorded = application.meta().snapshot;
        if let Some(recorded) = recorded.filter(|recorded| application.snapshots().get(*recorded).is_none()) {
            match handle.application_file(recorded).await {
                Ok(_) => {}
                Err(error) => debug!(%error, "the application's snapshot is not here yet"),
            }
        }
        let snapshots = Arc::clone(application.snapshots());
        // As recorded when it was looked at: an older one than is recorded by now keeps more.
        let swept = tokio::task::spawn_blocking(move || snapshots.sweep(recorded)).await;
        if let Ok(Err(error)) = swept {
            doom.storage(&error);
        }
        sleep(APPLICATION_GLANCE).await;
    }
}

/// Trims while this member leads.
pub(crate) async fn keep_trimmed(handle: Handle, reports: Reports) {
    let mut meta = handle.application().watch();
    // What was asked for last, and what came of it: the same question has the same answer.
    let mut before: Option<(ApiIndex, ApiIndex)> = None;
    loop {
        // The sender is gone only when the member is ending.
        if meta.wait_for(|meta| meta.entries > 0 && meta.snapshot.is_some()).await.is_err() {
            return;
        }
        let trimmed = handle.application().meta().trimmed;
        let upto = may_go(&handle, &reports).filter(|upto| before != Some((*upto, trimmed)));
        let Some(upto) = upto else {
            sleep(APPLICATION_GLANCE).await;
            continue;
        };
        let command = Tagged { tag: None, command: Command::Trim { upto } }.encode();
        match handle.propose_here(command, Instant::now() + REQUEST_TIMEOUT_DEFAULT).await {
            Ok(applied) => {
                if let Outcome::Written { modify_index } = applied.outcome {
                    before = Some((upto, modify_index));
                    info!(%upto, trimmed = %modify_index, "the application's log was trimmed");
                }
            }
            Err(error) => {
                debug!(%error, "the application's log was not trimmed");
                sleep(APPLICATION_GLANCE).await;
            }
        }
    }
}

/// The last entry that may go; none where this member does not lead.
fn may_go(handle: &Handle, reports: &Reports) -> Option<ApiIndex> {
    let view = handle.view();
    if !view.is_leader() {
        return None;
    }
    let configuration = &view.status.latest.as_ref()?.configuration;
    let own = &view.identity.server;
    let word = |id: &ServerId| {
        if id == own { handle.application().word() } else { reports.application(id) }
    };
    let words: BTreeMap<ServerId, ApplicationWord> =
        configuration.servers().iter().map(|server| (server.id.clone(), word(&server.id))).collect();
    trim::upto(&handle.application().meta(), configuration, &words)
}
