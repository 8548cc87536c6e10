//! A restore (K17): an archive that a quorum has on disk is proposed as an entry, and each member makes its state from it.
//!
//! ```text
//!   leader   place ─▶ staged here ─▶ staged on a quorum ─▶ proposed ─▶ committed ─▶ applied
//!   member   its turn to be applied ─▶ staged? else fetched from a peer ─▶ state file built ─▶ log names it ─▶ the machine
//!            moves there, as after a snapshot
//! ```
//!
//! Invariants: one restore at a time; from the place to the answer the configuration is the one it was begun under, so
//! the quorum that has it is the quorum that commits it. The machine applies nothing after the entry before it is on the
//! new state, and it gets there once: by the archive, or by a snapshot where nobody gives that (`Claim`).
//! Not here: what is kept of an archive (`machine`), and that one transaction makes it the state (`store`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use quorate_machine::{Here, RestoreOrder};
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, IndexedConfiguration, LogId, Mode, Role, ServerId, Term};
use quorate_store::{StagedFile, Stages, StoreError};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{info, warn};

use super::error::{CallError, ErrorKind};
use super::handle::{Applied, Handle};
use super::request::{Ask, Request};
use super::spread::{is_quorum, spread};
use super::tally::Count;
use super::turn::{Completion, Driver};
use super::writer::Writer;
use crate::limits::STAGE_RETRY_PAUSE;
use crate::link::{Dialer, fetch};

/// The one place of a restore on a leader. While it lives, the configuration is not changed.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) term: Term,
    pub(super) configuration: IndexedConfiguration,
    _held: Arc<()>,
}

/// The driver's side of it.
#[derive(Debug, Default)]
pub(super) struct Hold {
    held: Weak<()>,
}

impl Hold {
    pub(super) fn is_held(&self) -> bool {
        self.held.strong_count() > 0
    }

    pub(super) fn refuses_changes(&self) -> bool {
        self.is_held() && !broken(Mutant::K17Still)
    }
}

/// What the machine waits for is made once: from the archive, or by a snapshot. Who takes it first does it.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Claim {
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Place {
    /// The term in which it is to be proposed.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// Whether those who have it are a majority of the voters, of both halves if there are two (K14).
    fn is_quorum(&self, holders: &BTreeSet<ServerId>) -> bool {
        broken(Mutant::K17Quorum) || is_quorum(&self.configuration.configuration, holders)
    }
}

/// Why the configuration stays as it is.
pub(super) fn no_change_now() -> CallError {
    CallError::not_applied(
        ErrorKind::ConfigurationChanging,
        "an archive is being restored: the configuration stays as it is until that is done; retry then; nothing was changed",
    )
}

impl Driver {
    pub(super) fn begin_restore(&mut self) -> Result<Place, CallError> {
        let status = self.raft.status();
        if status.latest.as_ref().is_some_and(|latest| latest.configuration.mode() == Mode::Log) {
            return Err(CallError::not_applied(
                ErrorKind::FailedPrecondition,
                "this cluster was founded in mode Log and has no keys to restore: the application offers and restores its own snapshots (Log.SnapshotOffer); nothing was changed",
            ));
        }
        if status.role != Role::Leader {
            let leader = status.leader.as_ref().map(|leader| leader.id.raft_id.as_str());
            let leader =
                leader.map_or_else(|| "none is known now".to_owned(), |leader| format!("it is {leader}"));
            return Err(CallError::not_applied(
                ErrorKind::FailedPrecondition,
                format!(
                    "an archive is restored by the leader only ({leader}): send it there; nothing was changed"
                ),
            ));
        }
        if self.restore.is_held() {
            return Err(CallError::not_applied(
                ErrorKind::Busy,
                "another archive is being restored: wait for its end; nothing was changed",
            ));
        }
        let (Some(configuration), false, true) =
            (status.latest.clone(), status.is_changing(), status.is_ready)
        else {
            return Err(CallError::not_applied(
                ErrorKind::ConfigurationChanging,
                "the configuration is not committed yet: retry when it is; nothing was changed",
            ));
        };
        let held = Arc::new(());
        self.restore.held = Arc::downgrade(&held);
        Ok(Place { term: status.term, configuration, _held: held })
    }

