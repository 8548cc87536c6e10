//! The task that keeps one stream to one peer: dial, hello, then messages both ways, and again.
//!
//! It dials only when there is something to say. While it dials, messages wait in the bounded queue;
//! when dialing fails or the stream ends they are dropped and the core is told once, so that it
//! probes instead of trusting what was in flight.

use std::sync::Arc;
use std::time::Duration;

use quorate_api::peer::v1 as proto;
use quorate_api::peer::v1::peer_client::PeerClient;
use quorate_raft::{Body, Identity, Message, Term, Version, Versions};
use rand::Rng;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use super::FromPeer;
use super::dialer::Dialer;
use super::hello;
use super::wire::{Hello, message_from_wire, message_to_wire};
use crate::autopilot::Reports;
use crate::limits::{
    DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN, FRAMES_WAITING_MAX, HANDSHAKE_TIMEOUT, LINK_BATCH_BYTES_MAX,
    LINK_BATCH_MAX, LINK_MESSAGE_BYTES_MAX, REFUSED_PAUSE, VOLUME_LOST_PAUSE,
};

pub(super) struct PeerTask {
    identity: Arc<Identity>,
    dialer: Arc<Dialer>,
    messages: mpsc::Receiver<Message>,
    inbox: mpsc::Sender<FromPeer>,
    /// The cluster's version, as the driver knows it (K24).
    version: watch::Receiver<Option<Version>>,
    /// Where autopilot reads what the peer says of itself.
    reports: Reports,
    /// What the driver was told of the peer's volume (K8) since the connection was made.
    is_space_low: bool,
}

/// Why a stream ended.
enum Ended {
    /// The links are gone: so is the task.
    Done,
    /// Whoever answered is not the expected incarnation.
    VolumeLost(String),
    /// Whoever answered refuses us, or we refuse it: by cluster, recovery epoch, version or certificate.
    Refused(String),
    Broken(String),
}

type Open = (mpsc::Sender<proto::Frame>, Streaming<proto::Frame>, Versions);

