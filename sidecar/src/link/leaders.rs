//! Calls sent to the leader, one hop: what a follower can't answer by itself.
//!
//! Invariant: an error says `NotApplied` only if nothing was sent, or if the leader said so. The moment a
//! write was handed to a connection and no answer came, its outcome is unknown.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message;
use quorate_api::peer::v1 as proto;
use quorate_api::peer::v1::peer_client::PeerClient;
use quorate_api::v1;
use quorate_machine::{Outcome, RestoreOrder, Session, SessionId};
use quorate_raft::{Identity, Index, ServerId, Term};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::dialer::Dialer;
use super::{Book, fetch, hello};
use crate::driver::{Applied, CallError, Effect, ErrorKind};
use crate::limits::{LINK_MESSAGE_BYTES_MAX, STAGE_TIMEOUT};

/// Connections for forwarded calls, apart from the streams of messages: a large write in flight must not
/// hold up a heartbeat.
#[derive(Clone)]
pub struct Leaders {
    identity: Arc<Identity>,
    book: watch::Receiver<Arc<Book>>,
    /// One per server that led; bounded by the book.
    channels: Arc<Mutex<Channels>>,
}

/// Each with the dialer it came from: a server at a new address has a new one.
type Channels = HashMap<ServerId, (Arc<Dialer>, Channel)>;

impl Leaders {
    pub(crate) fn new(identity: Arc<Identity>, book: watch::Receiver<Arc<Book>>) -> Self {
        Self { identity, book, channels: Arc::default() }
    }

    /// All servers that can be dialed.
    pub(crate) fn book(&self) -> watch::Receiver<Arc<Book>> {
        self.book.clone()
    }

