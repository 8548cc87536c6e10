//! Snapshots, as far as the driver has to do with them: who sends one, and how a received one, or what was made from an
//! archive (K17), becomes the state.
//!
//! ```text
//!   the commit that names it ─▶ the machine rests ─▶ the file is opened ─▶ the machine moves there ─▶ Persisted
//! ```
//!
//! Invariant: the core hears of the commit only when the machine is on the new state (K5).

use std::sync::Arc;

use quorate_autopilot::SnapshotProgress;
use quorate_mutants::{Mutant, broken};
use quorate_raft::{ClusterId, Epoch, Input, LogId, Sequence, ServerId, Term};
use quorate_store::{Committed, SnapshotFile, Snapshots, StateFile, StoreError};
use tracing::{info, warn};

use super::machine::Job;
use super::transfers::SendOrder;
use super::turn::{Completion, Driver};
use crate::link::Transfer;

/// An install between its commit and the machine's move.
pub(super) struct Installing {
    last: LogId,
    /// Its file, as the log names it.
    name: String,
    /// The last commit the core is not told of yet.
    sequence: Option<Sequence>,
}

/// How a transfer to a peer goes.
#[derive(Debug)]
pub(crate) enum Sending {
    /// The peer said how much of it it has.
    Progress { to: ServerId, order: SendOrder, last: LogId, progress: SnapshotProgress },
    /// It ended; `delivered` is none if it failed.
    Ended { to: ServerId, order: SendOrder, delivered: Option<LogId> },
}

/// The snapshot that serves, made if there is none; none if the runtime is ending. It may take long: it is made on a thread
/// that nothing waits for, a stop least of all (B2).
pub(super) async fn made(
    snapshots: Arc<Snapshots>,
    state: StateFile,
    cluster_id: ClusterId,
    at_least: LogId,
) -> Option<Result<Option<Arc<SnapshotFile>>, StoreError>> {
    let make = move || snapshots.get(&state, cluster_id, at_least);
    if broken(Mutant::B2) { Some(make()) } else { tokio::task::spawn_blocking(make).await.ok() }
}

impl Driver {
    pub(super) fn send_snapshot(&self, to: ServerId, term: Term, epoch: Epoch, at_least: LogId) {
        let Some(dialer) = self.links.dialer(&to) else {
            self.report_failed(to, SendOrder { term, epoch });
            return;
        };
        let (snapshots, state) = (Arc::clone(&self.snapshots), self.state.clone());
        let (identity, completions, doom) =
            (Arc::clone(&self.identity), self.completions.clone(), self.doom.clone());
        let cluster_id = identity.cluster_id;
        tokio::spawn(async move {
            let file = match made(snapshots, state, cluster_id, at_least).await {
                Some(Ok(file)) => file,
                Some(Err(error)) => return doom.storage(&error),
                None => return,
            };
            let delivered = match file {
                Some(file) => {
                    let transfer = Transfer { identity, dialer, term, epoch, file };
                    transfer.run(&completions).await
                }
                None => None,
            };
            // The driver is gone only when the member is ending.
            let ended = Sending::Ended { to, order: SendOrder { term, epoch }, delivered };
            let _ = completions.send(Completion::Sending(ended)).await;
        });
    }

    fn report_failed(&self, to: ServerId, order: SendOrder) {
        let completions = self.completions.clone();
        tokio::spawn(async move {
            let ended = Sending::Ended { to, order, delivered: None };
            let _ = completions.send(Completion::Sending(ended)).await;
        });
    }

    pub(super) fn sending(&mut self, sending: Sending) {
        self.inputs.push(match sending {
            Sending::Progress { to, order, last, progress } => {
                self.transfers.moved(&to, order, progress);
                Input::SnapshotProgress { to, epoch: order.epoch, last }
            }
            Sending::Ended { to, order, delivered } => {
                self.transfers.ended(&to, order);
                Input::SnapshotSent { to, epoch: order.epoch, delivered }
            }
        });
    }

    /// A commit of storage: told to the core at once, unless an install stands before it.
    pub(super) fn committed(&mut self, committed: &Committed) {
        if let Some(sequence) = committed.sequence {
            self.meter.stored(sequence);
            self.gathering.stored(sequence);
        }
        if let (Some(last), Some(name)) = (committed.installed, committed.named.clone()) {
            // One may come while an earlier one is on its way: it goes on from there, to the later file.
            if let Some(installing) = &mut self.installing {
                (installing.last, installing.name) = (last, name);
            } else {
                self.installing = Some(Installing { last, name, sequence: None });
                self.work.give(Job::Rest);
            }
        }
        match &mut self.installing {
            Some(installing) => installing.sequence = committed.sequence.or(installing.sequence),
            None => self.inputs.extend(committed.sequence.map(|sequence| Input::Persisted { sequence })),
        }
        self.inputs.extend(committed.compacted.map(|first| Input::Compacted { first }));
    }

    /// The machine's flushes are over: the old file can go.
    pub(super) fn machine_rests(&mut self) {
        let Some(Installing { name, .. }) = &self.installing else { return };
        let name = name.clone();
        let (directory, replaced) = (Arc::clone(&self.directory), self.state.clone());
        let (completions, doom) = (self.completions.clone(), self.doom.clone());
        tokio::task::spawn_blocking(move || match directory.open_named(&name, &replaced) {
            // The driver is gone only when the member is ending.
            Ok(file) => drop(completions.blocking_send(Completion::Opened(file))),
            Err(error) => doom.storage(&error),
        });
    }

    pub(super) fn opened(&mut self, file: StateFile) {
        self.state = file;
        if self.installing.as_ref().is_some_and(|later| later.name != self.state.name()) {
            // A later one was named meanwhile.
            self.machine_rests();
            return;
        }
        self.work.give(Job::Install(self.state.clone()));
    }

    pub(super) fn installed(&mut self) {
        if self.installing.as_ref().is_some_and(|later| later.name != self.state.name()) {
            // A later one was named while the machine moved.
            self.work.give(Job::Rest);
            return;
        }
        let Some(Installing { last, sequence, .. }) = self.installing.take() else { return };
        self.seen.durable_applied = last;
        // Whatever the machine waited for is behind it.
        self.waiting.take();
        self.inputs.extend(sequence.map(|sequence| Input::Persisted { sequence }));
        info!(index = %last.index, term = %last.term, "the state is that of a received snapshot or archive");
        self.follow_configuration();
    }

    pub(super) fn discard_snapshot(&self, last: LogId) {
        let (directory, doom) = (Arc::clone(&self.directory), self.doom.clone());
        tokio::task::spawn_blocking(move || match directory.discard_snapshot(last) {
            Ok(()) => {}
            Err(error @ StoreError::Io { .. }) => warn!(%error, "an unwanted snapshot was not removed"),
            Err(error) => doom.storage(&error),
        });
    }
}
