//! The flusher's thread: writes frozen memtables into the state file, one at a time, beside applying.
//!
//! Invariant: at most one flush is under way, and it ends before its file is replaced (K4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use quorate_machine::Flush;
use quorate_raft::LogId;
use quorate_store::{StateFile, StoreError};

use super::doom::Doom;
use super::machine::Job;
use crate::exit::{Code, Failure};
use crate::limits::FLUSH_RETRY_PAUSE;

/// A flush that is synced.
pub(super) struct Flushed {
    pub(super) upto: LogId,
}

struct Order {
    flush: Flush,
    file: StateFile,
}

/// The machine's side of the flusher.
pub(super) struct Flusher {
    orders: SyncSender<Order>,
    results: Receiver<LogId>,
    stopping: Arc<AtomicBool>,
    is_busy: bool,
}

impl Flusher {
    /// Starts the thread; it wakes the machine through `jobs` whenever a flush ended.
    pub(super) fn start(jobs: SyncSender<Job>, doom: Doom) -> Result<Self, Failure> {
        // One: the machine freezes nothing while a flush is under way.
        let (orders, inbox) = sync_channel::<Order>(1);
        let (outbox, results) = sync_channel(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let work = move || {
            while let Ok(order) = inbox.recv() {
                match write(&order, &stop) {
                    Ok(Some(upto)) => {
                        if outbox.send(upto).is_err() {
                            return;
                        }
                        // A full queue means the machine is awake anyway and looks by itself soon.
                        let _ = jobs.try_send(Job::FlushEnded);
                    }
                    Ok(None) => return,
                    Err(error) => {
                        doom.storage(&error);
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new().name("flusher".to_owned()).spawn(work).map_err(|error| {
            Failure::new(Code::Unavailable, format!("cannot start the flusher's thread: {error}"))
        })?;
        Ok(Self { orders, results, stopping, is_busy: false })
    }

    pub(super) fn begin(&mut self, flush: Flush, file: StateFile) {
        // The channel is gone only after a storage error, which ends the member.
        self.is_busy = self.orders.send(Order { flush, file }).is_ok();
    }

    /// The flush that ended, waiting for it up to `timeout`.
    pub(super) fn take(&mut self, timeout: Duration) -> Option<Flushed> {
        let upto = self.results.recv_timeout(timeout).ok()?;
        self.is_busy = false;
        Some(Flushed { upto })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// Flushes once the log is durable up to the memtable (K4); none if asked to stop before.
fn write(order: &Order, stop: &AtomicBool) -> Result<Option<LogId>, StoreError> {
    loop {
        match order.file.flush(&order.flush) {
            Err(StoreError::FlushAheadOfLog { .. }) if stop.load(Ordering::Acquire) => return Ok(None),
            // A quorum without us committed these entries; our own disk is about to have them.
            Err(StoreError::FlushAheadOfLog { .. }) => std::thread::sleep(FLUSH_RETRY_PAUSE),
            done => return done.map(Some),
        }
    }
}
