//! The storage thread: one owner of the log, group commit, answers in order.
//!
//! ```text
//!   driver ──submit──▶ bounded queue ──▶ take all that is queued ──▶ one transaction, one fdatasync ──▶ report
//! ```
//!
//! While one commit syncs, the next batch gathers: there is no artificial delay, and at most one
//! commit is in flight. A batch is bounded, because beyond that it only adds latency (`BATCH_ENTRIES_MAX`).
//!
//! Invariant: reports come in the order of submission. After the first error, which is reported
//! once, the thread has ended and nothing is acknowledged any more: a failed fsync is never retried.

use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread::{Builder, JoinHandle};

use quorate_raft::{Entry, Index, LogId, Persist};

use crate::error::StoreError;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, QUEUE_REQUESTS_MAX};
use crate::log::{Committed, Log};

/// Something to be done by the storage thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make this durable.
    Persist(Persist),
    /// Forget the log up to and including this index, as far as K3 allows.
    Compact {
        /// The last index to forget.
        upto: Index,
    },
    /// Name the state file of the restore that is this entry (K17); what was submitted before it is durable by then.
    NameRestored {
        /// The entry.
        at: LogId,
    },
}

/// What the storage thread says.
#[derive(Debug)]
pub enum Report {
    /// A commit is durable.
    Committed(Committed),
    /// The store has failed. Said once, and the last thing said: the process must end.
    Failed(StoreError),
}

/// A request that was not taken, with the reason.
#[derive(Debug)]
pub enum Rejected {
    /// The queue is full; submit it again after the next report.
    Full(Request),
    /// The thread has ended.
    Stopped(Request),
}

/// A handle on the storage thread. Dropping it finishes what was submitted, then ends the thread.
#[derive(Debug)]
pub struct LogThread {
    queue: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Starts the thread; `report` is called on it, and should only pass the report on.
    pub fn start(log: Log, report: impl FnMut(Report) + Send + 'static) -> std::io::Result<Self> {
        let (queue, requests) = mpsc::sync_channel(QUEUE_REQUESTS_MAX);
        let worker = Worker { log, requests, report, held: None, compact_upto: None, restored: None };
        let thread = Builder::new().name("storage".to_owned()).spawn(move || worker.run())?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a request; never waits.
    #[expect(
        clippy::result_large_err,
        reason = "a refused request goes back by value, to be submitted again"
    )]
    pub fn submit(&self, request: Request) -> Result<(), Rejected> {
        match &self.queue {
            Some(queue) => queue.try_send(request).map_err(|error| match error {
                TrySendError::Full(request) => Rejected::Full(request),
                TrySendError::Disconnected(request) => Rejected::Stopped(request),
            }),
            None => Err(Rejected::Stopped(request)),
        }
    }

    /// Finishes what was submitted and waits for the thread to end.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the storage thread panicked");
        }
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.join();
    }
}

struct Worker<R> {
    log: Log,
    requests: Receiver<Request>,
    report: R,
    /// Taken from the queue, but too much for the batch before.
    held: Option<Persist>,
    /// How far to compact; rides on commits, a bounded step each.
    compact_upto: Option<Index>,
    /// A state file to name once the batch is durable.
    restored: Option<LogId>,
}

impl<R: FnMut(Report)> Worker<R> {
    fn run(mut self) {
        let mut is_open = true;
        while is_open || self.held.is_some() {
            let mut batch = Batch::default();
            is_open = self.gather(&mut batch);
            if batch.persists.is_empty() && self.compact_upto.is_none() {
                if !self.name_restored() {
                    return;
                }
                continue;
            }
            match self.log.commit_and_compact(&batch.persists, self.compact_upto) {
                Ok(committed) => {
                    if !committed.compaction_pending {
                        self.compact_upto = None;
                    }
                    (self.report)(Report::Committed(committed));
                    if !self.name_restored() {
                        return;
                    }
                }
                Err(error) => {
                    (self.report)(Report::Failed(error));
                    return;
                }
            }
        }
    }

    /// Names a restored state if that was asked for; false after an error.
    fn name_restored(&mut self) -> bool {
        let Some(at) = self.restored.take() else { return true };
        match self.log.name_restored(at) {
            Ok(committed) => {
                (self.report)(Report::Committed(committed));
                true
            }
            Err(error) => {
                (self.report)(Report::Failed(error));
                false
            }
        }
    }

    /// Fills the batch with all that is queued; waits only if there is nothing to do at all.
    /// Says whether more may come.
    fn gather(&mut self, batch: &mut Batch) -> bool {
        if let Some(persist) = self.held.take() {
            batch.add(persist);
        }
        if batch.persists.is_empty() && self.compact_upto.is_none() {
            match self.requests.recv() {
                Ok(request) => self.take(request, batch),
                Err(mpsc::RecvError) => return false,
            }
        }
        while self.held.is_none() && self.restored.is_none() {
            match self.requests.try_recv() {
                Ok(request) => self.take(request, batch),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn take(&mut self, request: Request, batch: &mut Batch) {
        match request {
            Request::Compact { upto } => self.compact_upto = self.compact_upto.max(Some(upto)),
            Request::NameRestored { at } => self.restored = Some(at),
            Request::Persist(persist) if batch.has_room_for(&persist) => batch.add(persist),
            Request::Persist(persist) => self.held = Some(persist),
        }
    }
}

#[derive(Debug, Default)]
struct Batch {
    persists: Vec<Persist>,
    entries: usize,
    bytes: u64,
}

impl Batch {
    fn has_room_for(&self, persist: &Persist) -> bool {
        self.persists.is_empty()
            || self.entries + persist.entries.len() <= BATCH_ENTRIES_MAX
                && self.bytes + bytes(persist) <= BATCH_BYTES_MAX as u64
    }

    fn add(&mut self, persist: Persist) {
        self.entries += persist.entries.len();
        self.bytes += bytes(&persist);
        self.persists.push(persist);
    }
}

fn bytes(persist: &Persist) -> u64 {
    persist.entries.iter().map(Entry::bytes).sum()
}
