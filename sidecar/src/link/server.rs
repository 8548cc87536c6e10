//! Answers peers on port 7400: their streams of messages, and calls forwarded one hop.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use quorate_api::peer::v1 as proto;
use quorate_api::peer::v1::peer_server::{Peer, PeerServer};
use quorate_machine::SessionId;
use quorate_raft::{Body, Identity, Message, ServerId, Term};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::fetch::Wanted;
use super::peer::frame;
use super::receiving::{Offer, Receiving};
use super::wire::{Hello, message_from_wire};
use super::{FromPeer, Returns, Staging, Witness, hello, leaders, servers};
use crate::autopilot::{Autopilot, WordsReceiver};
use crate::driver::Handle;
use crate::limits::{
    FRAMES_WAITING_MAX, HANDSHAKE_TIMEOUT, LINK_CALLER_KEEPALIVE, LINK_CONNECTIONS_MAX,
    LINK_MESSAGE_BYTES_MAX, LINK_QUEUE_MAX, LINK_WINDOW_BYTES, REPORT_EVERY, REQUEST_TIMEOUT_DEFAULT,
    REQUEST_TIMEOUT_MAX, SNAPSHOT_CHUNKS_WAITING_MAX,
};
use crate::tls::{self, Bounds, Caller, CredentialsReceiver, Door};

