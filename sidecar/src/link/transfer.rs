//! Sends one snapshot to one peer, on a connection of its own, at a bounded pace, from where the peer is (K7, K25).

use std::sync::Arc;
use std::time::Duration;

use quorate_api::peer::v1 as proto;
use quorate_api::peer::v1::peer_client::PeerClient;
use quorate_api::peer::v1::snapshot_frame::Frame;
use quorate_api::peer::v1::snapshot_reply::Reply;
use quorate_autopilot::SnapshotProgress;
use quorate_raft::{Epoch, Identity, LogId, Term};
use quorate_store::SnapshotFile;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{info, warn};

use super::dialer::Dialer;
use super::hello;
use super::wire::log_id_to_wire;
use crate::driver::{Completion, SendOrder, Sending};
use crate::limits::{
    FRAMES_WAITING_MAX, LINK_MESSAGE_BYTES_MAX, SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_STALL_TIMEOUT,
};

/// One snapshot on its way out.
pub(crate) struct Transfer {
    pub(crate) identity: Arc<Identity>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) term: Term,
    pub(crate) epoch: Epoch,
    pub(crate) file: Arc<SnapshotFile>,
}

impl Transfer {
    /// Runs to the end; the last entry delivered, or none if it failed. It is begun again by the core.
    pub(crate) async fn run(self, completions: &mpsc::Sender<Completion>) -> Option<LogId> {
        let last = self.file.meta().last;
        let peer = self.dialer.peer().clone();
        info!(%peer, index = %last.index, bytes = self.file.bytes(), "sending a snapshot");
        match self.send(last, completions).await {
            Ok(()) => {
                info!(%peer, index = %last.index, "the peer has the snapshot");
                Some(last)
            }
            Err(why) => {
                warn!(%peer, index = %last.index, why, "a snapshot was not delivered; it will be resumed");
                None
            }
        }
    }

    async fn send(&self, last: LogId, completions: &mpsc::Sender<Completion>) -> Result<(), String> {
        let channel = self.dialer.channel().await?;
        let mut client = PeerClient::new(channel).max_encoding_message_size(LINK_MESSAGE_BYTES_MAX);
        let (frames, outgoing) = mpsc::channel(FRAMES_WAITING_MAX);
        let offer = proto::SnapshotOffer {
            hello: Some(hello::ours(&self.identity, Some(self.dialer.peer().clone())).to_wire()),
            term: self.term.0,
            epoch: self.epoch.0,
            last: Some(log_id_to_wire(last)),
            bytes: self.file.bytes(),
        };
        // The channel is new and has room.
        let _ = frames.try_send(proto::SnapshotFrame { frame: Some(Frame::Offer(offer)) });
        let call = client.snapshot(ReceiverStream::new(outgoing));
        let mut replies = in_time(call).await?.map_err(|status| status.message().to_owned())?.into_inner();
        let Reply::Wanted(offset) = next(&mut replies).await? else { return Ok(()) };
        self.tell(offset, last, completions).await?;
        let sending = self.send_chunks(offset, frames);
        tokio::pin!(sending);
        let mut is_sent = false;
        loop {
            tokio::select! {
                sent = &mut sending, if !is_sent => {
                    sent?;
                    is_sent = true;
                }
                reply = next(&mut replies) => match reply? {
                    Reply::Received(_) => return Ok(()),
                    Reply::Wanted(offset) => self.tell(offset, last, completions).await?,
                },
            }
        }
    }

    /// The driver hears how much the peer has.
    async fn tell(
        &self,
        offset: u64,
        last: LogId,
        completions: &mpsc::Sender<Completion>,
    ) -> Result<(), String> {
        let total_bytes = self.file.bytes();
        let progress = SnapshotProgress { sent_bytes: offset.min(total_bytes), total_bytes };
        let (to, order) = (self.dialer.peer().clone(), SendOrder { term: self.term, epoch: self.epoch });
        let progress = Completion::Sending(Sending::Progress { to, order, last, progress });
        completions.send(progress).await.map_err(|_| "this member is stopping".to_owned())
    }

    /// Paced by a timer per chunk; a peer that takes nothing for long ends it.
    async fn send_chunks(
        &self,
        mut offset: u64,
        frames: mpsc::Sender<proto::SnapshotFrame>,
    ) -> Result<(), String> {
        let mut pace = interval(CHUNK_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while offset < self.file.bytes() {
            pace.tick().await;
            let file = Arc::clone(&self.file);
            let data = tokio::task::spawn_blocking(move || file.read(offset, SNAPSHOT_CHUNK_BYTES))
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())?;
            let length = data.len() as u64;
            let chunk = proto::SnapshotChunk { offset, data };
            in_time(frames.send(proto::SnapshotFrame { frame: Some(Frame::Chunk(chunk)) }))
                .await?
                .map_err(|_| "the peer closed the stream")?;
            offset += length;
        }
        Ok(())
    }
}

/// One chunk per tick keeps the pace of `SNAPSHOT_BYTES_PER_SECOND`.
const CHUNK_EVERY: Duration =
    Duration::from_micros(SNAPSHOT_CHUNK_BYTES as u64 * 1_000_000 / SNAPSHOT_BYTES_PER_SECOND as u64);

async fn next(replies: &mut Streaming<proto::SnapshotReply>) -> Result<Reply, String> {
    let reply = in_time(replies.message()).await?.map_err(|status| status.message().to_owned())?;
    reply.and_then(|reply| reply.reply).ok_or_else(|| "the peer closed the stream".to_owned())
}

async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, String> {
    timeout(SNAPSHOT_STALL_TIMEOUT, step).await.map_err(|_| "the peer took nothing for long".to_owned())
}
