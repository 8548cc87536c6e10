//! Fetches a staged state, or a snapshot of the application, from a peer, on a connection of its own, so that heartbeats
//! never wait behind it (K17, K22, K25).

use std::sync::Arc;

use bytes::Bytes;
use quorate_api::peer::v1 as proto;
use quorate_api::peer::v1::peer_client::PeerClient;
use quorate_machine::{ApiIndex, ApplicationSnapshot, RestoreOrder};
use quorate_raft::{Identity, Term};
use quorate_store::{ApplicationFile, ApplicationSnapshots, StagedFile, Stages, StoreError};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info};

use super::dialer::Dialer;
use super::hello;
use crate::limits::{LINK_MESSAGE_BYTES_MAX, SNAPSHOT_CHUNKS_WAITING_MAX, SNAPSHOT_STALL_TIMEOUT};

/// Why a state was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The peer: it has none, it is gone, or what it sent was not what it should be.
    #[error("{0}")]
    Peer(String),
    /// Our own disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// From the first peer that gives it; none if no one does. A refusal of our own disk counts as that.
pub(crate) async fn from_any(
    identity: &Arc<Identity>,
    peers: Vec<Arc<Dialer>>,
    order: RestoreOrder,
    term: Term,
    stages: &Arc<Stages>,
) -> Option<Arc<StagedFile>> {
    for dialer in peers {
        match from(identity, &dialer, order, term, stages).await {
            Ok(staged) => return Some(staged),
            Err(error) => debug!(peer = %dialer.peer(), %error, "a peer did not give the archive"),
        }
    }
    None
}

/// From this peer: every byte is checked before it counts.
pub(crate) async fn from(
    identity: &Arc<Identity>,
    dialer: &Arc<Dialer>,
    order: RestoreOrder,
    term: Term,
    stages: &Arc<Stages>,
) -> Result<Arc<StagedFile>, FetchError> {
    let stages = Arc::clone(stages);
    let staged = receive(identity, dialer, Wanted::Archive(order), move |mut waiting| {
        let mut incoming = stages.begin(order.bytes)?;
        while let Some(data) = waiting.blocking_recv() {
            incoming.write(&data)?;
        }
        // What ended early is refused here by its length.
        incoming.finish(Some(order), term)
    })
    .await?;
    info!(peer = %dialer.peer(), bytes = order.bytes, "an archive was fetched and staged");
    Ok(staged)
}

/// A snapshot of the application, from this peer: every byte is checked before it counts (K22).
pub(crate) async fn application(
    identity: &Arc<Identity>,
    dialer: &Arc<Dialer>,
    snapshot: ApplicationSnapshot,
    snapshots: &Arc<ApplicationSnapshots>,
) -> Result<Arc<ApplicationFile>, FetchError> {
    let snapshots = Arc::clone(snapshots);
    let file = receive(identity, dialer, Wanted::Application(snapshot), move |mut waiting| {
        let mut incoming = snapshots.begin(snapshot.index)?;
        while let Some(data) = waiting.blocking_recv() {
            incoming.write(&data)?;
        }
        incoming.finish(Some(snapshot))
    })
    .await?;
    let ApplicationSnapshot { index, bytes, .. } = snapshot;
    info!(peer = %dialer.peer(), %index, bytes, "a snapshot of the application was fetched");
    Ok(file)
}

/// Hands what the peer sends to `write`, on a thread of its own.
async fn receive<T: Send + 'static>(
    identity: &Arc<Identity>,
    dialer: &Arc<Dialer>,
    wanted: Wanted,
    write: impl FnOnce(mpsc::Receiver<Bytes>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, FetchError> {
    let channel = dialer.channel().await.map_err(FetchError::Peer)?;
    let mut client = PeerClient::new(channel).max_decoding_message_size(LINK_MESSAGE_BYTES_MAX);
    let hello = Some(hello::ours(identity, Some(dialer.peer().clone())).to_wire());
    let request = proto::FetchRequest { hello, state: Some(wanted.to_wire()) };
    let mut incoming = in_time(client.fetch(request)).await?.map_err(|status| refused(&status))?.into_inner();
    let (chunks, waiting) = mpsc::channel::<Bytes>(SNAPSHOT_CHUNKS_WAITING_MAX);
    let writing = tokio::task::spawn_blocking(move || write(waiting));
    while let Some(data) = next(&mut incoming).await? {
        if chunks.send(data).await.is_err() {
            // The writer failed, and says how.
            break;
        }
    }
    drop(chunks);
    Ok(writing.await.map_err(|error| FetchError::Peer(error.to_string()))??)
}

async fn next(incoming: &mut Streaming<proto::FetchChunk>) -> Result<Option<Bytes>, FetchError> {
    let chunk = in_time(incoming.message()).await?.map_err(|status| refused(&status))?;
    Ok(chunk.map(|chunk| chunk.data))
}

fn refused(status: &Status) -> FetchError {
    match status.code() {
        Code::NotFound => FetchError::Peer("it does not have it".to_owned()),
        _ => FetchError::Peer(status.message().to_owned()),
    }
}

async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, FetchError> {
    let late = |_| FetchError::Peer("it sent nothing for long".to_owned());
    timeout(SNAPSHOT_STALL_TIMEOUT, step).await.map_err(late)
}

/// What members give each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The state in an archive.
    Archive(RestoreOrder),
    /// A snapshot of the application.
    Application(ApplicationSnapshot),
}

impl Wanted {
    pub(super) fn to_wire(self) -> proto::StagedState {
        let (sha256, bytes, application_index) = match self {
            Self::Archive(RestoreOrder { sha256, bytes }) => (sha256, bytes, 0),
            Self::Application(ApplicationSnapshot { index, sha256, bytes }) => (sha256, bytes, index.0),
        };
        proto::StagedState { sha256: Bytes::copy_from_slice(&sha256), bytes, application_index }
    }

    pub(super) fn from_wire(state: Option<proto::StagedState>) -> Result<Self, Status> {
        let state = state.ok_or_else(|| Status::invalid_argument("state: missing"))?;
        let sha256 = <[u8; 32]>::try_from(&*state.sha256)
            .map_err(|_| Status::invalid_argument("state.sha256: not of 32 bytes"))?;
        let bytes = state.bytes;
        Ok(match state.application_index {
            0 => Self::Archive(RestoreOrder { sha256, bytes }),
            index => Self::Application(ApplicationSnapshot { index: ApiIndex(index), sha256, bytes }),
        })
    }
}
