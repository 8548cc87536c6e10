//! The called's side of staging: takes a state from the leader that asks, and gives what is staged here (K17).

use std::sync::Arc;
use std::time::Duration;

use quorate_api::peer::v1 as proto;
use quorate_machine::RestoreOrder;
use quorate_raft::{Identity, ServerId, Term};
use quorate_store::{StagedFile, Stages};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::fetch::{self, FetchError};
use super::{Book, Dialer};
use crate::driver::{Doom, Running};
use crate::limits::{
    SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_WAITING_MAX, SNAPSHOT_STALL_TIMEOUT,
};

/// What the peer port knows of staged states.
pub(crate) struct Staging {
    stages: Arc<Stages>,
    book: watch::Receiver<Arc<Book>>,
    doom: Doom,
    /// Held while one comes in.
    busy: Semaphore,
}

impl Staging {
    pub(crate) fn new(running: &Running, doom: Doom) -> Self {
        let stages = Arc::clone(&running.stages);
        Self { stages, book: running.handle.shared.leaders.book(), doom, busy: Semaphore::new(1) }
    }

    /// Returns when it is on this member's disk.
    pub(super) async fn stage(
        &self,
        identity: &Arc<Identity>,
        from: &ServerId,
        order: RestoreOrder,
        term: Term,
    ) -> Result<(), Status> {
        if self.stages.get(order, term).is_some() {
            return Ok(());
        }
        let _permit = self
            .busy
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another archive is coming in"))?;
        let dialer: Option<Arc<Dialer>> = self.book.borrow().get(from).cloned();
        let dialer =
            dialer.ok_or_else(|| Status::unavailable("the caller's address is not known here yet"))?;
        match fetch::from(identity, &dialer, order, term, &self.stages).await {
            Ok(_) => Ok(()),
            Err(FetchError::Store(error)) => {
                // No room for a copy harms nothing that this member lives on.
                let is_harmless =
                    error.is_refusal() || matches!(error, quorate_store::StoreError::NoSpace { .. });
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
        order: RestoreOrder,
    ) -> Result<ReceiverStream<Result<proto::FetchChunk, Status>>, Status> {
        let staged = self
            .stages
            .get(order, Term(0))
            .ok_or_else(|| Status::not_found("this archive is not staged here"))?;
        let (chunks, outgoing) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING_MAX);
        // It ends with the file, or a stall after the caller is gone.
        tokio::spawn(send(staged, chunks, self.doom.clone()));
        Ok(ReceiverStream::new(outgoing))
    }
}

async fn send(staged: Arc<StagedFile>, chunks: mpsc::Sender<Result<proto::FetchChunk, Status>>, doom: Doom) {
    let mut pace = interval(CHUNK_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut offset = 0;
    loop {
        pace.tick().await;
        let file = Arc::clone(&staged);
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
