//! The queue to the machine's thread: the driver's work, and queries of callers with the index they wait for.
//!
//! Queries hold a permit from here until they are answered or given up, so that they can never fill the queue
//! that the driver's work goes through.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use quorate_raft::{Index, LogId};
use tokio::sync::{Semaphore, oneshot};

use super::error::{CallError, ErrorKind};
use super::machine::{Job, QueryError, State, log_id};
use crate::limits::QUERY_QUEUE_MAX;

/// The way to the machine's thread.
#[derive(Clone)]
pub(crate) struct MachineQueue {
    jobs: SyncSender<Job>,
    queries: Arc<Semaphore>,
}

pub(super) trait Query: Send {
    fn is_abandoned(&self) -> bool;
    fn run(self: Box<Self>, state: &State) -> Result<(), QueryError>;
}

struct TypedQuery<Q, T> {
    query: Q,
    reply: oneshot::Sender<(T, LogId)>,
}

impl<T, Q> Query for TypedQuery<Q, T>
where
    T: Send,
    Q: FnOnce(&State) -> Result<T, QueryError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(self: Box<Self>, state: &State) -> Result<(), QueryError> {
        let value = (self.query)(state)?;
        // Who is gone does not want the answer.
        let _ = self.reply.send((value, log_id(state.applied())));
        Ok(())
    }
}

impl MachineQueue {
    pub(super) fn new(jobs: SyncSender<Job>) -> Self {
        Self { jobs, queries: Arc::new(Semaphore::new(QUERY_QUEUE_MAX)) }
    }

    /// Runs `query` once `index` is applied.
    pub(crate) async fn query<T, Q>(
        &self,
        index: Index,
        deadline: tokio::time::Instant,
        query: Q,
    ) -> Result<(T, LogId), CallError>
    where
        T: Send + 'static,
        Q: FnOnce(&State) -> Result<T, QueryError> + Send + 'static,
    {
        let permit =
            Arc::clone(&self.queries).try_acquire_owned().map_err(|_| CallError::busy("the read queue"))?;
        let (reply, answer) = oneshot::channel();
        let query = Box::new(TypedQuery { query, reply });
        self.jobs.try_send(Job::Query { index, query, permit }).map_err(|error| match error {
            TrySendError::Full(_) => CallError::busy("the read queue"),
            TrySendError::Disconnected(_) => CallError::stopping(),
        })?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) => Err(CallError::stopping()),
            Err(_) => Err(CallError::not_applied(
                ErrorKind::Deadline,
                format!(
                    "this member has not applied index {index} by the deadline: retry, or ask another member"
                ),
            )),
        }
    }

    /// Asks for a flush now, beside those that are due by time and size.
    pub(super) fn flush(&self) -> Result<(), CallError> {
        self.jobs.try_send(Job::Flush).map_err(|error| match error {
            TrySendError::Full(_) => CallError::busy("the read queue"),
            TrySendError::Disconnected(_) => CallError::stopping(),
        })
    }

    /// Hands over work of the driver; gives it back if the thread has too much already.
    pub(super) fn try_send(&self, job: Job) -> Result<(), Job> {
        match self.jobs.try_send(job) {
            Err(TrySendError::Full(job)) => Err(job),
            // Disconnected: the thread ended at an error; `Doom` has the reason and the driver is ending too.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}