/// The service of port 7400.
pub(crate) struct LinkServer {
    pub(crate) identity: Arc<Identity>,
    pub(crate) inbox: mpsc::Sender<FromPeer>,
    pub(crate) returns: Returns,
    pub(crate) handle: Handle,
    pub(crate) receiving: Receiving,
    pub(crate) witness: Witness,
    pub(crate) staging: Staging,
    pub(crate) autopilot: Autopilot,
    /// What this member says of itself.
    pub(crate) words: WordsReceiver,
    /// Set when the member stops: streams end, so that connections can.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Every peer has a certificate.
const PEERS: Bounds = Bounds { all: LINK_CONNECTIONS_MAX, unnamed: 0 };

/// Serves until `stopping`.
pub(crate) async fn serve(
    server: LinkServer,
    listener: TcpListener,
    credentials: CredentialsReceiver,
) -> Result<(), tonic::transport::Error> {
    let mut stopping = server.stopping.clone();
    let service = PeerServer::new(server)
        .max_decoding_message_size(LINK_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(LINK_MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        .initial_stream_window_size(LINK_WINDOW_BYTES)
        .initial_connection_window_size(LINK_WINDOW_BYTES)
        .http2_keepalive_interval(Some(LINK_CALLER_KEEPALIVE))
        .http2_keepalive_timeout(Some(LINK_CALLER_KEEPALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(
            tls::accept(listener, credentials, Door::Certified, PEERS),
            async move {
                stopped(&mut stopping).await;
            },
        )
        .await
}

impl LinkServer {
    /// The caller of a request, by certificate and hello.
    fn caller<T>(&self, request: &Request<T>, theirs: &Hello) -> Result<(), Status> {
        let caller = request
            .extensions()
            .get::<Caller>()
            .ok_or_else(|| Status::unauthenticated("no certificate: peers connect with mutual TLS"))?;
        self.check(theirs, caller)
    }

    fn check(&self, theirs: &Hello, caller: &Caller) -> Result<(), Status> {
        let Caller::Certified(caller) = caller else {
            return Err(Status::unauthenticated("no certificate: peers connect with mutual TLS"));
        };
        let cluster = self.handle.view().status.version;
        hello::check(&self.identity, cluster, theirs, caller).map_err(|refused| {
            warn!(%caller, why = %refused, "refused a peer");
            Status::permission_denied(refused.to_string())
        })
    }

    /// Somebody means another directory under our Raft ID (K1): the core is told, the caller sees our hello.
    async fn tell_volume_lost(&self, caller: &ServerId, recorded: ServerId) {
        let body = Body::VolumeLost { recorded };
        let message = Message::new(caller.clone(), self.identity.server.clone(), Term(0), body);
        let _ = self.inbox.send(FromPeer::Message(message)).await;
    }
}

/// One caller's stream, after its hello.
struct Incoming {
    peer: ServerId,
    requests: Streaming<proto::Frame>,
    answers: mpsc::Receiver<Message>,
    frames: mpsc::Sender<Result<proto::Frame, Status>>,
    inbox: mpsc::Sender<FromPeer>,
    returns: Returns,
    handle: Handle,
    witness: Witness,
    words: WordsReceiver,
    /// When the caller was last told how this member is.
    reported: Option<Instant>,
    number: u64,
    stopping: watch::Receiver<bool>,
}

impl Incoming {
    async fn pump(mut self) {
        if let Err(status) = self.run().await {
            debug!(peer = %self.peer, why = status.message(), "a peer's stream ended");
            // The caller may be gone as well.
            let _ = self.frames.try_send(Err(status));
        }
        if self.returns.close(&self.peer, self.number) && !*self.stopping.borrow() {
            // Whatever the stream brought was handed on before: the driver hears this after it.
            self.witness.look_after(&self.peer).await;
        }
    }

    async fn run(&mut self) -> Result<(), Status> {
        let mut next = None;
        loop {
            tokio::select! {
                permit = self.frames.reserve(), if next.is_some() => {
                    let Ok(permit) = permit else { return Ok(()) };
                    if let Some(first) = next.take() {
                        let view = self.handle.view();
                        let is_due = self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_EVERY);
                        let word = self.handle.application().word();
                        let report = is_due.then(|| self.words.borrow().report(&view, &word));
                        if is_due {
                            self.reported = Some(Instant::now());
                        }
                        let answers = frame(first, &mut self.answers, &mut next);
                        permit.send(Ok(proto::Frame { is_space_low: view.is_space_low, report, ..answers }));
                    }
                }
                message = self.answers.recv(), if next.is_none() => match message {
                    Some(message) => next = Some(message),
                    // A newer stream of the same peer took over.
                    None => return Ok(()),
                },
                frame = self.requests.message() => match frame? {
                    Some(frame) => take(&self.peer, &self.inbox, frame).await?,
                    None => return Ok(()),
                },
                () = stopped(&mut self.stopping) => {
                    return Err(Status::unavailable("this member is stopping"));
                }
            }
        }
    }
}

/// Ends when the member stops, or is gone.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn take(peer: &ServerId, inbox: &mpsc::Sender<FromPeer>, frame: proto::Frame) -> Result<(), Status> {
    for message in frame.messages {
        let message =
            message_from_wire(message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if message.from != *peer {
            return Err(Status::permission_denied("a message in another member's name"));
        }
        // A driver that is busy slows its peers down instead of filling memory.
        let sent = inbox.send(FromPeer::Message(message)).await;
        sent.map_err(|_| Status::unavailable("this member is stopping"))?;
    }
    Ok(())
}

type Frames = Pin<Box<dyn Stream<Item = Result<proto::Frame, Status>> + Send>>;
type Chunks = Pin<Box<dyn Stream<Item = Result<proto::FetchChunk, Status>> + Send>>;
type SnapshotReplies = Pin<Box<dyn Stream<Item = Result<proto::SnapshotReply, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for LinkServer {
    type ExchangeStream = Frames;
    type SnapshotStream = SnapshotReplies;
    type FetchStream = Chunks;

    async fn exchange(&self, request: Request<Streaming<proto::Frame>>) -> Result<Response<Frames>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::unauthenticated("peers connect with mutual TLS"))?;
        let mut requests = request.into_inner();
        let first = timeout(HANDSHAKE_TIMEOUT, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("closed before its hello"))?;
        let theirs =
            Hello::from_wire(first.hello).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.check(&theirs, &caller)?;
        let (frames, outgoing) = mpsc::channel(FRAMES_WAITING_MAX);
        let hello = Some(hello::ours(&self.identity, None).to_wire());
        let ours = proto::Frame { hello, ..proto::Frame::default() };
        // The channel is new and has room.
        let _ = frames.try_send(Ok(ours));
        match theirs.expected {
            Some(expected) if expected != self.identity.server => {
                // The stream ends with our hello, which says it all (K16).
                self.tell_volume_lost(&theirs.sender, expected).await;
            }
            _ => {
                let (queue, answers) = mpsc::channel(LINK_QUEUE_MAX);
                let number = self.returns.open(&theirs.sender, queue);
                let incoming = Incoming {
                    peer: theirs.sender,
                    requests,
                    answers,
                    frames,
                    inbox: self.inbox.clone(),
                    returns: self.returns.clone(),
                    handle: self.handle.clone(),
                    witness: self.witness.clone(),
                    words: self.words.clone(),
                    reported: None,
                    number,
                    stopping: self.stopping.clone(),
                };
                // It ends with the stream, or when the member stops.
                tokio::spawn(incoming.pump());
            }
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotFrame>>,
    ) -> Result<Response<SnapshotReplies>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::unauthenticated("peers connect with mutual TLS"))?;
        let mut frames = request.into_inner();
        let first = timeout(HANDSHAKE_TIMEOUT, frames.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no offer in time"))??;
        let Some(proto::SnapshotFrame { frame: Some(proto::snapshot_frame::Frame::Offer(offer)) }) = first
        else {
            return Err(Status::invalid_argument("a snapshot begins with an offer"));
        };
        let theirs = Hello::from_wire(offer.hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.check(&theirs, &caller)?;
        if theirs.expected.as_ref() != Some(&self.identity.server) {
            return Err(Status::failed_precondition(format!("this is {}", self.identity.server)));
        }
        let offer = Offer::from_wire(theirs.sender, &offer)?;
        let (replies, outgoing) = mpsc::channel(SNAPSHOT_CHUNKS_WAITING_MAX);
        // It ends with the stream, at the latest after it stalled.
        tokio::spawn(self.receiving.clone().run(offer, frames, replies));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn stage(
        &self,
        request: Request<proto::StageRequest>,
    ) -> Result<Response<proto::StageResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let request = request.into_inner();
        let wanted = Wanted::from_wire(request.state)?;
        let mut stopping = self.stopping.clone();
        tokio::select! {
            staged = self.staging.stage(&self.identity, &theirs.sender, wanted, Term(request.term)) => staged?,
            // What came so far is removed.
            () = stopped(&mut stopping) => return Err(Status::unavailable("this member is stopping")),
        }
        Ok(Response::new(proto::StageResponse {}))
    }

    async fn fetch(&self, request: Request<proto::FetchRequest>) -> Result<Response<Chunks>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let wanted = Wanted::from_wire(request.into_inner().state)?;
        let mut stopping = self.stopping.clone();
        // Cut off, it is too short, which is seen.
        let chunks = self.staging.give(wanted)?.take_until(async move { stopped(&mut stopping).await });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn propose(
        &self,
        request: Request<proto::ProposeRequest>,
    ) -> Result<Response<proto::ProposeResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let deadline = deadline(&request);
        let result = self.handle.propose_here(request.into_inner().command, deadline).await;
        Ok(Response::new(leaders::propose_response(result)))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let result = self.handle.read_index_here(deadline(&request)).await;
        Ok(Response::new(leaders::read_index_response(result)))
    }

    async fn renew_session(
        &self,
        request: Request<proto::RenewSessionRequest>,
    ) -> Result<Response<proto::RenewSessionResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let id = <[u8; 16]>::try_from(&*request.get_ref().session)
            .map_err(|_| Status::invalid_argument("a session's ID has 16 bytes"))?;
        let id = SessionId(u128::from_be_bytes(id));
        let result = self.handle.renew_session_here(id, deadline(&request)).await;
        Ok(Response::new(leaders::renew_session_response(result)))
    }

    async fn autopilot_state(
        &self,
        request: Request<proto::AutopilotStateRequest>,
    ) -> Result<Response<proto::AutopilotStateResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let result = self.autopilot.picture_here(deadline(&request)).await;
        Ok(Response::new(leaders::autopilot_state_response(result)))
    }

