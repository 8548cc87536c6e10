//! Receives snapshots: bytes into a file, checks, and the word to the core that it is there (K5).
//!
//! One transfer at a time; one that broke off is kept, so that the next of the same snapshot goes on where it
//! ended (K7). All file work is done off the runtime's thread.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_api::peer::v1 as proto;
use quorate_api::peer::v1::snapshot_frame::Frame;
use quorate_api::peer::v1::snapshot_reply::Reply;
use quorate_raft::{Epoch, LogId, ServerId, SnapshotMeta, Term};
use quorate_store::{Directory, SnapshotReceiver, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, timeout};
use tonic::{Status, Streaming};
use tracing::{info, warn};

use super::FromPeer;
use super::server::stopped;
use super::wire::log_id;
use crate::driver::Doom;
use crate::limits::{
    SNAPSHOT_CHUNKS_WAITING_MAX, SNAPSHOT_PROGRESS_EVERY, SNAPSHOT_PROGRESS_INTERVAL, SNAPSHOT_STALL_TIMEOUT,
};

/// Where snapshots of this directory come in.
#[derive(Clone)]
pub(crate) struct Receiving {
    directory: Arc<Directory>,
    inbox: mpsc::Sender<FromPeer>,
    doom: Doom,
    /// Set when the member stops: a transfer ends, so that its connection can.
    stopping: watch::Receiver<bool>,
    /// A transfer that broke off.
    kept: Arc<Mutex<Option<SnapshotReceiver>>>,
    /// Held while one comes in.
    busy: Arc<tokio::sync::Semaphore>,
}

/// What a leader offers.
pub(super) struct Offer {
    pub(super) from: ServerId,
    term: Term,
    epoch: Epoch,
    last: LogId,
    bytes: u64,
}

impl Offer {
    pub(super) fn from_wire(from: ServerId, offer: &proto::SnapshotOffer) -> Result<Self, Status> {
        let last =
            log_id("offer.last", offer.last).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self { from, term: Term(offer.term), epoch: Epoch(offer.epoch), last, bytes: offer.bytes })
    }
}

type Replies = mpsc::Sender<Result<proto::SnapshotReply, Status>>;

impl Receiving {
    pub(crate) fn new(
        directory: Arc<Directory>,
        inbox: mpsc::Sender<FromPeer>,
        doom: Doom,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let busy = Arc::new(tokio::sync::Semaphore::new(1));
        Self { directory, inbox, doom, stopping, kept: Arc::default(), busy }
    }

    /// Takes one snapshot; the end is told in `replies`.
    pub(super) async fn run(self, offer: Offer, frames: Streaming<proto::SnapshotFrame>, replies: Replies) {
        let mut stopping = self.stopping.clone();
        let received = tokio::select! {
            received = self.receive(&offer, frames, &replies) => received,
            // What is being written is unfinished, and goes at the next start.
            () = stopped(&mut stopping) => Err(Status::unavailable("this member is stopping")),
        };
        if let Err(status) = received {
            warn!(peer = %offer.from, index = %offer.last.index, why = status.message(), "a snapshot did not come in");
            // The sender may be gone as well.
            let _ = replies.try_send(Err(status));
        }
    }

    async fn receive(
        &self,
        offer: &Offer,
        frames: Streaming<proto::SnapshotFrame>,
        replies: &Replies,
    ) -> Result<(), Status> {
        let _permit = self
            .busy
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is coming in"))?;
        let receiver = self.begin(offer).await?;
        info!(peer = %offer.from, index = %offer.last.index, bytes = offer.bytes, offset = receiver.offset(), "receiving a snapshot");
        reply(replies, Reply::Wanted(receiver.offset())).await?;
        let receiver = self.take(receiver, frames, replies).await?;
        let meta = self.finish(offer, receiver, replies).await?;
        let received =
            FromPeer::Snapshot { from: offer.from.clone(), term: offer.term, epoch: offer.epoch, meta };
        self.inbox.send(received).await.map_err(|_| Status::unavailable("this member is stopping"))?;
        reply(replies, Reply::Received(proto::SnapshotReceived {})).await
    }