impl PeerTask {
    pub(super) fn new(
        identity: Arc<Identity>,
        dialer: Arc<Dialer>,
        messages: mpsc::Receiver<Message>,
        inbox: mpsc::Sender<FromPeer>,
        version: watch::Receiver<Option<Version>>,
        reports: Reports,
    ) -> Self {
        Self { identity, dialer, messages, inbox, version, reports, is_space_low: false }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = DIAL_BACKOFF_MIN;
        let mut failures: u64 = 0;
        let mut refused = None;
        let peer = self.dialer.peer().clone();
        // An earlier task for the same peer may have ended without a word: its connection counts no more.
        if self.tell_versions(None).await.is_err() {
            return;
        }
        while let Some(first) = self.messages.recv().await {
            let ended = match self.open().await {
                Ok((frames, answers, versions)) => {
                    if self.tell_versions(Some(versions)).await.is_err() {
                        return;
                    }
                    info!(%peer, address = %self.dialer.address(), failures, "connected to peer");
                    (backoff, failures, refused) = (DIAL_BACKOFF_MIN, 0, None);
                    self.pump(first, frames, answers).await
                }
                Err(ended) => ended,
            };
            let pause = match ended {
                Ended::Done => return,
                Ended::VolumeLost(found) => {
                    warn!(%peer, found, "the peer's volume is not the recorded one; it gets nothing until it is replaced");
                    VOLUME_LOST_PAUSE
                }
                Ended::Refused(why) => {
                    // Nothing will change by itself: a person must see it (K18, K24), and once is enough.
                    if refused.as_ref() != Some(&why) {
                        warn!(%peer, why, "no connection to peer: one of the two refuses the other");
                        refused = Some(why);
                    }
                    REFUSED_PAUSE
                }
                Ended::Broken(why) => {
                    // Once per outage: the next failures only count.
                    if failures == 0 {
                        info!(%peer, address = %self.dialer.address(), why, "no connection to peer");
                    } else {
                        debug!(%peer, failures, why, "no connection to peer");
                    }
                    jittered(backoff)
                }
            };
            failures += 1;
            backoff = (backoff * 2).min(DIAL_BACKOFF_MAX);
            while self.messages.try_recv().is_ok() {}
            self.is_space_low = false;
            if self.tell_versions(None).await.is_err() {
                return;
            }
            if self.inbox.send(FromPeer::Unreachable(peer.clone())).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What the peer speaks counts as long as the connection over which it said so (K24).
    async fn tell_versions(&self, versions: Option<Versions>) -> Result<(), SendError<FromPeer>> {
        self.inbox.send(FromPeer::Versions { peer: self.dialer.peer().clone(), versions }).await
    }

    /// Connects and exchanges hellos.
    async fn open(&self) -> Result<Open, Ended> {
        let channel = self.dialer.channel().await.map_err(Ended::Broken)?;
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(LINK_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(LINK_MESSAGE_BYTES_MAX);
        let (frames, outgoing) = mpsc::channel(FRAMES_WAITING_MAX);
        let ours = hello::ours(&self.identity, Some(self.dialer.peer().clone()));
        let first = proto::Frame { hello: Some(ours.to_wire()), ..proto::Frame::default() };
        // The channel is new and has room.
        let _ = frames.try_send(first);
        let greeting = async {
            let mut answers = client
                .exchange(ReceiverStream::new(outgoing))
                .await
                .map_err(|status| ended(&status))?
                .into_inner();
            let frame = answers.message().await.map_err(|status| ended(&status))?;
            let frame = frame.ok_or_else(|| Ended::Broken("closed before its hello".to_owned()))?;
            let theirs = Hello::from_wire(frame.hello).map_err(|error| Ended::Broken(error.to_string()))?;
            Ok((theirs, answers))
        };
        let (theirs, answers) = timeout(HANDSHAKE_TIMEOUT, greeting)
            .await
            .map_err(|_| Ended::Broken("no hello in time".to_owned()))??;
        self.judge(&theirs).await?;
        Ok((frames, answers, theirs.versions))
    }

    /// TLS has shown the Raft ID; the hello shows the directory behind it (K1).
    async fn judge(&self, theirs: &Hello) -> Result<(), Ended> {
        let cluster = *self.version.borrow();
        hello::check_words(&self.identity, cluster, theirs)
            .map_err(|refused| Ended::Refused(refused.to_string()))?;
        let expected = self.dialer.peer();
        if theirs.sender == *expected {
            return Ok(());
        }
        let body = Body::VolumeLost { recorded: expected.clone() };
        let message = Message::new(theirs.sender.clone(), self.identity.server.clone(), Term(0), body);
        self.inbox.send(FromPeer::Message(message)).await.map_err(|_| Ended::Done)?;
        Err(Ended::VolumeLost(theirs.sender.to_string()))
    }

    async fn pump(
        &mut self,
        first: Message,
        frames: mpsc::Sender<proto::Frame>,
        mut answers: Streaming<proto::Frame>,
    ) -> Ended {
        let mut next = Some(first);
        loop {
            tokio::select! {
                // A frame leaves only when the connection takes it; until then messages gather.
                permit = frames.reserve(), if next.is_some() => {
                    let Ok(permit) = permit else { return Ended::Broken("the stream ended".to_owned()) };
                    if let Some(first) = next.take() {
                        permit.send(frame(first, &mut self.messages, &mut next));
                    }
                }
                message = self.messages.recv(), if next.is_none() => match message {
                    Some(message) => next = Some(message),
                    None => return Ended::Done,
                },
                frame = answers.message() => match frame {
                    Ok(Some(frame)) => if let Err(ended) = self.take(frame).await { return ended },
                    Ok(None) => return Ended::Broken("the peer closed the stream".to_owned()),
                    Err(status) => return Ended::Broken(status.message().to_owned()),
                },
            }
        }
    }

    async fn take(&mut self, frame: proto::Frame) -> Result<(), Ended> {
        if std::mem::replace(&mut self.is_space_low, frame.is_space_low) != frame.is_space_low {
            let space = FromPeer::Space { peer: self.dialer.peer().clone(), is_low: frame.is_space_low };
            self.inbox.send(space).await.map_err(|_| Ended::Done)?;
        }
        if let Some(report) = frame.report {
            self.reports.hear(self.dialer.peer(), report);
        }
        for message in frame.messages {
            let message = message_from_wire(message).map_err(|error| Ended::Broken(error.to_string()))?;
            if message.from != *self.dialer.peer() {
                return Err(Ended::Broken(format!("it sent a message in the name of {}", message.from)));
            }
            self.inbox.send(FromPeer::Message(message)).await.map_err(|_| Ended::Done)?;
        }
        Ok(())
    }
}

/// Why a stream never began.
fn ended(status: &Status) -> Ended {
    let why = status.message().to_owned();
    if status.code() == Code::PermissionDenied { Ended::Refused(why) } else { Ended::Broken(why) }
}

/// One frame of what waits, up to its bounds; the message that no longer fits is left in `next`.
pub(super) fn frame(
    first: Message,
    messages: &mut mpsc::Receiver<Message>,
    next: &mut Option<Message>,
) -> proto::Frame {
    let mut bytes = weight(&first);
    let mut batch = vec![message_to_wire(first)];
    while batch.len() < LINK_BATCH_MAX
        && let Ok(message) = messages.try_recv()
    {
        bytes += weight(&message);
        if bytes > LINK_BATCH_BYTES_MAX {
            *next = Some(message);
            break;
        }
        batch.push(message_to_wire(message));
    }
    proto::Frame { messages: batch, ..proto::Frame::default() }
}

/// About the bytes a message takes in a frame.
fn weight(message: &Message) -> usize {
    let entries = match &message.body {
        Body::AppendRequest { entries, .. } => entries.iter().map(quorate_raft::Entry::bytes).sum(),
        _ => 0,
    };
    usize::try_from(entries).unwrap_or(usize::MAX).saturating_add(MESSAGE_OVERHEAD_BYTES)
}

/// Two server IDs, numbers and framing.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// Between half and all of it, so that members that lost the same peer do not knock together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
