//! Received snapshots that the core has not decided about yet.
//!
//! The same snapshot may come again before the commit that names the first one is over: it is the same state, so its file is
//! shared. Each reception is decided once, by the core: it is installed or discarded; the file goes with the last one that
//! was discarded, or stays as the state.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, LogId, SnapshotMeta};

use crate::names::state_name;

#[derive(Debug, Default)]
pub(crate) struct Received {
    waiting: Mutex<BTreeMap<LogId, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    meta: SnapshotMeta,
    receptions: u32,
}

impl Received {
    /// One more reception of a snapshot that is here already; `None` if it is not, or is being built.
    pub(super) fn again(&self, last: LogId) -> Option<SnapshotMeta> {
        let mut waiting = self.lock();
        let waiting = waiting.get_mut(&last)?;
        waiting.receptions += 1;
        Some(waiting.meta.clone())
    }

    /// The state file made from a snapshot is whole.
    pub(super) fn add(&self, meta: SnapshotMeta) {
        self.lock().insert(meta.last, Waiting { meta, receptions: 1 });
    }

    /// One reception is discarded. Whether nobody wants the file any more.
    pub(super) fn discard(&self, last: LogId) -> bool {
        let mut waiting = self.lock();
        let Some(found) = waiting.get_mut(&last) else { return false };
        found.receptions -= 1;
        let is_unwanted = found.receptions == 0 || broken(Mutant::K5Shared);
        if is_unwanted {
            waiting.remove(&last);
        }
        is_unwanted
    }

    /// It becomes the state, and its file has another name from now on: other receptions of it have nothing to wait for.
    pub(super) fn adopt(&self, last: LogId) {
        self.lock().remove(&last);
    }

    /// The state is at `applied` now: whatever ends at or below it will be discarded, if it was not yet, and has no more to
    /// wait for. The names of the files.
    pub(super) fn settle(&self, applied: Index) -> Vec<String> {
        let mut waiting = self.lock();
        let settled: Vec<LogId> = waiting.keys().copied().filter(|last| last.index <= applied).collect();
        waiting.retain(|last, _| last.index > applied);
        settled.into_iter().map(state_name).collect()
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
