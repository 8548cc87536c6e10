//! Two numbers shared by the log and the state file, so that neither trusts a caller's copy.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_raft::Index;

/// How far the log and the state are durable. Each has one writer; both are read by the other file.
#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    /// Last index in a synced commit of the log: no flush goes beyond it (K4).
    persisted: AtomicU64,
    /// Applied index in a synced commit of the state: the log forgets nothing beyond it (K3).
    durable_applied: AtomicU64,
}

impl Watermarks {
    pub(crate) fn persisted(&self) -> Index {
        Index(self.persisted.load(Ordering::Acquire))
    }

    /// Set after the commit returned; a truncation or an install may lower it.
    pub(crate) fn set_persisted(&self, index: Index) {
        self.persisted.store(index.0, Ordering::Release);
    }

    pub(crate) fn durable_applied(&self) -> Index {
        Index(self.durable_applied.load(Ordering::Acquire))
    }

    /// Raised after the commit returned; it never falls, as a state file is only ever replaced by a newer one.
    pub(crate) fn raise_durable_applied(&self, index: Index) {
        self.durable_applied.fetch_max(index.0, Ordering::AcqRel);
    }
}