    /// Where an earlier transfer of the same snapshot broke off, or from the beginning.
    async fn begin(&self, offer: &Offer) -> Result<SnapshotReceiver, Status> {
        let (directory, last, bytes) = (Arc::clone(&self.directory), offer.last, offer.bytes);
        // Another one goes here, with its file, before the new one is begun.
        let kept = self.lock().take().filter(|kept| kept.is_of(last, bytes));
        if let Some(kept) = kept {
            return Ok(kept);
        }
        self.off_thread(move || SnapshotReceiver::begin(&directory, last, bytes)).await
    }

    /// Writes chunks as they come; what came before a break is kept.
    async fn take(
        &self,
        mut receiver: SnapshotReceiver,
        mut frames: Streaming<proto::SnapshotFrame>,
        replies: &Replies,
    ) -> Result<SnapshotReceiver, Status> {
        let (chunks, mut waiting) = mpsc::channel::<proto::SnapshotChunk>(SNAPSHOT_CHUNKS_WAITING_MAX);
        let progress = replies.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let (mut told, mut told_at) = (receiver.offset(), Instant::now());
            while !receiver.is_complete()
                && let Some(chunk) = waiting.blocking_recv()
            {
                if let Err(error) = receiver.write(chunk.offset, &chunk.data) {
                    return (receiver, Err(error));
                }
                let is_much = receiver.offset() - told >= SNAPSHOT_PROGRESS_EVERY;
                if is_much || told_at.elapsed() >= SNAPSHOT_PROGRESS_INTERVAL {
                    (told, told_at) = (receiver.offset(), Instant::now());
                    // Progress is news, not duty: a full channel will have the next.
                    let _ = progress.try_send(Ok(proto::SnapshotReply { reply: Some(Reply::Wanted(told)) }));
                }
            }
            (receiver, Ok(()))
        });
        let mut broken = None;
        loop {
            match timeout(SNAPSHOT_STALL_TIMEOUT, frames.message()).await {
                Ok(Ok(Some(proto::SnapshotFrame { frame: Some(Frame::Chunk(chunk)) }))) => {
                    if chunks.send(chunk).await.is_err() {
                        // Complete, or it failed; the writer says which.
                        break;
                    }
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(_))) => broken = Some(Status::invalid_argument("a second offer on one stream")),
                Ok(Err(status)) => broken = Some(status),
                Err(_) => broken = Some(Status::deadline_exceeded("nothing came for long")),
            }
            if broken.is_some() {
                break;
            }
        }
        drop(chunks);
        let (receiver, written) = writing.await.map_err(|error| Status::internal(error.to_string()))?;
        written.map_err(|error| self.judge(&error))?;
        if receiver.is_complete() {
            return Ok(receiver);
        }
        *self.lock() = Some(receiver);
        Err(broken.unwrap_or_else(|| Status::aborted("the stream ended before the snapshot did")))
    }

    /// Checks it and builds the state file; meanwhile the sender hears that it is worked on.
    async fn finish(
        &self,
        offer: &Offer,
        receiver: SnapshotReceiver,
        replies: &Replies,
    ) -> Result<SnapshotMeta, Status> {
        let directory = Arc::clone(&self.directory);
        let finishing = self.off_thread(move || receiver.finish(&directory));
        tokio::pin!(finishing);
        let mut alive = interval(SNAPSHOT_STALL_TIMEOUT / 4);
        loop {
            tokio::select! {
                done = &mut finishing => return done,
                _ = alive.tick() => {
                    let _ = replies.try_send(Ok(proto::SnapshotReply { reply: Some(Reply::Wanted(offer.bytes)) }));
                }
            }
        }
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| self.judge(&error))
    }

    /// A snapshot that is refused is the sender's affair; any other storage error ends the process.
    fn judge(&self, error: &StoreError) -> Status {
        if !error.is_refusal() {
            self.doom.storage(error);
        }
        Status::failed_precondition(error.to_string())
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SnapshotReceiver>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reply(replies: &Replies, reply: Reply) -> Result<(), Status> {
    let sent = replies.send(Ok(proto::SnapshotReply { reply: Some(reply) })).await;
    sent.map_err(|_| Status::cancelled("the sender is gone"))
}