    pub(crate) async fn propose(
        &self,
        leader: &ServerId,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, CallError> {
        let mut client = self.client(leader, deadline).await?;
        let hello = Some(self.hello(leader));
        let request = with_deadline(proto::ProposeRequest { hello, command }, deadline);
        let unknown = |kind, why: &str| {
            CallError::unknown(
                kind,
                format!("the leader {} did not answer: {why}: outcome unknown", leader.raft_id),
            )
        };
        match timeout_at(deadline, client.propose(request)).await {
            Err(_) => Err(unknown(ErrorKind::Deadline, "the deadline passed")),
            Ok(Err(status)) if is_refusal(&status) => Err(refusal(leader, &status)),
            Ok(Err(status)) if was_never_sent(&status) => {
                self.forget(leader);
                Err(unreachable(leader, status.message()))
            }
            Ok(Err(status)) => {
                self.forget(leader);
                Err(unknown(ErrorKind::Unreachable, status.message()))
            }
            Ok(Ok(response)) => propose_result(response.into_inner())
                .unwrap_or_else(|why| Err(unknown(ErrorKind::Unreachable, &why))),
        }
    }

    pub(crate) async fn read_index(&self, leader: &ServerId, deadline: Instant) -> Result<Index, CallError> {
        let mut client = self.client(leader, deadline).await?;
        let hello = Some(self.hello(leader));
        let request = with_deadline(proto::ReadIndexRequest { hello }, deadline);
        match timeout_at(deadline, client.read_index(request)).await {
            Err(_) => Err(CallError::not_applied(
                ErrorKind::Deadline,
                format!("the leader {} did not answer in time: retry", leader.raft_id),
            )),
            Ok(Err(status)) if is_refusal(&status) => Err(refusal(leader, &status)),
            Ok(Err(status)) => {
                self.forget(leader);
                Err(unreachable(leader, status.message()))
            }
            Ok(Ok(response)) => match response.into_inner().result {
                Some(proto::read_index_response::Result::Index(index)) => Ok(Index(index)),
                Some(proto::read_index_response::Result::Error(error)) => Err(error_from_wire(error)),
                None => Err(unreachable(leader, "its answer is empty")),
            },
        }
    }

    pub(crate) async fn renew_session(
        &self,
        leader: &ServerId,
        session: SessionId,
        deadline: Instant,
    ) -> Result<Option<Session>, CallError> {
        let mut client = self.client(leader, deadline).await?;
        let hello = Some(self.hello(leader));
        let session = Bytes::copy_from_slice(&session.0.to_be_bytes());
        let request = with_deadline(proto::RenewSessionRequest { hello, session }, deadline);
        match timeout_at(deadline, client.renew_session(request)).await {
            Err(_) => Err(CallError::not_applied(
                ErrorKind::Deadline,
                format!("the leader {} did not answer in time: renew again", leader.raft_id),
            )),
            Ok(Err(status)) if is_refusal(&status) => Err(refusal(leader, &status)),
            Ok(Err(status)) => {
                self.forget(leader);
                Err(unreachable(leader, status.message()))
            }
            Ok(Ok(response)) => match response.into_inner().result {
                Some(proto::renew_session_response::Result::Renewed(row)) => Session::decode(&row)
                    .map(Some)
                    .map_err(|error| unreachable(leader, &format!("its answer is no session: {error}"))),
                Some(proto::renew_session_response::Result::Gone(_)) => Ok(None),
                Some(proto::renew_session_response::Result::Error(error)) => Err(error_from_wire(error)),
                None => Err(unreachable(leader, "its answer is empty")),
            },
        }
    }

    pub(crate) async fn autopilot_state(
        &self,
        leader: &ServerId,
        deadline: Instant,
    ) -> Result<v1::AutopilotState, CallError> {
        let mut client = self.client(leader, deadline).await?;
        let hello = Some(self.hello(leader));
        let request = with_deadline(proto::AutopilotStateRequest { hello }, deadline);
        match timeout_at(deadline, client.autopilot_state(request)).await {
            Err(_) => Err(CallError::not_applied(
                ErrorKind::Deadline,
                format!("the leader {} did not answer in time: ask again", leader.raft_id),
            )),
            Ok(Err(status)) if is_refusal(&status) => Err(refusal(leader, &status)),
            Ok(Err(status)) => {
                self.forget(leader);
                Err(unreachable(leader, status.message()))
            }
            Ok(Ok(response)) => autopilot_state_result(leader, response.into_inner()),
        }
    }

    /// Asks a peer to hold this state, which it fetches from here; returns when it is on its disk (K17).
    pub(crate) async fn stage(&self, peer: &ServerId, order: RestoreOrder, term: Term) -> Result<(), String> {
        let deadline = Instant::now() + STAGE_TIMEOUT;
        let mut client = self.client(peer, deadline).await.map_err(|error| error.message)?;
        let hello = Some(hello::ours(&self.identity, Some(peer.clone())).to_wire());
        let state = Some(fetch::order_to_wire(order));
        let request = with_deadline(proto::StageRequest { hello, state, term: term.0 }, deadline);
        match timeout_at(deadline, client.stage(request)).await {
            Err(_) => Err("it took too long".to_owned()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// What every call to the leader begins with.
    pub(super) fn hello(&self, leader: &ServerId) -> proto::Hello {
        hello::ours(&self.identity, Some(leader.clone())).to_wire()
    }

    /// A connected client; an error means that nothing was sent.
    pub(super) async fn client(
        &self,
        leader: &ServerId,
        deadline: Instant,
    ) -> Result<PeerClient<Channel>, CallError> {
        let dialer = self.book.borrow().get(leader).cloned();
        let dialer = dialer.ok_or_else(|| unreachable(leader, "its address is not known here yet"))?;
        let open = self.lock().get(leader).filter(|(known, _)| Arc::ptr_eq(known, &dialer)).cloned();
        let channel = if let Some((_, channel)) = open {
            channel
        } else {
            let channel = timeout_at(deadline, dialer.channel())
                .await
                .map_err(|_| unreachable(leader, "it did not answer in time"))?
                .map_err(|why| unreachable(leader, &why))?;
            let book = self.book.borrow().clone();
            let mut channels = self.lock();
            channels.retain(|id, _| book.contains_key(id));
            channels.insert(leader.clone(), (dialer, channel.clone()));
            channel
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(LINK_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(LINK_MESSAGE_BYTES_MAX))
    }

    pub(super) fn forget(&self, leader: &ServerId) {
        self.lock().remove(leader);
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> std::sync::MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leader's server refuses before it looks at the call: certificate, cluster, epoch.
pub(super) fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument)
}

/// A connection that had ended was to be made again, and could not: this call was never on any.
pub(super) fn was_never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

pub(super) fn refusal(leader: &ServerId, status: &Status) -> CallError {
    let why = format!("the leader {} refused this member: {}", leader.raft_id, status.message());
    CallError::not_applied(ErrorKind::FailedPrecondition, why)
}

pub(super) fn unreachable(leader: &ServerId, why: &str) -> CallError {
    CallError::not_applied(
        ErrorKind::Unreachable,
        format!("cannot reach the leader {}: {why}; not applied, retry", leader.raft_id),
    )
}

pub(super) fn with_deadline<T>(message: T, deadline: Instant) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

pub(super) fn propose_result(response: proto::ProposeResponse) -> Result<Result<Applied, CallError>, String> {
    match response.result.ok_or("its answer is empty")? {
        proto::propose_response::Result::Applied(applied) => {
            let outcome = Outcome::decode(&applied.outcome).map_err(|error| error.to_string())?;
            Ok(Ok(Applied { index: Index(applied.index), outcome }))
        }
        proto::propose_response::Result::Error(error) => Ok(Err(error_from_wire(error))),
    }
}

pub(super) fn propose_response(result: Result<Applied, CallError>) -> proto::ProposeResponse {
    let result = match result {
        Ok(applied) => proto::propose_response::Result::Applied(proto::Applied {
            index: applied.index.0,
            outcome: applied.outcome.encode(),
        }),
        Err(error) => proto::propose_response::Result::Error(error_to_wire(error)),
    };
    proto::ProposeResponse { result: Some(result) }
}

pub(super) fn read_index_response(result: Result<Index, CallError>) -> proto::ReadIndexResponse {
    let result = match result {
        Ok(index) => proto::read_index_response::Result::Index(index.0),
        Err(error) => proto::read_index_response::Result::Error(error_to_wire(error)),
    };
    proto::ReadIndexResponse { result: Some(result) }
}

pub(super) fn renew_session_response(
    result: Result<Option<Session>, CallError>,
) -> proto::RenewSessionResponse {
    let result = match result {
        Ok(Some(session)) => proto::renew_session_response::Result::Renewed(session.encode()),
        Ok(None) => proto::renew_session_response::Result::Gone(proto::Gone {}),
        Err(error) => proto::renew_session_response::Result::Error(error_to_wire(error)),
    };
    proto::RenewSessionResponse { result: Some(result) }
}

fn autopilot_state_result(
    leader: &ServerId,
    response: proto::AutopilotStateResponse,
) -> Result<v1::AutopilotState, CallError> {
    match response.result {
        Some(proto::autopilot_state_response::Result::State(state)) => v1::AutopilotState::decode(state)
            .map_err(|error| unreachable(leader, &format!("its answer is no state: {error}"))),
        Some(proto::autopilot_state_response::Result::Error(error)) => Err(error_from_wire(error)),
        None => Err(unreachable(leader, "its answer is empty")),
    }
}

pub(super) fn autopilot_state_response(
    result: Result<v1::AutopilotState, CallError>,
) -> proto::AutopilotStateResponse {
    let result = match result {
        Ok(state) => proto::autopilot_state_response::Result::State(state.encode_to_vec().into()),
        Err(error) => proto::autopilot_state_response::Result::Error(error_to_wire(error)),
    };
    proto::AutopilotStateResponse { result: Some(result) }
}

pub(super) fn error_to_wire(error: CallError) -> proto::CallError {
    proto::CallError {
        kind: error.kind.number(),
        outcome_unknown: error.effect == Effect::Unknown,
        message: error.message,
    }
}

pub(super) fn error_from_wire(error: proto::CallError) -> CallError {
    let effect = if error.outcome_unknown { Effect::Unknown } else { Effect::NotApplied };
    CallError { kind: ErrorKind::from_number(error.kind), effect, message: error.message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forwarded write's error means the same on the member that was asked.
    #[test]
    fn errors_keep_kind_and_effect_over_the_link() {
        for kind in ErrorKind::ALL {
            let error = CallError::unknown(kind, "why");
            assert_eq!(error_from_wire(error_to_wire(error.clone())), error);
        }
    }

    /// K24: an error of a newer member is still an error.
    #[test]
    fn an_unknown_kind_of_error_reads_as_a_failed_precondition() {
        let error = proto::CallError { kind: 999, outcome_unknown: false, message: "new".to_owned() };
        assert_eq!(error_from_wire(error).kind, ErrorKind::FailedPrecondition);
    }
}
