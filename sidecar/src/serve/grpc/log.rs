//! `quorate.v1.Log`: an application's own state machine (K22).

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quorate_api::v1::{self, log_server::Log, proposal_result};
use quorate_machine::{ApiIndex, ApplicationSnapshot, Command, Outcome, Tagged};
use quorate_store::{ApplicationFile, ApplicationSnapshots, StoreError};
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use super::pipeline::{self, Piped, Responses, Words};
use super::refused::Refused;
use super::shape;
use super::subscription::{self, Events};
use crate::driver::{CallError, offer_failed};
use crate::limits::{ARCHIVE_CHUNK_BYTES, ARCHIVE_CHUNKS_WAITING_MAX, ARCHIVE_STALL_TIMEOUT};
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;
type SnapshotParts = Pin<Box<dyn Stream<Item = Result<v1::SnapshotRestoreResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Log for Service {
    type ProposeStream = Responses<v1::ProposeResponse>;

    async fn propose(&self, request: Request<Streaming<v1::ProposeRequest>>) -> Answer<Self::ProposeStream> {
        self.call("Log.Propose", Right::Data, request, |requests, _| async move {
            Ok(pipeline::responses::<Proposals, _>(self.clone(), requests))
        })
        .await
    }

    type SubscribeStream = Events;

    async fn subscribe(&self, request: Request<Streaming<v1::SubscribeRequest>>) -> Answer<Events> {
        self.call("Log.Subscribe", Right::Data, request, |mut acks, deadline| async move {
            let first = timeout_at(deadline, acks.message()).await;
            let Ok(Ok(Some(v1::SubscribeRequest { applied_index }))) = first else {
                return Err(Refused::field(
                    "applied_index",
                    "a subscription begins with a message that says what is applied already (0: nothing): send one",
                ));
            };
            subscription::begin(self, ApiIndex(applied_index), acks)
        })
        .await
    }

    async fn snapshot_offer(
        &self,
        request: Request<Streaming<v1::SnapshotOfferRequest>>,
    ) -> Answer<v1::SnapshotOfferResponse> {
        self.call("Log.SnapshotOffer", Right::Data, request, |parts, _| async move {
            let file = self.take_offer(parts).await?;
            match self.handle().offer_snapshot(&file).await? {
                Outcome::Written { .. } => {
                    Ok(v1::SnapshotOfferResponse { snapshot: Some(wire_snapshot(file.snapshot())) })
                }
                Outcome::Refused(refusal) => Err(refusal.into()),
                _ => Err(Refused::unexpected("a snapshot")),
            }
        })
        .await
    }

    type SnapshotRestoreStream = SnapshotParts;

    async fn snapshot_restore(&self, request: Request<v1::SnapshotRestoreRequest>) -> Answer<SnapshotParts> {
        self.call("Log.SnapshotRestore", Right::Data, request, |_, _| async move {
            let Some(snapshot) = self.handle().application().meta().snapshot else {
                return Err(Refused::precondition(
                    "no snapshot was offered yet, as far as this member knows: subscribe from index 0, every entry is there",
                ));
            };
            let file = self.handle().application_file(snapshot).await?;
            let first = v1::SnapshotRestoreResponse { snapshot: Some(wire_snapshot(snapshot)), data: Bytes::new() };
            let data = read(file).map(|chunk| match chunk {
                Ok(data) => Ok(v1::SnapshotRestoreResponse { snapshot: None, data }),
                Err(error) => Err(Status::data_loss(format!("the snapshot broke off: {error}; ask again"))),
            });
            Ok(Box::pin(futures::stream::once(async move { Ok(first) }).chain(data)) as SnapshotParts)
        })
        .await
    }
}

/// `Log.Propose` on the pipeline.
pub(super) struct Proposals;

impl Piped for Proposals {
    type Request = v1::ProposeRequest;
    type Item = v1::NumberedProposal;
    type Answer = ApiIndex;
    type Result = v1::ProposalResult;
    type Response = v1::ProposeResponse;

    fn items(request: v1::ProposeRequest) -> Vec<v1::NumberedProposal> {
        request.proposals
    }

    fn number(item: &v1::NumberedProposal) -> u64 {
        item.number
    }

    fn proposal(item: v1::NumberedProposal) -> Result<(Tagged, Words<ApiIndex>), Refused> {
        let tag = shape::tag(item.tag)?;
        let words: Words<ApiIndex> = |outcome| match outcome {
            Outcome::Written { modify_index } => Ok(modify_index),
            _ => Err(Refused::unexpected("a proposal")),
        };
        Ok((Tagged { tag, command: Command::Propose { data: item.data } }, words))
    }