    /// The quorum that has the archive must be the one that commits it.
    pub(super) fn check_restore(&self, place: &Place) -> Result<(), CallError> {
        let status = self.raft.status();
        let latest = status.latest.as_ref().map(|latest| latest.index);
        if status.role == Role::Leader
            && status.term == place.term
            && latest == Some(place.configuration.index)
        {
            return Ok(());
        }
        Err(CallError::not_applied(
            ErrorKind::FailedPrecondition,
            "leadership or the configuration changed while the archive was spread: send it again, to the leader; nothing was changed",
        ))
    }

    /// The entry's turn has come.
    pub(super) fn restore(&mut self, order: RestoreOrder, at: LogId, here: Box<Here>) {
        info!(index = %at.index, bytes = order.bytes, "restoring an archive");
        self.waiting = Claim::default();
        let claim = self.waiting.clone();
        let (stages, directory) = (Arc::clone(&self.stages), Arc::clone(&self.directory));
        let (completions, doom) = (self.completions.clone(), self.doom.clone());
        let (identity, book) = (Arc::clone(&self.identity), self.links.book());
        tokio::spawn(async move {
            loop {
                let peers: Vec<Arc<Dialer>> = book.borrow().values().cloned().collect();
                let staged = match stages.get(order, at.term) {
                    Some(staged) => Some(staged),
                    None => fetch::from_any(&identity, peers, order, at.term, &stages).await,
                };
                let Some(staged) = staged else {
                    // Every member keeps its copy while its log has the entry: one will be back, or the leader sends its state.
                    warn!(index = %at.index, "no member gave the archive to restore: asking again");
                    // The driver is gone only when the member is ending.
                    drop(completions.send(Completion::ArchiveMissing(at)).await);
                    let is_ending = tokio::select! {
                        () = sleep(STAGE_RETRY_PAUSE) => claim.is_taken(),
                        () = completions.closed() => true,
                    };
                    if is_ending {
                        return;
                    }
                    continue;
                };
                if !claim.take() {
                    // A snapshot is on its way to the machine.
                    return;
                }
                let (directory, here, stages) = (Arc::clone(&directory), here.clone(), Arc::clone(&stages));
                let build = move || {
                    stages.named_by(order, at.index)?;
                    staged.build(&directory, at, &here)
                };
                let built = tokio::task::spawn_blocking(build).await;
                match built {
                    // The driver is gone only when the member is ending.
                    Ok(Ok(_)) => drop(completions.send(Completion::Restored(at)).await),
                    // It was whole when it was staged (S25): the disk is at fault.
                    Ok(Err(error)) => doom.storage(&error),
                    // The runtime is ending.
                    Err(_) => {}
                }
                return;
            }
        });
    }

    /// The core wants the machine on the state of a received snapshot, in place of the restore that it waits for. It is named
    /// and moved to like one; if the archive came meanwhile, that is under way, and the snapshot is not needed.
    pub(super) fn adopt_snapshot(&self, last: LogId) {
        if !self.waiting.take() {
            self.discard_snapshot(last);
            return;
        }
        info!(index = %last.index, "nobody gives the archive: the state is to be that of a snapshot");
        let (directory, completions, doom) =
            (Arc::clone(&self.directory), self.completions.clone(), self.doom.clone());
        tokio::task::spawn_blocking(move || match directory.adopt_snapshot(last) {
            // The driver is gone only when the member is ending.
            Ok(()) => drop(completions.blocking_send(Completion::Restored(last))),
            Err(error) => doom.storage(&error),
        });
    }

