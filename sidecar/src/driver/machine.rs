//! The machine's thread: it owns the replicated state, applies what is committed, and answers reads.
//!
//! ```text
//!   driver ──Apply (entries, who waits)──▶ ┌─────────┐ ──outcome──▶ the waiting caller
//!   handles ──query + index──────────────▶ │ machine │ ──Applied, DurableApplied──▶ driver
//!                                          └────┬────┘
//!                                    frozen memtable ▼  ▲ flushed
//!                                          ┌─────────┐
//!                                          │ flusher │ ──one transaction──▶ state.redb
//!                                          └─────────┘
//! ```
//!
//! Invariants: a query runs only when its index is applied; a flush belongs to the file it began on (K4); a
//! storage error ends the process and is never retried.
//! Not here: what commands mean, and when the log may forget (the core decides from `DurableApplied`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use quorate_machine::{
    ApplicationMeta, Era, Here, Machine, Mode, Outcome, Position, RestoreOrder, StateError, Tagged,
};
use quorate_raft::{Entry, Index, LogId, Payload, Term};
use quorate_store::{StateFile, StoreError, encode_configuration};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tracing::debug;

use super::doom::Doom;
use super::flusher::{Flushed, Flusher};
use super::handle::Applied;
use super::history::KeyHistory;
use super::own_client::owner;
use super::queries::{MachineQueue, Query};
use super::request::Reply;
use super::sessions::Sessions;
use super::tally::{Count, Tally};
use super::writer::Writer;
use crate::exit::{Code, Failure};
use crate::limits::{APPLY_QUEUE_MAX, FLUSH_CHECK, FLUSH_EVERY, QUERY_QUEUE_MAX};

/// The replicated state as this member has it.
pub type State = Machine<StateFile>;

/// What a storage or format error of the state is called.
pub type QueryError = StateError<StoreError>;

/// Who waits for an entry to be applied.
pub(crate) enum Waiter {
    Write(Writer),
    Barrier(Reply<Index>),
}

/// What the driver hears from the machine.
#[derive(Debug)]
pub(crate) enum Report {
    Applied(LogId),
    DurableApplied(LogId),
    /// The next entry is a restore (K17): the machine waits for the state made by it, from this one's numbers.
    Restore {
        order: RestoreOrder,
        at: LogId,
        here: Box<Here>,
    },
    /// No flush is under way and none will begin: the state file can be replaced.
    Rests,
    /// The machine is on the installed state.
    Installed,
}

/// Work for the thread.
pub(super) enum Job {
    Apply {
        entries: Vec<Entry>,
        waiters: Vec<(Index, Waiter)>,
    },
    Query {
        index: Index,
        query: Box<dyn Query>,
        permit: OwnedSemaphorePermit,
    },
    /// Flush now, whatever the time: somebody needs the state on the disk.
    Flush,
    /// Finish the flush under way and begin no other: the state file is about to be replaced.
    Rest,
    /// Drop everything and continue from this file, which is whole at a later index (K5).
    Install(StateFile),
    /// A flush ended; its result is in its own channel.
    FlushEnded,
    /// Flush what is applied by then, and end.
    Stop,
}