    fn result(number: u64, answer: Result<ApiIndex, v1::WriteRefused>) -> v1::ProposalResult {
        let result = match answer {
            Ok(index) => proposal_result::Result::Index(index.0),
            Err(refused) => proposal_result::Result::Refused(refused),
        };
        v1::ProposalResult { number, result: Some(result) }
    }

    fn response(results: Vec<v1::ProposalResult>) -> v1::ProposeResponse {
        v1::ProposeResponse { results }
    }
}

impl Service {
    /// From the connection to a file on this member's disk.
    async fn take_offer(
        &self,
        mut parts: Streaming<v1::SnapshotOfferRequest>,
    ) -> Result<Arc<ApplicationFile>, Refused> {
        let first = next_part(&mut parts).await?;
        let Some(first) = first.filter(|first| first.index > 0) else {
            return Err(Refused::field(
                "index",
                "index is missing: the first message says which entry is the last in the snapshot; not recorded",
            ));
        };
        let index = ApiIndex(first.index);
        let meta = self.handle().application().meta();
        if index <= meta.covered() {
            let (index, covered) = (index, meta.covered());
            return Err(quorate_machine::Refusal::SnapshotStale { index, covered }.into());
        }
        let (chunks, waiting) = mpsc::channel(ARCHIVE_CHUNKS_WAITING_MAX);
        let snapshots = Arc::clone(self.handle().application().snapshots());
        let taking = tokio::task::spawn_blocking(move || take(&snapshots, index, waiting));
        let mut part = first;
        loop {
            let is_last = part.is_last;
            // A writer that failed says how. Without the `None` it gives up what is not whole.
            if chunks.send(Some(part.data)).await.is_err() || is_last && chunks.send(None).await.is_ok() {
                break;
            }
            part = next_part(&mut parts).await?.ok_or_else(|| broke_off("it ended without its last part"))?;
        }
        drop(chunks);
        match taking.await {
            Ok(Ok(file)) => Ok(file),
            Ok(Err(error)) => Err(offer_failed(&error).into()),
            // The runtime is ending.
            Err(_) => Err(CallError::stopping().into()),
        }
    }
}

async fn next_part(
    parts: &mut Streaming<v1::SnapshotOfferRequest>,
) -> Result<Option<v1::SnapshotOfferRequest>, Refused> {
    match timeout(ARCHIVE_STALL_TIMEOUT, parts.message()).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(status)) => Err(broke_off(status.message())),
        Err(_) => Err(broke_off("nothing came for long")),
    }
}

fn broke_off(why: &str) -> Refused {
    Refused::field("data", format!("the snapshot broke off: {why}; offer it again; not recorded"))
}

/// Every chunk is `Some`; `None` says that these were all.
fn take(
    snapshots: &ApplicationSnapshots,
    index: ApiIndex,
    mut waiting: mpsc::Receiver<Option<Bytes>>,
) -> Result<Arc<ApplicationFile>, StoreError> {
    let mut incoming = snapshots.begin(index)?;
    while let Some(chunk) = waiting.blocking_recv() {
        match chunk {
            Some(data) => incoming.write(&data)?,
            None => return incoming.finish(None),
        }
    }
    Err(StoreError::SnapshotRefused { why: "it broke off".to_owned() })
}

/// A file's bytes, as they are taken.
fn read(file: Arc<ApplicationFile>) -> ReceiverStream<io::Result<Bytes>> {
    let (chunks, waiting) = mpsc::channel(ARCHIVE_CHUNKS_WAITING_MAX);
    // It ends with the file, or a stall after the caller is gone.
    tokio::spawn(async move {
        let mut offset = 0;
        loop {
            let from = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || from.read(offset, ARCHIVE_CHUNK_BYTES)).await;
            let data = match read {
                Ok(Ok(data)) if data.is_empty() => return,
                Ok(data) => data.map_err(io::Error::other),
                // The runtime is ending.
                Err(_) => return,
            };
            offset += data.as_ref().map_or(0, |data| data.len() as u64);
            let is_last = data.is_err();
            match timeout(ARCHIVE_STALL_TIMEOUT, chunks.send(data)).await {
                Ok(Ok(())) if !is_last => {}
                _ => return,
            }
        }
    });
    ReceiverStream::new(waiting)
}

pub(super) fn wire_snapshot(snapshot: ApplicationSnapshot) -> v1::LogSnapshot {
    let ApplicationSnapshot { index, sha256, bytes } = snapshot;
    v1::LogSnapshot { index: index.0, bytes, sha256: Bytes::copy_from_slice(&sha256) }
}
