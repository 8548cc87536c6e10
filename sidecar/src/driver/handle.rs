//! The way to ask this member for anything: what `serve`, the autopilot runner and `control` hold.
//!
//! ```text
//!   propose ──▶ leads here? ── yes ──▶ driver ──▶ core ─▶ committed ─▶ machine ──▶ outcome
//!                  │ no: one hop over the peer link, marked, never forwarded again
//!                  └──▶ the leader's handle, `here` only
//!   read    ──▶ index from the leader (here or one hop, K11) ──▶ wait applied ──▶ this member's machine
//! ```
//!
//! Invariants: every queue behind a handle is bounded and a full one is `Busy` with its name; every call
//! ends by its deadline; what was handed to a leader and not answered is `Effect::Unknown`.
//! Not here: rights. Who may call what is decided in `serve` before it comes here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_machine::Outcome;
use quorate_raft::{Change, ClusterId, Index, LogId, Membership, Mode, RaftId, Refusal, ServerId, Status};
use quorate_store::Stages;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::application::Application;
use super::error::{CallError, ErrorKind};
use super::history::KeyHistory;
use super::machine::{QueryError, State};
use super::own_client::OwnClient;
use super::queries::MachineQueue;
use super::read_rounds::ReadRounds;
use super::request::{Ask, Request};
use super::sessions::Sessions;
use super::tally::Tally;
use super::view::{Leadership, View};
use crate::limits::REQUEST_TIMEOUT_MAX;
use crate::link::Leaders;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began, by any member (K11).
    Linearizable,
    /// Whatever this member has applied.
    Stale,
}

/// What a read saw, and how fresh it is.
#[derive(Clone, Debug)]
pub struct ReadResult<T> {
    /// The query's answer.
    pub value: T,
    /// Up to where the log was applied when it was answered.
    pub applied: LogId,
    /// Whether a leader is known now.
    pub leader_known: bool,
    /// Age of the last contact with a leader; zero on the leader; `None`: none since the process started (K6).
    pub last_contact: Option<Duration>,
}

/// An applied write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where it stands in the log.
    pub index: Index,
    /// What it came to.
    pub outcome: Outcome,
}

/// Cheap to clone; the member stops when asked to, not when handles are gone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) requests: mpsc::Sender<Request>,
    /// Bytes of commands between here and the driver.
    pub(crate) bytes: Arc<Semaphore>,
    pub(crate) machine: MachineQueue,
    pub(super) read_rounds: Arc<ReadRounds>,
    pub(crate) keys_index: watch::Receiver<u64>,
    pub(crate) sessions_index: watch::Receiver<u64>,
    pub(crate) history: Arc<KeyHistory>,
    pub(super) sessions: Arc<Sessions>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) leaders: Leaders,
    pub(super) own_client: OwnClient,
    pub(super) tally: Arc<Tally>,
    pub(super) stages: Arc<Stages>,
    pub(super) application: Arc<Application>,
    /// Places for archives being saved.
    pub(super) archives: Arc<Semaphore>,
}

impl Handle {
    /// What was counted since it started.
    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// The way to other members when they lead.
    pub(crate) fn leaders(&self) -> &Leaders {
        &self.shared.leaders
    }

