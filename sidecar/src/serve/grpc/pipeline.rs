//! `Kv.Write` and `Log.Propose`: many items under way at once on one stream, each answered by its number.
//!
//! ```text
//!   requests ──▶ room? ── yes ──▶ open items ──▶ results, as each is known, many in a message
//!                  │ no: not read on until some are answered, and the client's own window fills up
//! ```
//!
//! Invariants: every item that was read is answered once, unless the client goes away; open items and their bytes are
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
pub(super) type Responses<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// A stream of items that are answered one by one.
pub(super) trait Piped: Send + 'static {
    /// A message of the client: items.
    type Request: Send + 'static;
    /// What is to be done.
    type Item: Message + Send + 'static;
    /// What came of it.
    type Result: Message + Send + 'static;
    /// A message to the client: results.
    type Response: Send + 'static;

    /// Takes a message apart.
    fn items(request: Self::Request) -> Vec<Self::Item>;

    /// Does it, whatever comes of it.
    fn answer(service: Service, item: Self::Item, deadline: Instant) -> BoxFuture<'static, Self::Result>;

    /// Puts a message together.
    fn response(results: Vec<Self::Result>) -> Self::Response;
}

/// One client's items.
struct Pipeline<P: Piped, R> {
    service: Service,
    requests: R,
    /// Results, each with the bytes its item held.
    open: FuturesUnordered<BoxFuture<'static, (P::Result, usize)>>,
    open_bytes: usize,
    /// A result that did not fit into the last message.
    held: Option<P::Result>,
    /// What was wrong with the last request: told once everything open is answered.
    failure: Option<Status>,
}

/// The answers to a client's items.
pub(super) fn responses<P, R>(service: Service, requests: R) -> Responses<P::Response>
where
    P: Piped,
    R: Stream<Item = Result<P::Request, Status>> + Send + Unpin + 'static,
{
    let stopping = super::super::stopped(service.shared.context.stopping.clone());
    let requests = Box::pin(requests.take_until(stopping).fuse());
    let (open, open_bytes) = (FuturesUnordered::new(), 0);
    let pipeline = Pipeline::<P, _> { service, requests, open, open_bytes, held: None, failure: None };
    Box::pin(futures::stream::unfold(pipeline, async |mut pipeline| {
        let response = pipeline.next().await?;
        Some((response, pipeline))
    }))
}

impl<P, R> Pipeline<P, R>
where
    P: Piped,
    R: FusedStream<Item = Result<P::Request, Status>> + Send + Unpin,
{
    /// The next results; none once the client has ended its side and everything is answered.
    async fn next(&mut self) -> Option<Result<P::Response, Status>> {
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
                        for item in P::items(request) {
                            self.begin(item);
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

    fn begin(&mut self, item: P::Item) {
        let bytes = item.encoded_len();
        self.open_bytes += bytes;
        let deadline = Instant::now() + REQUEST_TIMEOUT_DEFAULT;
        let answered = P::answer(self.service.clone(), item, deadline);
        self.open.push(answered.map(move |result| (result, bytes)).boxed());
    }

    fn close(&mut self, (result, bytes): (P::Result, usize)) -> P::Result {
        self.open_bytes -= bytes;
        result
    }

    /// A message with this result, and with all that are there already and fit.
    fn with_more(&mut self, first: P::Result) -> P::Response {
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
        P::response(results)
    }
}

/// `Kv.Write`.
pub(super) struct Writes;

impl Piped for Writes {
    type Request = v1::WriteRequest;
    type Item = NumberedWrite;
    type Result = NumberedResult;
    type Response = v1::WriteResponse;

    fn items(request: v1::WriteRequest) -> Vec<NumberedWrite> {
        request.writes
    }

    fn answer(
        service: Service,
        write: NumberedWrite,
        deadline: Instant,
    ) -> BoxFuture<'static, NumberedResult> {
        async move { service.answer(write, deadline).await }.boxed()
    }

    fn response(results: Vec<NumberedResult>) -> v1::WriteResponse {
        v1::WriteResponse { results }
    }
}

/// A refusal as one item's result.
pub(super) fn refused(service: &Service, refused: Refused) -> WriteRefused {
    let detail = refused.detail(&service.handle().view());
    WriteRefused { message: refused.into_message(), detail: Some(detail) }
}

impl Service {
    async fn answer(&self, write: NumberedWrite, deadline: Instant) -> NumberedResult {
        let result = match self.write_any(write.write, deadline).await {
            Ok(answer) => answer,
            Err(why) => Answer::Refused(refused(self, why)),
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