/// The running thread.
pub(crate) struct MachineThread {
    queue: MachineQueue,
    keys_index: watch::Receiver<u64>,
    sessions_index: watch::Receiver<u64>,
    application: watch::Receiver<ApplicationMeta>,
    history: Arc<KeyHistory>,
    /// Set when there is no time for what is queued.
    is_hurried: Arc<AtomicBool>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl MachineThread {
    /// Starts it on the state in `file`.
    pub(crate) fn start(
        file: StateFile,
        reports: impl Fn(Report) + Send + 'static,
        doom: Doom,
        tally: Arc<Tally>,
        sessions: Arc<Sessions>,
    ) -> Result<Self, Failure> {
        let mut state = State::open(file).map_err(|error| query_failure(&error))?;
        state.note_key_changes();
        let history = Arc::new(KeyHistory::new(state.meta().keys.index));
        let (jobs, inbox) = sync_channel(QUERY_QUEUE_MAX + APPLY_QUEUE_MAX);
        let queue = MachineQueue::new(jobs.clone());
        let flusher = Flusher::start(jobs, doom.clone())?;
        let (seen, keys_index) = watch::channel(state.meta().keys.index.0);
        let (sessions_seen, sessions_index) = watch::channel(state.meta().sessions.index.0);
        let (application_seen, application) = watch::channel(state.meta().application);
        let is_hurried = Arc::new(AtomicBool::new(false));
        let (lives, ended) = oneshot::channel();
        let worker = Worker {
            state,
            history: Arc::clone(&history),
            keys_index: seen,
            sessions_index: sessions_seen,
            application: application_seen,
            sessions,
            inbox,
            reports: Box::new(reports),
            doom,
            tally,
            flusher,
            waiting: BTreeMap::new(),
            waits: 0,
            looked_at: Instant::now(),
            flushed_at: Instant::now(),
            is_resting: false,
            restoring: None,
            is_hurried: Arc::clone(&is_hurried),
            _lives: lives,
        };
        std::thread::Builder::new().name("machine".to_owned()).spawn(move || worker.run()).map_err(
            |error| Failure::new(Code::Unavailable, format!("cannot start the machine's thread: {error}")),
        )?;
        Ok(Self { queue, keys_index, sessions_index, application, history, is_hurried, ended })
    }

    /// The index of the last change of any key, as it grows: what blocking queries wait on.
    pub(crate) fn keys_index(&self) -> &watch::Receiver<u64> {
        &self.keys_index
    }

    /// The same of any session.
    pub(crate) fn sessions_index(&self) -> &watch::Receiver<u64> {
        &self.sessions_index
    }

    /// The application's log as a whole, as it changes (K22).
    pub(crate) fn application(&self) -> &watch::Receiver<ApplicationMeta> {
        &self.application
    }

    /// The latest changes of keys.
    pub(crate) fn history(&self) -> &Arc<KeyHistory> {
        &self.history
    }

    pub(crate) fn queue(&self) -> &MachineQueue {
        &self.queue
    }

    /// Applies what is queued, flushes and ends the thread, as far as that goes within `timeout`. The log replays the rest
    /// at the next start. Never waits longer, whatever is queued.
    pub(crate) async fn stop(self, timeout: Duration) {
        let hurry = || self.is_hurried.store(true, Ordering::Relaxed);
        if self.queue.try_send(Job::Stop).is_err() {
            // So much is queued that there is no room for the word, and no time for all that either.
            hurry();
        }
        if tokio::time::timeout(timeout, self.ended).await.is_err() {
            hurry();
        }
    }
}

struct Worker {
    state: State,
    history: Arc<KeyHistory>,
    keys_index: watch::Sender<u64>,
    sessions_index: watch::Sender<u64>,
    application: watch::Sender<ApplicationMeta>,
    sessions: Arc<Sessions>,
    inbox: Receiver<Job>,
    reports: Box<dyn Fn(Report) + Send>,
    doom: Doom,
    tally: Arc<Tally>,
    flusher: Flusher,
    /// Queries whose index is not applied yet, by index and arrival. Bounded by the permits they hold.
    waiting: BTreeMap<(Index, u64), (Box<dyn Query>, OwnedSemaphorePermit)>,
    /// How many ever waited: keeps arrivals apart.
    waits: u64,
    /// When queries that nobody waits for any more were last looked for.
    looked_at: Instant,
    flushed_at: Instant,
    /// The state file is being replaced.
    is_resting: bool,
    /// An archive is becoming the state; what comes after it waits. Bounded by what the core hands out before it hears
    /// that earlier entries are applied.
    restoring: Option<Restoring>,
    /// The process ends, and there is no time for what is queued.
    is_hurried: Arc<AtomicBool>,
    /// Dropped last, by which the end is seen.
    _lives: oneshot::Sender<()>,
}

/// A restore whose turn it is to be applied.
struct Restoring {
    at: LogId,
    waiter: Option<Waiter>,
    /// What was to be applied after it, in order.
    held: VecDeque<Batch>,
}

type Batch = (Vec<Entry>, Vec<(Index, Waiter)>);

impl Worker {
    fn run(mut self) {
        while !self.is_hurried() {
            match self.inbox.recv_timeout(FLUSH_CHECK) {
                Ok(Job::Stop) => break,
                Ok(job) => {
                    if let Err(error) = self.work(job) {
                        self.doom.call(query_failure(&error));
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.forget_abandoned();
            self.flush_if_due();
        }
        self.flush_before_stop();
    }

    /// Now and then: with each job it would cost the number of reads that wait for every one of them.
    fn forget_abandoned(&mut self) {
        if self.looked_at.elapsed() >= FLUSH_CHECK {
            self.looked_at = Instant::now();
            self.waiting.retain(|_, (query, _)| !query.is_abandoned());
        }
    }

    fn is_hurried(&self) -> bool {
        self.is_hurried.load(Ordering::Relaxed)
    }

    fn work(&mut self, job: Job) -> Result<(), QueryError> {
        match job {
            Job::Apply { entries, waiters } => {
                let (since, number) = (Instant::now(), entries.len());
                let applied = self.apply(entries, waiters);
                self.tally.applied(number, since.elapsed());
                applied
            }
            Job::Query { index, query, permit } => self.ask(index, query, permit),
            Job::Rest => {
                self.rest();
                Ok(())
            }
            Job::Flush => {
                self.begin_flush();
                Ok(())
            }
            Job::Install(file) => self.install(file),
            Job::FlushEnded => {
                self.take_flushed(Duration::ZERO);
                Ok(())
            }
            // Handled by the caller, which ends the loop.
            Job::Stop => Ok(()),
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, waiters: Vec<(Index, Waiter)>) -> Result<(), QueryError> {
        if let Some(restoring) = &mut self.restoring {
            restoring.held.push_back((entries, waiters));
            return Ok(());
        }
        let mut waiters = waiters.into_iter().peekable();
        let mut last = None;
        let mut entries = entries.into_iter();
        let mut order = None;
        while let Some(entry) = entries.next() {
            self.make_room();
            if self.is_hurried() {
                break;
            }
            let at = Position { index: entry.index.0, term: entry.term.0 };
            let waiter = waiters.next_if(|(index, _)| *index == entry.index).map(|(_, waiter)| waiter);
            order = restore_order(&entry);
            if order.is_some() {
                let held = VecDeque::from([(entries.collect(), waiters.collect())]);
                self.restoring = Some(Restoring { at: entry.id(), waiter, held });
                break;
            }
            last = Some(entry.id());
            match entry.payload {
                Payload::Command(command) => {
                    let outcome = self.state.apply(at, &command)?;
                    if let Some(Waiter::Write(writer)) = waiter {
                        writer.tell(Ok(Applied { index: entry.index, outcome }));
                    }
                }
                Payload::Noop | Payload::Barrier => {
                    self.state.apply_empty(at);
                    if let Some(Waiter::Barrier(reply)) = waiter {
                        let _ = reply.send(Ok(entry.index));
                    }
                }
                Payload::Configuration(configuration) => {
                    let owners = configuration.servers().iter().map(|server| owner(&server.id)).collect();
                    let era = Era {
                        cluster_version: configuration.version().0,
                        recovery_epoch: configuration.recovery_epoch().0,
                        mode: match configuration.mode() {
                            quorate_raft::Mode::KeyValue => Mode::KeyValue,
                            quorate_raft::Mode::Log => Mode::Log,
                        },
                    };
                    self.state.apply_configuration(at, era, owners, encode_configuration(&configuration));
                }
            }
        }
        // Before anybody reads what is applied now: who then watches from there on misses nothing.
        self.history.push(self.state.take_key_changes());
        if let Some(last) = last {
            self.report(Report::Applied(last));
        }
        if let (Some(order), Some(restoring)) = (order, &self.restoring) {
            let here = Box::new(self.state.here()?);
            self.report(Report::Restore { order, at: restoring.at, here });
        }
        self.sessions.note(&self.state.take_session_events());
        self.show_indexes();
        self.answer_waiting()
    }

    /// Entries that touch no key, or no session, wake nobody who waits for one.
    fn show_indexes(&self) {
        let meta = self.state.meta();
        for (seen, now) in
            [(&self.keys_index, meta.keys.index.0), (&self.sessions_index, meta.sessions.index.0)]
        {
            seen.send_if_modified(|index| std::mem::replace(index, now) != now);
        }
        let now = meta.application;
        self.application.send_if_modified(|seen| std::mem::replace(seen, now) != now);
    }

    /// One memtable is being flushed and the next is full: applying waits, and memory stays bounded (K29).
    fn make_room(&mut self) {
        if self.state.is_full() {
            self.flush_if_due();
        }
        while self.state.must_wait() && !self.is_resting && !self.doom.is_called() && !self.is_hurried() {
            self.take_flushed(FLUSH_CHECK);
            self.flush_if_due();
        }
    }

    fn ask(
        &mut self,
        index: Index,
        query: Box<dyn Query>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), QueryError> {
        if index.0 <= self.state.applied().index {
            return query.run(&self.state);
        }
        self.waits += 1;
        self.waiting.insert((index, self.waits), (query, permit));
        Ok(())
    }

    fn answer_waiting(&mut self) -> Result<(), QueryError> {
        let applied = self.state.applied().index;
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0.0 > applied {
                break;
            }
            let (query, _permit) = first.remove();
            query.run(&self.state)?;
        }
        Ok(())
    }

    /// A flush belongs to the file it began on (K4), so it ends before that file goes.
    fn rest(&mut self) {
        while self.flusher.is_busy() && !self.doom.is_called() {
            self.take_flushed(FLUSH_CHECK);
        }
        self.is_resting = true;
        self.report(Report::Rests);
    }

    fn install(&mut self, file: StateFile) -> Result<(), QueryError> {
        self.is_resting = false;
        let since = Instant::now();
        self.state = State::open(file)?;
        self.state.note_key_changes();
        self.history.replace(self.state.meta().keys.index);
        self.tally.restored(since.elapsed());
        self.flushed_at = Instant::now();
        let applied = log_id(self.state.applied());
        debug!(index = %applied.index, "the machine continues from an installed snapshot");
        self.report(Report::Installed);
        self.report(Report::Applied(applied));
        // Of a snapshot the core knows it; a restore is to it an entry as any other.
        self.report(Report::DurableApplied(applied));
        self.sessions.replaced(&self.state)?;
        self.show_indexes();
        self.answer_waiting()?;
        self.go_on_after_restore(applied)
    }

    /// The new state is that of the restore that was waited for, or of a snapshot from beyond it.
    fn go_on_after_restore(&mut self, applied: LogId) -> Result<(), QueryError> {
        let Some(restoring) = self.restoring.take_if(|restoring| restoring.at.index <= applied.index) else {
            return Ok(());
        };
        // Overtaken by a snapshot, it was applied too, and nobody here knows what came of it: the caller hears that.
        if let Some(Waiter::Write(writer)) = restoring.waiter.filter(|_| restoring.at == applied) {
            let outcome = Outcome::Written { modify_index: self.state.meta().keys.index };
            writer.tell(Ok(Applied { index: applied.index, outcome }));
        }
        for (mut entries, mut waiters) in restoring.held {
            entries.retain(|entry| entry.index > applied.index);
            waiters.retain(|(index, _)| *index > applied.index);
            self.apply(entries, waiters)?;
        }
        Ok(())
    }

    fn flush_if_due(&mut self) {
        let is_due = self.state.is_full() || self.flushed_at.elapsed() >= FLUSH_EVERY;
        if is_due {
            self.begin_flush();
        }
    }

    fn begin_flush(&mut self) {
        if self.is_resting {
            return;
        }
        if let Some(flush) = self.state.freeze() {
            self.flusher.begin(flush, self.state.base().clone());
        }
        self.flushed_at = Instant::now();
    }

    fn take_flushed(&mut self, timeout: Duration) {
        if let Some(Flushed { upto }) = self.flusher.take(timeout) {
            self.state.flushed(Position { index: upto.index.0, term: upto.term.0 });
            self.tally.count(Count::FsmSnapshot);
            self.report(Report::DurableApplied(upto));
        }
    }

    /// A flush at the end makes the next start short; correctness does not need it.
    fn flush_before_stop(&mut self) {
        self.begin_flush();
        if self.flusher.is_busy() {
            self.take_flushed(crate::limits::STOP_FLUSH_TIMEOUT);
        }
        self.flusher.stop();
    }

    fn report(&self, report: Report) {
        (self.reports)(report);
    }
}

fn restore_order(entry: &Entry) -> Option<RestoreOrder> {
    match &entry.payload {
        Payload::Command(command) => Tagged::restore_order(command),
        Payload::Noop | Payload::Barrier | Payload::Configuration(_) => None,
    }
}

pub(super) fn log_id(at: Position) -> LogId {
    LogId::new(Term(at.term), Index(at.index))
}

/// A state that can't be read ends the process: as storage says, or because the format is newer than this binary.
pub(super) fn query_failure(error: &QueryError) -> Failure {
    match error {
        StateError::Base(error) => super::doom::storage_failure(error),
        other => Failure::new(
            Code::Unavailable,
            format!("{other}; start the release that wrote it: nothing is known to be lost"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Incarnation, RaftId, RecoveryEpoch};
    use quorate_store::{CrashDisk, Directory, Disk};

    use super::*;

    /// Far more than a stop may take.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// K25; raft.md §7, 22: the machine stands still, and its queue is full. A stop used to wait for room in it.
    #[tokio::test]
    async fn a_stop_waits_neither_for_the_machine_nor_for_room_in_its_queue() {
        let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
        let raft_id = RaftId::new("a").unwrap();
        Directory::create_on(&disk, raft_id.clone(), Incarnation(1), RecoveryEpoch(0)).unwrap();
        let opened = Directory::open_on(&disk, &raft_id).unwrap();
        let tally = Arc::new(Tally::new());
        let machine =
            MachineThread::start(opened.state, |_| {}, Doom::new(), tally, Arc::new(Sessions::new()))
                .unwrap();
        let queue = machine.queue().clone();
        let (go_on, still) = std::sync::mpsc::channel::<()>();
        let (begins, stands) = oneshot::channel();
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let stand = move |_: &State| {
                let _ = begins.send(());
                // Ends when the other end is dropped.
                let _ = still.recv();
                Ok(())
            };
            queue.query(Index(0), deadline, stand).await
        });
        stands.await.unwrap();
        let queue = machine.queue().clone();
        while queue.try_send(Job::Apply { entries: Vec::new(), waiters: Vec::new() }).is_ok() {}
        let stopped = tokio::time::timeout(PATIENCE, machine.stop(Duration::from_millis(10))).await;
        assert!(stopped.is_ok(), "it waited");
        drop(go_on);
    }
}
