//! `Kv.Write`: many writes under way at once on one stream, each answered by its number.
//!
//! ```text
//!   requests ──▶ room? ── yes ──▶ open writes ──▶ results, as each is known, many in a message
//!                  │ no: not read on until some are answered, and the client's own window fills up
//! ```
//!
//! Invariants: every write that was read is answered once, unless the client goes away; open writes and their bytes are
//! bounded. When the member stops, or a request cannot be read, nothing is read any more, and what is open is answered
//! first.

use std::pin::Pin;

use futures::future::BoxFuture;
use futures::stream::{FusedStream, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};
use prost::Message;
use quorate_api::v1::numbered_result::Result as Answer;
use quorate_api::v1::numbered_write::Write as Wanted;
use quorate_api::v1::{self, NumberedResult, NumberedWrite, WriteRefused};
use tokio::time::Instant;
use tonic::Status;

use super::Service;
use super::refused::Refused;
use crate::limits::REQUEST_TIMEOUT_DEFAULT;
use crate::serve::limits::{PIPELINE_BYTES_MAX, PIPELINE_RESULT_BYTES, PIPELINE_WRITES_MAX};

/// What the transport sends.
pub(super) type Responses = Pin<Box<dyn Stream<Item = Result<v1::WriteResponse, Status>> + Send>>;

/// A result, and the bytes its write held.
type Done = (NumberedResult, usize);

/// One client's writes.
struct Pipeline<R> {
    service: Service,
    requests: R,
    open: FuturesUnordered<BoxFuture<'static, Done>>,
    open_bytes: usize,
    /// A result that did not fit into the last message.
    held: Option<NumberedResult>,
    /// What was wrong with the last request: told once everything open is answered.
    failure: Option<Status>,
}

/// The answers to a client's writes.
pub(super) fn responses<R>(service: Service, requests: R) -> Responses
where
    R: Stream<Item = Result<v1::WriteRequest, Status>> + Send + Unpin + 'static,
{
    let stopping = super::super::stopped(service.shared.context.stopping.clone());
    let requests = Box::pin(requests.take_until(stopping).fuse());
    let (open, open_bytes) = (FuturesUnordered::new(), 0);
    let pipeline = Pipeline { service, requests, open, open_bytes, held: None, failure: None };
    Box::pin(futures::stream::unfold(pipeline, async |mut pipeline| {
        let response = pipeline.next().await?;
        Some((response, pipeline))
    }))
}

impl<R> Pipeline<R>
where
    R: FusedStream<Item = Result<v1::WriteRequest, Status>> + Send + Unpin,
{
    /// The next results; none once the client has ended its side and everything is answered.
    async fn next(&mut self) -> Option<Result<v1::WriteResponse, Status>> {
        loop {
            if let Some(held) = self.held.take() {
                return Some(Ok(self.with_more(held)));
            }
            let is_over = self.failure.is_some() || self.requests.is_terminated();
            let is_reading = !is_over && self.has_room();
            if is_over && self.open.is_empty() {
                return self.failure.take().map(Err);
            }
            tokio::select! {
                request = self.requests.next(), if is_reading => match request {
                    Some(Ok(request)) => {
                        for write in request.writes {
                            self.begin(write);
                        }
                    }
                    Some(Err(status)) => self.failure = Some(status),
                    None => {}
                },
                Some(done) = self.open.next(), if !self.open.is_empty() => {
                    let first = self.close(done);
                    return Some(Ok(self.with_more(first)));
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.open.len() < PIPELINE_WRITES_MAX && self.open_bytes < PIPELINE_BYTES_MAX
    }

    fn begin(&mut self, write: NumberedWrite) {
        let bytes = write.encoded_len();
        self.open_bytes += bytes;
        let service = self.service.clone();
        let deadline = Instant::now() + REQUEST_TIMEOUT_DEFAULT;
        self.open.push(async move { (service.answer(write, deadline).await, bytes) }.boxed());
    }

    fn close(&mut self, (result, bytes): Done) -> NumberedResult {
        self.open_bytes -= bytes;
        result
    }

    /// A message with this result, and with all that are there already and fit.
    fn with_more(&mut self, first: NumberedResult) -> v1::WriteResponse {
        let mut bytes = first.encoded_len();
        let mut results = vec![first];
        while let Some(Some(done)) = self.open.next().now_or_never() {
            let result = self.close(done);
            bytes += result.encoded_len();
            if bytes > PIPELINE_RESULT_BYTES {
                self.held = Some(result);
                break;
            }
            results.push(result);
        }
        v1::WriteResponse { results }
    }
}

impl Service {
    async fn answer(&self, write: NumberedWrite, deadline: Instant) -> NumberedResult {
        let result = match self.write_any(write.write, deadline).await {
            Ok(answer) => answer,
            Err(refused) => {
                let detail = refused.detail(&self.handle().view());
                Answer::Refused(WriteRefused { message: refused.into_message(), detail: Some(detail) })
            }
        };
        NumberedResult { number: write.number, result: Some(result) }
    }

    async fn write_any(&self, write: Option<Wanted>, deadline: Instant) -> Result<Answer, Refused> {
        if let Some(why) = self.shared.out_of_service() {
            return Err(Refused::out_of_service(why));
        }
        Ok(match write {
            Some(Wanted::Put(put)) => Answer::Put(self.write_one(put, deadline).await?),
            Some(Wanted::Delete(delete)) => Answer::Delete(self.write_one(delete, deadline).await?),
            Some(Wanted::DeletePrefix(delete)) => {
                Answer::DeletePrefix(self.write_one(delete, deadline).await?)
            }
            Some(Wanted::CompareAndSet(set)) => Answer::CompareAndSet(self.write_one(set, deadline).await?),
            Some(Wanted::Acquire(acquire)) => Answer::Acquire(self.write_one(acquire, deadline).await?),
            Some(Wanted::Release(release)) => Answer::Release(self.write_one(release, deadline).await?),
            Some(Wanted::Txn(txn)) => Answer::Txn(self.write_one(txn, deadline).await?),
            None => {
                return Err(Refused::field(
                    "write",
                    "the write is empty or newer than this member: set one of the known ones; not applied",
                ));
            }
        })
    }
}
