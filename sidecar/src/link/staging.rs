//! The called's side of staging: takes a state from the leader that asks, or a snapshot of the application from whoever
//! it was offered to, and gives what is here (K17, K22).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_api::peer::v1 as proto;
use quorate_raft::{Identity, ServerId, Term};
use quorate_store::{ApplicationFile, ApplicationSnapshots, StagedFile, Stages, StoreError};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::fetch::{self, FetchError, Wanted};
use super::{Book, Dialer};
use crate::driver::{Doom, Running};
use crate::limits::{
    SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_WAITING_MAX, SNAPSHOT_STALL_TIMEOUT,
};

/// What the peer port knows of staged states.
pub(crate) struct Staging {
    stages: Arc<Stages>,
    snapshots: Arc<ApplicationSnapshots>,
    book: watch::Receiver<Arc<Book>>,
    doom: Doom,
    /// Held while one comes in.
    busy: Semaphore,
}

impl Staging {
    pub(crate) fn new(running: &Running, doom: Doom) -> Self {
        let (stages, leaders) = (Arc::clone(&running.stages), &running.handle.shared.leaders);
        let snapshots = Arc::clone(running.handle.application().snapshots());
        Self { stages, snapshots, book: leaders.book(), doom, busy: Semaphore::new(1) }
    }

    /// Returns when it is on this member's disk.
    pub(super) async fn stage(
        &self,
        identity: &Arc<Identity>,
        from: &ServerId,
        wanted: Wanted,
        term: Term,
    ) -> Result<(), Status> {
        if self.source(wanted, term).is_some() {
            return Ok(());
        }
        let _permit = self
            .busy
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another archive or snapshot is coming in"))?;
        let dialer: Option<Arc<Dialer>> = self.book.borrow().get(from).cloned();
        let dialer =
            dialer.ok_or_else(|| Status::unavailable("the caller's address is not known here yet"))?;
        let fetched = match wanted {
            Wanted::Archive(order) => {
                fetch::from(identity, &dialer, order, term, &self.stages).await.map(drop)
            }
            Wanted::Application(snapshot) => {
                fetch::application(identity, &dialer, snapshot, &self.snapshots).await.map(drop)
            }
        };
        match fetched {
            Ok(()) => Ok(()),
            Err(FetchError::Store(error)) => {
                // No room for a copy harms nothing that this member lives on.
                let is_harmless = error.is_refusal() || matches!(error, StoreError::NoSpace { .. });
                if !is_harmless {
                    self.doom.storage(&error);
                }
                Err(Status::failed_precondition(error.to_string()))
            }
            Err(error @ FetchError::Peer(_)) => Err(Status::aborted(error.to_string())),
        }
    }

    /// Its bytes at the pace of a snapshot.
    pub(super) fn give(
        &self,
        wanted: Wanted,
    ) -> Result<ReceiverStream<Result<proto::FetchChunk, Status>>, Status> {
        let source = self.source(wanted, Term(0)).ok_or_else(|| Status::not_found("it is not here"))?;
        let (chunks, outgoing) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING_MAX);
        // It ends with the file, or a stall after the caller is gone.
        tokio::spawn(send(source, chunks, self.doom.clone()));
        Ok(ReceiverStream::new(outgoing))
    }

    fn source(&self, wanted: Wanted, term: Term) -> Option<Source> {
        match wanted {
            Wanted::Archive(order) => self.stages.get(order, term).map(Source::Archive),
            Wanted::Application(snapshot) => self.snapshots.get(snapshot).map(Source::Application),
        }
    }
}

/// A file that is given to members.
#[derive(Clone)]
enum Source {
    Archive(Arc<StagedFile>),
    Application(Arc<ApplicationFile>),
}

impl Source {
    fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, StoreError> {
        match self {
            Self::Archive(file) => file.read(offset, bytes_max),
            Self::Application(file) => file.read(offset, bytes_max),
        }
    }
}

async fn send(source: Source, chunks: mpsc::Sender<Result<proto::FetchChunk, Status>>, doom: Doom) {
    let mut pace = interval(CHUNK_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut offset = 0;
    loop {
        pace.tick().await;
        let file = source.clone();
        let read = tokio::task::spawn_blocking(move || file.read(offset, SNAPSHOT_CHUNK_BYTES)).await;
        let data = match read {
            Ok(Ok(data)) if data.is_empty() => return,
            Ok(Ok(data)) => data,
            Ok(Err(error)) => return doom.storage(&error),
            // The runtime is ending.
            Err(_) => return,
        };
        offset += data.len() as u64;
        match timeout(SNAPSHOT_STALL_TIMEOUT, chunks.send(Ok(proto::FetchChunk { data }))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}

/// One chunk per tick keeps the pace of `SNAPSHOT_BYTES_PER_SECOND`.
const CHUNK_EVERY: Duration =
    Duration::from_micros(SNAPSHOT_CHUNK_BYTES as u64 * 1_000_000 / SNAPSHOT_BYTES_PER_SECOND as u64);