    async fn servers(
        &self,
        request: Request<proto::ServersRequest>,
    ) -> Result<Response<proto::ServersResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let result = self.handle.servers_here(deadline(&request)).await;
        Ok(Response::new(servers::servers_response(result)))
    }

    async fn remove_server(
        &self,
        request: Request<proto::RemoveServerRequest>,
    ) -> Result<Response<proto::RemoveServerResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let deadline = deadline(&request);
        let name = servers::server_name(request.into_inner())?;
        let result = self.handle.remove_server_here(&name, deadline).await;
        Ok(Response::new(servers::remove_server_response(result)))
    }

    async fn transfer_leadership(
        &self,
        request: Request<proto::TransferLeadershipRequest>,
    ) -> Result<Response<proto::TransferLeadershipResponse>, Status> {
        let theirs = Hello::from_wire(request.get_ref().hello.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.caller(&request, &theirs)?;
        let deadline = deadline(&request);
        let target = Some(request.into_inner().target_raft_id).filter(|target| !target.is_empty());
        let result = self.handle.give_leadership_here(target.as_deref(), deadline).await;
        Ok(Response::new(servers::transfer_leadership_response(result)))
    }
}

/// The caller's deadline as it travels with the call.
fn deadline<T>(request: &Request<T>) -> Instant {
    let timeout = request
        .metadata()
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout)
        .unwrap_or(REQUEST_TIMEOUT_DEFAULT);
    Instant::now() + timeout.min(REQUEST_TIMEOUT_MAX)
}

/// gRPC's own spelling: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3_600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forwarded call must end when its caller stops waiting, whatever unit the client's library chose.
    #[test]
    fn a_caller_s_deadline_is_read_in_every_unit_of_grpc() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse_timeout("2M"), Some(Duration::from_mins(2)));
        for bad in ["", "S", "1", "123456789S", "-1S", "1é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
