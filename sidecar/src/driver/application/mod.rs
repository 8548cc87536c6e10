//! The application that brings its own state machine, as this member knows it (K22).
//!
//! ```text
//!   machine ──meta, entries──▶ subscriptions ──▶ the application of this Pod ──acks──▶ word ──report──▶ who leads
//!   who leads: every member's word + the snapshot ──▶ Trim
//!   an offer ──▶ on the disks of a quorum ──▶ RecordSnapshot ──▶ members that lack the file fetch it
//! ```
//!
//! Invariant: what is trimmed is in the recorded snapshot (the machine sees to that), and who leads trims only while a
//! quorum says that it has that snapshot's file: so no loss that leaves a majority of the disks loses an entry.
//! Not here: what an entry means, and how an application speaks (`serve/grpc/log.rs`).

mod keeper;
mod offer;
mod trim;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_machine::{ApiIndex, ApplicationMeta, EntriesAfter, PageLimit};
use quorate_raft::Index;
use quorate_store::ApplicationSnapshots;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::CallError;
use super::handle::Handle;
use crate::limits::{REQUEST_TIMEOUT_DEFAULT, SUBSCRIPTIONS_MAX};

pub(crate) use keeper::{keep_snapshot, keep_trimmed};
pub(crate) use offer::offer_failed;

/// What this member knows of its application.
#[derive(Debug)]
pub(crate) struct Application {
    meta: watch::Receiver<ApplicationMeta>,
    snapshots: Arc<ApplicationSnapshots>,
    acks: Mutex<Acks>,
}

/// What a member says of its application to whoever leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApplicationWord {
    /// It has durably applied everything up to here; 0: nothing, or it did not say.
    pub(crate) applied: ApiIndex,
    /// The recorded snapshot is on this member's disk: its index; else 0.
    pub(crate) snapshot: ApiIndex,
}

#[derive(Debug, Default)]
struct Acks {
    open: BTreeMap<u64, ApiIndex>,
    begun: u64,
    /// What the one said that closed last, while none is open.
    last: ApiIndex,
}

/// One open subscription; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    application: Arc<Application>,
    number: u64,
}

impl Application {
    pub(super) fn new(meta: watch::Receiver<ApplicationMeta>, snapshots: ApplicationSnapshots) -> Self {
        let snapshots = Arc::new(snapshots);
        Self { meta, snapshots, acks: Mutex::default() }
    }

    /// The log as a whole, as this member has applied it.
    pub(crate) fn meta(&self) -> ApplicationMeta {
        *self.meta.borrow()
    }

    /// The same as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<ApplicationMeta> {
        self.meta.clone()
    }

    /// The files that are here.
    pub(crate) fn snapshots(&self) -> &Arc<ApplicationSnapshots> {
        &self.snapshots
    }

    /// What to tell whoever leads.
    pub(crate) fn word(&self) -> ApplicationWord {
        let recorded = self.meta().snapshot;
        let snapshot = recorded.filter(|recorded| self.snapshots.get(*recorded).is_some());
        let acks = self.lock();
        // Of several the slowest: an old connection may not have ended yet.
        let applied = acks.open.values().min().copied().unwrap_or(acks.last);
        ApplicationWord { applied, snapshot: snapshot.map_or(ApiIndex(0), |snapshot| snapshot.index) }
    }

    /// Begins a subscription of an application that has applied everything up to `applied`.
    pub(crate) fn subscribe(self: &Arc<Self>, applied: ApiIndex) -> Result<Subscription, CallError> {
        let mut acks = self.lock();
        if acks.open.len() >= SUBSCRIPTIONS_MAX {
            return Err(CallError::busy("the number of subscriptions (SUBSCRIPTIONS_MAX)"));
        }
        acks.begun += 1;
        let number = acks.begun;
        acks.open.insert(number, applied);
        drop(acks);
        Ok(Subscription { application: Arc::clone(self), number })
    }

    /// How many subscriptions are open.
    pub(crate) fn subscriptions(&self) -> usize {
        self.lock().open.len()
    }

    /// Subscription `number` has applied more; one that ended counts no more.
    pub(crate) fn acknowledge(&self, number: u64, applied: ApiIndex) {
        if let Some(known) = self.lock().open.get_mut(&number) {
            *known = applied.max(*known);
        }
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> MutexGuard<'_, Acks> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Its number, to acknowledge by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut acks = self.application.lock();
        if let Some(applied) = acks.open.remove(&self.number)
            && acks.open.is_empty()
        {
            acks.last = applied;
        }
    }
}

impl Handle {
    /// What is known of this member's application.
    pub(crate) fn application(&self) -> &Arc<Application> {
        &self.shared.application
    }

    /// What an application gets next that has applied everything up to `after`, as far as this member has applied the log.
    pub(crate) async fn entries_after(
        &self,
        after: ApiIndex,
        limit: PageLimit,
    ) -> Result<EntriesAfter, CallError> {
        self.check_serving()?;
        let deadline = Instant::now() + REQUEST_TIMEOUT_DEFAULT;
        let query = move |state: &super::machine::State| state.entries_after(after, limit);
        Ok(self.shared.machine.query(Index(0), deadline, query).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Incarnation, RaftId, RecoveryEpoch};
    use quorate_store::{CrashDisk, Directory, Disk};

    use super::*;

    fn application() -> Arc<Application> {
        let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
        let raft_id = RaftId::new("a").unwrap();
        Directory::create_on(&disk, raft_id.clone(), Incarnation(1), RecoveryEpoch(0)).unwrap();
        let opened = Directory::open_on(&disk, &raft_id).unwrap();
        let snapshots = ApplicationSnapshots::open(&opened.directory).unwrap();
        let (_, meta) = watch::channel(ApplicationMeta::default());
        Arc::new(Application::new(meta, snapshots))
    }

    /// K22: what a member says its application has applied is never more than an open connection says, and lasts over the
    /// end of the last one.
    #[test]
    fn a_member_speaks_for_the_slowest_of_its_application_s_connections() {
        let application = application();
        assert_eq!(application.word().applied, ApiIndex(0), "nobody ever said anything");
        let old = application.subscribe(ApiIndex(4)).unwrap();
        let new = application.subscribe(ApiIndex(7)).unwrap();
        assert_eq!((application.word().applied, application.subscriptions()), (ApiIndex(4), 2));
        application.acknowledge(new.number(), ApiIndex(9));
        let number = old.number();
        drop(old);
        application.acknowledge(number, ApiIndex(1));
        assert_eq!(application.word().applied, ApiIndex(9));
        application.acknowledge(new.number(), ApiIndex(8));
        assert_eq!(application.word().applied, ApiIndex(9), "it never falls within a connection");
        drop(new);
        assert_eq!(application.word().applied, ApiIndex(9), "a stopped application still has what it had");
        let emptied = application.subscribe(ApiIndex(0)).unwrap();
        assert_eq!(application.word().applied, ApiIndex(0), "it lost its state");
        drop(emptied);
    }

    /// Every queue has a bound.
    #[test]
    fn subscriptions_are_bounded() {
        let application = application();
        let open: Vec<_> =
            (0..SUBSCRIPTIONS_MAX).map(|_| application.subscribe(ApiIndex(0)).unwrap()).collect();
        assert!(application.subscribe(ApiIndex(0)).is_err());
        drop(open);
        assert!(application.subscribe(ApiIndex(0)).is_ok());
    }
}