    /// Removes staged files that nothing needs any more; looked at now and then.
    pub(super) fn sweep_stages(&self) {
        if self.stages.is_empty() {
            return;
        }
        let (stages, doom) = (Arc::clone(&self.stages), self.doom.clone());
        let (durable_applied, first) = (self.seen.durable_applied, self.raft.status().first);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = stages.sweep(durable_applied, first) {
                doom.storage(&error);
            }
        });
    }
}

impl Handle {
    /// Takes the one place of a restore, before any byte of the archive is looked at. Only on the leader, only while the
    /// configuration is committed.
    pub(crate) async fn begin_restore(&self, deadline: tokio::time::Instant) -> Result<Place, CallError> {
        self.check_serving()?;
        self.ask(deadline, |reply| Ask::BeginRestore { reply }).await
    }

    /// Spreads what is staged here to a quorum, proposes it and waits until it is applied here; it takes as long as that
    /// takes. `NotApplied`: nothing was proposed. `Unknown`: leadership was lost on the way.
    pub(crate) async fn restore(&self, place: Place, staged: &StagedFile) -> Result<Applied, CallError> {
        let place = Arc::new(place);
        let order = staged.order();
        self.spread(&place, order).await?;
        let (reply, answer) = oneshot::channel();
        self.send(Request {
            ask: Ask::ProposeRestore { place: Arc::clone(&place), order, writer: Writer::Call(reply) },
            _permit: None,
        })?;
        // The configuration stands still until the core knows of the restore, whether or not the caller still waits.
        let answered = tokio::spawn(async move {
            let answer = answer.await;
            drop(place);
            answer
        });
        let applied = answered.await.ok().and_then(Result::ok).unwrap_or_else(|| {
            Err(CallError::unknown(
                ErrorKind::Stopping,
                "this member stopped, or took a snapshot, before the restore was known to be applied: outcome unknown; look at the keys",
            ))
        })?;
        self.tally().count(Count::Restore);
        Ok(applied)
    }

    /// Returns once a quorum of the place's configuration has it on disk; the others go on with it.
    async fn spread(&self, place: &Place, order: RestoreOrder) -> Result<(), CallError> {
        let (own, configuration) = (self.view().identity.server.clone(), &place.configuration.configuration);
        let ask = |id| {
            let (leaders, term) = (self.shared.leaders.clone(), place.term);
            async move { leaders.stage(&id, order, term).await }
        };
        let holders = spread(configuration, own, |holders| place.is_quorum(holders), ask).await.map_err(|why| {
            CallError::not_applied(
                ErrorKind::WouldLoseQuorum,
                format!(
                    "the archive could not be put on the disks of a majority of the voters ({why}): heal them and send it again; nothing was changed"
                ),
            )
        })?;
        info!(holders, "a quorum holds the archive");
        Ok(())
    }

    /// Where archives are staged.
    pub(crate) fn stages(&self) -> &Arc<Stages> {
        &self.shared.stages
    }
}

/// What a refused or failed staging means to whoever sent the archive.
pub(crate) fn staging_failed(error: &StoreError) -> CallError {
    match error {
        StoreError::NoSpace { .. } => CallError::not_applied(ErrorKind::NoSpace, error.to_string()),
        StoreError::SnapshotRefused { why } => CallError::not_applied(
            ErrorKind::Invalid,
            format!("the archive's state was refused: {why}; nothing was changed"),
        ),
        other => CallError::not_applied(ErrorKind::Stopping, other.to_string()),
    }
}

/// What an archive's restore answers to its sender.
pub(crate) struct RestoredAt {
    /// The entry.
    pub(crate) index: Index,
    /// Its API index, which all keys have now.
    pub(crate) api_index: u64,
}

impl From<Applied> for RestoredAt {
    fn from(applied: Applied) -> Self {
        use quorate_machine::Outcome;
        let api_index = match applied.outcome {
            Outcome::Written { modify_index } => modify_index.0,
            _ => applied.index.0,
        };
        Self { index: applied.index, api_index }
    }
}