    /// Who measures sessions.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// The latest picture of this member.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.shared.view.borrow())
    }

    /// The picture as it changes.
    pub fn watch_view(&self) -> watch::Receiver<Arc<View>> {
        self.shared.view.clone()
    }

    /// Leadership as it changes; numbered without holes.
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// The index of the last change of any key this member has applied, as it grows.
    pub fn watch_keys(&self) -> watch::Receiver<u64> {
        self.shared.keys_index.clone()
    }

    /// The index of the last change of any session this member has applied, as it grows.
    pub fn watch_sessions(&self) -> watch::Receiver<u64> {
        self.shared.sessions_index.clone()
    }

    /// The latest changes of keys that this member has applied.
    pub fn key_history(&self) -> &Arc<KeyHistory> {
        &self.shared.history
    }

    /// Reads from this member's machine. `query` runs on the machine's thread: keep it short and bounded.
    ///
    /// An error of the query is a storage error and ends the process.
    pub async fn read<T, Q>(
        &self,
        consistency: Consistency,
        deadline: Instant,
        query: Q,
    ) -> Result<ReadResult<T>, CallError>
    where
        T: Send + 'static,
        Q: FnOnce(&State) -> Result<T, QueryError> + Send + 'static,
    {
        self.check_serving()?;
        let index = match consistency {
            Consistency::Linearizable => self.read_index(deadline).await?,
            Consistency::Stale => Index(0),
        };
        let (value, applied) = self.shared.machine.query(index, capped(deadline), query).await?;
        let view = self.view();
        Ok(ReadResult {
            value,
            applied,
            leader_known: view.status.leader.is_some(),
            last_contact: if view.is_leader() { Some(Duration::ZERO) } else { view.leader_silence() },
        })
    }

    /// A member that was removed, or whose volume the cluster doesn't know, serves nothing (K1, K19).
    pub(super) fn check_serving(&self) -> Result<(), CallError> {
        let view = self.shared.view.borrow();
        if view.status.membership == Membership::Removed {
            return Err(CallError::from(Refusal::Removed));
        }
        if view.is_volume_lost {
            return Err(CallError::not_applied(
                ErrorKind::FailedPrecondition,
                "this volume is not the one the cluster knows: it serves nothing until this member is replaced; use another member",
            ));
        }
        Ok(())
    }

    /// The index a linearizable read must have applied: a leader's, confirmed by a majority (K11). Reads that wait at the
    /// same time share the question.
    pub async fn read_index(&self, deadline: Instant) -> Result<Index, CallError> {
        self.with_leader(deadline, |leader| async move {
            let named = leader.clone().unwrap_or_else(|| self.view().identity.server.clone());
            let handle = self.clone();
            let ask = move || handle.clone().ask_index(leader.clone());
            self.shared.read_rounds.index(named, capped(deadline), ask).await
        })
        .await
    }

    /// One question, for all reads that wait: by the longest deadline any of them has. Given up when somebody else is
    /// known to lead: a leader whose host is gone does not even refuse.
    async fn ask_index(self, leader: Option<ServerId>) -> Result<Index, CallError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT_MAX;
        let Some(leader) = leader else { return self.read_index_here(deadline).await };
        let mut view = self.watch_view();
        let leads = |view: &Arc<View>| view.status.leader.as_ref().is_some_and(|known| known.id == leader);
        tokio::select! {
            answer = self.shared.leaders.read_index(&leader, deadline) => answer,
            _ = view.wait_for(|view| !leads(view)) => Err(CallError::no_leader()),
        }
    }

    /// As [`Handle::read_index`], but only if this member leads.
    pub async fn read_index_here(&self, deadline: Instant) -> Result<Index, CallError> {
        self.ask(deadline, |reply| Ask::ReadIndex { reply }).await
    }

    /// Succeeds only if a majority confirms, after this call began, that this member leads (N1); the picture
    /// returned is at least that new (K32).
    pub async fn verify_leader(&self, deadline: Instant) -> Result<Arc<Status>, CallError> {
        self.read_index_here(deadline).await?;
        self.ask(deadline, |reply| Ask::Status { reply }).await
    }

    /// The core's picture of this very turn: an answer shows that the driver's loop turns.
    pub async fn status(&self, deadline: Instant) -> Result<Arc<Status>, CallError> {
        self.ask(deadline, |reply| Ask::Status { reply }).await
    }

    /// Returns once everything committed before it is applied here; only on the leader.
    pub async fn barrier(&self, deadline: Instant) -> Result<Index, CallError> {
        self.ask(deadline, |reply| Ask::Barrier { reply }).await
    }

    /// Changes the configuration; only on the leader.
    /// Returns the index of the new configuration.
    pub async fn change_membership(
        &self,
        expected: Index,
        change: Change,
        deadline: Instant,
    ) -> Result<Index, CallError> {
        self.ask(deadline, |reply| Ask::ChangeMembership { expected, change, reply }).await
    }

    /// Makes this empty member the one voter of a new cluster (K2), for this mode (K22). The same again is success.
    pub async fn bootstrap(
        &self,
        cluster_id: ClusterId,
        server: ServerId,
        mode: Mode,
        deadline: Instant,
    ) -> Result<Index, CallError> {
        self.ask(deadline, |reply| Ask::Bootstrap { cluster_id, server, mode, reply }).await
    }

    /// Hands leadership to `target`, or to the follower that is furthest; only on the leader.
    pub async fn transfer_leadership(
        &self,
        target: Option<RaftId>,
        deadline: Instant,
    ) -> Result<(), CallError> {
        self.ask(deadline, |reply| Ask::Transfer { target, reply }).await
    }

    /// Before this member stops: gives leadership away if it leads, and keeps it from campaigning soon
    /// (K43). Returns who leads now; `None` if this member did not lead.
    pub async fn hand_over(&self, timeout: Duration) -> Result<Option<RaftId>, CallError> {
        let deadline = Instant::now() + timeout;
        let led = self.ask(deadline, |reply| Ask::HandOver { reply }).await?;
        if !led {
            return Ok(None);
        }
        let mut view = self.watch_view();
        let own = view.borrow().identity.server.clone();
        let latest = view.borrow().status.latest.clone();
        if !latest.is_some_and(|latest| latest.configuration.voters().any(|voter| voter.id != own)) {
            return Err(CallError::from(Refusal::NoTransferTarget { target: None }));
        }
        let moved = async {
            loop {
                let leader = view.borrow_and_update().status.leader.clone();
                if let Some(leader) = leader.filter(|leader| leader.id != own) {
                    return Some(leader.id.raft_id);
                }
                view.changed().await.ok()?;
            }
        };
        tokio::time::timeout_at(deadline, moved).await.map_err(|_| {
            CallError::not_applied(
                ErrorKind::Deadline,
                "no other member took over in time: one will be elected",
            )
        })
    }

    /// Who leads now, waiting for one until the deadline; `None`: this member does.
    ///
    pub async fn leader(&self, deadline: Instant) -> Result<Option<ServerId>, CallError> {
        let mut view = self.watch_view();
        let known = async {
            loop {
                let now = Arc::clone(&view.borrow_and_update());
                if now.is_leader() {
                    return Ok(None);
                }
                if let Some(leader) = &now.status.leader {
                    return Ok(Some(leader.id.clone()));
                }
                view.changed().await.map_err(|_| CallError::stopping())?;
            }
        };
        tokio::time::timeout_at(capped(deadline), known).await.map_err(|_| CallError::no_leader())?
    }

    /// Tries leaders until one answers or the deadline passes; only calls without effect are repeated.
    pub(crate) async fn with_leader<T, F>(
        &self,
        deadline: Instant,
        call: impl Fn(Option<ServerId>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let deadline = capped(deadline);
        loop {
            let mut leadership = self.watch_leadership();
            leadership.mark_unchanged();
            let leader = self.leader(deadline).await?;
            let error = match call(leader).await {
                Err(error) if error.is_retried_on_next_leader() => error,
                done => return done,
            };
            if !next_leader(&mut leadership, deadline).await {
                return Err(error);
            }
        }
    }

    pub(super) async fn ask<T>(
        &self,
        deadline: Instant,
        ask: impl FnOnce(oneshot::Sender<Result<T, CallError>>) -> Ask,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request { ask: ask(reply), _permit: None })?;
        match tokio::time::timeout_at(capped(deadline), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::stopping()),
            Err(_) => Err(CallError::unknown(
                ErrorKind::Deadline,
                "the deadline passed before the call was answered: ask for the status to see what came of it",
            )),
        }
    }

    pub(super) fn send(&self, request: Request) -> Result<(), CallError> {
        self.place()?.send(request);
        Ok(())
    }

    /// A place in the line to the driver.
    pub(super) fn place(&self) -> Result<mpsc::Permit<'_, Request>, CallError> {
        self.shared.requests.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => CallError::busy("the request queue"),
            mpsc::error::TrySendError::Closed(()) => CallError::stopping(),
        })
    }
}

/// The next leader may be known already, or the same one may be back: a short wait before it is asked again. False if
/// the deadline leaves no time for that.
pub(super) async fn next_leader(leadership: &mut watch::Receiver<Leadership>, deadline: Instant) -> bool {
    let pause = Instant::now() + crate::limits::LEADER_RETRY_PAUSE;
    if pause >= deadline {
        return false;
    }
    let _ = tokio::time::timeout_at(pause, leadership.changed()).await;
    true
}

/// What waits in memory must end, whatever the caller asked for.
pub(super) fn capped(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + REQUEST_TIMEOUT_MAX)
}
