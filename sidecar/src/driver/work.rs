//! Work for other threads: storage and machine, each in the order the core gave it.
//!
//! What they can't take yet is held here. That is bounded by the core: it hands out no more than its limits
//! before it hears of the end of earlier work.

use std::collections::VecDeque;
use std::ops::Range;

use quorate_raft::{Index, LogReader};
use quorate_store::{LogThread, Rejected, Request};
use tokio::sync::mpsc;

use super::doom::Doom;
use super::machine::Job;
use super::queries::MachineQueue;
use super::turn::Completion;

pub(super) struct Work {
    log: LogThread,
    log_reader: quorate_store::LogReader,
    machine: MachineQueue,
    completions: mpsc::Sender<Completion>,
    doom: Doom,
    /// Storage had no room for these yet; in order.
    held_requests: VecDeque<Request>,
    /// The machine had no room for these yet; in order.
    held_jobs: VecDeque<Job>,
}

impl Work {
    pub(super) fn new(
        log: LogThread,
        log_reader: quorate_store::LogReader,
        machine: MachineQueue,
        completions: mpsc::Sender<Completion>,
        doom: Doom,
    ) -> Self {
        let (held_requests, held_jobs) = (VecDeque::new(), VecDeque::new());
        Self { log, log_reader, machine, completions, doom, held_requests, held_jobs }
    }

    pub(super) fn store(&mut self, request: Request) {
        if !self.held_requests.is_empty() {
            self.held_requests.push_back(request);
            return;
        }
        match self.log.submit(request) {
            Err(Rejected::Full(request)) => self.held_requests.push_back(request),
            // Stopped: it failed and has said so, or will with its next report.
            Ok(()) | Err(Rejected::Stopped(_)) => {}
        }
    }

    pub(super) fn give(&mut self, job: Job) {
        if !self.held_jobs.is_empty() {
            self.held_jobs.push_back(job);
        } else if let Err(job) = self.machine.try_send(job) {
            self.held_jobs.push_back(job);
        }
    }

    /// Offers again what was held.
    pub(super) fn hand_on(&mut self) {
        while let Some(request) = self.held_requests.pop_front() {
            if let Err(Rejected::Full(request)) = self.log.submit(request) {
                self.held_requests.push_front(request);
                break;
            }
        }
        while let Some(job) = self.held_jobs.pop_front() {
            if let Err(job) = self.machine.try_send(job) {
                self.held_jobs.push_front(job);
                break;
            }
        }
    }

    pub(super) fn is_held(&self) -> bool {
        !self.held_jobs.is_empty() || !self.held_requests.is_empty()
    }

    /// Reads beside the storage thread; the core asks once per reader until it is answered.
    pub(super) fn read_log(&self, reader: LogReader, range: Range<Index>, bytes_max: u64) {
        let log = self.log_reader.clone();
        let (completions, doom) = (self.completions.clone(), self.doom.clone());
        tokio::task::spawn_blocking(move || match log.read(range, bytes_max) {
            Ok(entries) => {
                // The driver is gone only when the member is ending.
                let _ = completions.blocking_send(Completion::LogRead { reader, entries });
            }
            Err(error) => doom.storage(&error),
        });
    }

    /// The storage thread, to be ended.
    pub(super) fn into_log(self) -> LogThread {
        self.log
    }
}
