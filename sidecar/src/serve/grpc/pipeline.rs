//! `Kv.Write` and `Log.Propose`: many items under way at once on one stream, each answered by its number.
//!
//! ```text
//!   requests ─▶ room? ─ yes ─▶ this member leads? ─ yes ─▶ to the driver, all of a request together ─┐
//!                 │ no: not read on until some          │ no, or it does no longer                  ├─▶ results, many
//!                 │ are answered, and the client's      └─▶ each a call of its own to the leader ───┘   in a message
//!                 │ own window fills up
//! ```
//!
//! Invariants: every item that was read is answered once, unless the client goes away; open items and their bytes are
//! bounded. When the member stops, or a request cannot be read, nothing is read any more, and what is open is answered
//! first.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use futures::future::BoxFuture;
use futures::stream::{FusedStream, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};
use prost::Message;
use quorate_api::v1::numbered_result::Result as Answer;
use quorate_api::v1::numbered_write::Write as Wanted;
use quorate_api::v1::{self, NumberedResult, NumberedWrite, WriteRefused};
use quorate_machine::{Outcome, Tagged};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Status;

use super::Service;
use super::refused::Refused;
use super::write::Write;
use crate::driver::{Applied, CallError, WriteAnswer, WriteAnswers, overdue};
use crate::limits::REQUEST_TIMEOUT_DEFAULT;
use crate::serve::limits::{
    PIPELINE_BYTES_MAX, PIPELINE_OVERDUE_CHECK, PIPELINE_RESULT_BYTES, PIPELINE_WRITES_MAX,
};

/// What the transport sends.
pub(super) type Responses<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// How an outcome is told in an item's own words.
pub(super) type Words<A> = fn(Outcome) -> Result<A, Refused>;

/// A stream of items that are answered one by one.
pub(super) trait Piped: Send + 'static {
    /// A message of the client: items.
    type Request: Send + 'static;
    /// What is to be done.
    type Item: Message + Send + 'static;
    /// What it came to, unless it was refused.
    type Answer: Send + 'static;
    /// That, or a refusal, with the item's number.
    type Result: Message + Send + 'static;
    /// A message to the client: results.
    type Response: Send + 'static;

    /// Takes a message apart.
    fn items(request: Self::Request) -> Vec<Self::Item>;

    /// The client's number for it.
    fn number(item: &Self::Item) -> u64;

    /// What it proposes, and how its outcome is told. What is wrong with its shape is told here.
    fn proposal(item: Self::Item) -> Result<(Tagged, Words<Self::Answer>), Refused>;

    /// What came of the item of this number.
    fn result(number: u64, answer: Result<Self::Answer, WriteRefused>) -> Self::Result;

    /// Puts a message together.
    fn response(results: Vec<Self::Result>) -> Self::Response;
}

/// One client's items.
struct Pipeline<P: Piped, R> {
    service: Service,
    requests: R,
    /// By their place on this stream; all wait equally long, so that the first is due first.
    open: BTreeMap<u64, Open<P::Answer>>,
    open_bytes: usize,
    /// The place of the next item.
    next_place: u64,
    /// What comes of items that this member proposed as the leader, and where to say so.
    answers: mpsc::UnboundedReceiver<(u64, WriteAnswer)>,
    answers_to: WriteAnswers,
    /// Items whose leader is somebody else.
    calls: FuturesUnordered<BoxFuture<'static, (u64, WriteAnswer)>>,
    overdue_check: Interval,
    /// What is not told yet. Bounded as what is open is.
    results: VecDeque<P::Result>,
    /// What was wrong with the last request: told once everything open is answered.
    failure: Option<Status>,
}

/// An item under way.
struct Open<A> {
    number: u64,
    bytes: usize,
    write: Tagged,
    words: Words<A>,
    deadline: Instant,
    /// A call of its own sees to its deadline.
    is_called: bool,
}

/// The answers to a client's items.
pub(super) fn responses<P, R>(service: Service, requests: R) -> Responses<P::Response>
where
    P: Piped,
    R: Stream<Item = Result<P::Request, Status>> + Send + Unpin + 'static,
{
    let stopping = super::super::stopped(service.shared.context.stopping.clone());
    let requests = Box::pin(requests.take_until(stopping).fuse());
    let (answers_to, answers) = mpsc::unbounded_channel();
    let mut overdue_check = tokio::time::interval(PIPELINE_OVERDUE_CHECK);
    overdue_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let pipeline = Pipeline::<P, _> {
        service,
        requests,
        open: BTreeMap::new(),
        open_bytes: 0,
        next_place: 0,
        answers,
        answers_to,
        calls: FuturesUnordered::new(),
        overdue_check,
        results: VecDeque::new(),
        failure: None,
    };
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
            self.take_what_is_there();
            if !self.results.is_empty() {
                return Some(Ok(self.message()));
            }
            let is_over = self.failure.is_some() || self.requests.is_terminated();
            let is_reading = !is_over && self.has_room();
            if is_over && self.open.is_empty() {
                return self.failure.take().map(Err);
            }
            tokio::select! {
                request = self.requests.next(), if is_reading => match request {
                    Some(Ok(request)) => self.begin(request),
                    Some(Err(status)) => self.failure = Some(status),
                    None => {}
                },
                Some((place, answer)) = self.answers.recv() => self.answered_here(place, answer),
                Some((place, answer)) = self.calls.next(), if !self.calls.is_empty() => self.close(place, answer),
                _ = self.overdue_check.tick(), if !self.open.is_empty() => self.close_overdue(),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.open.len() < PIPELINE_WRITES_MAX && self.open_bytes < PIPELINE_BYTES_MAX
    }

    fn begin(&mut self, request: P::Request) {
        let deadline = Instant::now() + REQUEST_TIMEOUT_DEFAULT;
        let first_place = self.next_place;
        for item in P::items(request) {
            let (number, bytes) = (P::number(&item), item.encoded_len());
            match self.proposal(item) {
                Ok((write, words)) => {
                    let open = Open { number, bytes, write, words, deadline, is_called: false };
                    self.open.insert(self.next_place, open);
                    self.open_bytes += bytes;
                    self.next_place += 1;
                }
                Err(why) => self.tell(number, Err(why)),
            }
        }
        if self.service.handle().view().is_leader() {
            let writes = self.open.range(first_place..).map(|(place, open)| (*place, &open.write));
            self.service.handle().propose_many_here(writes, &self.answers_to);
        } else {
            for place in first_place..self.next_place {
                self.call(place);
            }
        }
    }

    /// Input is checked before anything is proposed (P10).
    fn proposal(&self, item: P::Item) -> Result<(Tagged, Words<P::Answer>), Refused> {
        if let Some(why) = self.service.shared.out_of_service() {
            return Err(Refused::out_of_service(why));
        }
        let (write, words) = P::proposal(item)?;
        write.command.validate().map_err(|invalid| Refused::from_invalid(&invalid))?;
        Ok((write, words))
    }

    /// Lets whoever leads do it.
    fn call(&mut self, place: u64) {
        let Some(open) = self.open.get_mut(&place) else { return };
        open.is_called = true;
        let (write, deadline, handle) = (open.write.clone(), open.deadline, self.service.handle().clone());
        self.calls.push(async move { (place, handle.propose(&write, deadline).await) }.boxed());
    }

    /// This member proposed it, or refused to because it does not lead any more.
    fn answered_here(&mut self, place: u64, answer: WriteAnswer) {
        if answer.as_ref().is_err_and(CallError::is_retried_on_next_leader) {
            self.call(place);
        } else {
            self.close(place, answer);
        }
    }

    fn close(&mut self, place: u64, answer: WriteAnswer) {
        // One that was overdue is told already.
        let Some(Open { number, bytes, words, .. }) = self.open.remove(&place) else { return };
        self.open_bytes -= bytes;
        self.tell(
            number,
            match answer {
                Ok(Applied { outcome: Outcome::Refused(refusal), .. }) => Err(refusal.into()),
                Ok(Applied { outcome, .. }) => words(outcome),
                Err(error) => Err(error.into()),
            },
        );
    }

    fn close_overdue(&mut self) {
        let now = Instant::now();
        let is_overdue = |open: &Open<_>| open.deadline <= now && !open.is_called;
        while let Some((place, _)) = self.open.first_key_value().filter(|(_, open)| is_overdue(open)) {
            let place = *place;
            self.close(place, Err(overdue()));
        }
    }

    fn tell(&mut self, number: u64, answer: Result<P::Answer, Refused>) {
        let answer = answer.map_err(|why| refused(&self.service, why));
        self.results.push_back(P::result(number, answer));
    }

    /// Everything that is answered by now.
    fn take_what_is_there(&mut self) {
        while let Ok((place, answer)) = self.answers.try_recv() {
            self.answered_here(place, answer);
        }
        while let Some(Some((place, answer))) = self.calls.next().now_or_never() {
            self.close(place, answer);
        }
    }

    /// A message with as many results as fit, one at least.
    fn message(&mut self) -> P::Response {
        let (mut bytes, mut number) = (0, 0);
        for result in &self.results {
            bytes += result.encoded_len();
            if bytes > PIPELINE_RESULT_BYTES && number > 0 {
                break;
            }
            number += 1;
        }
        P::response(self.results.drain(..number).collect())
    }
}

/// `Kv.Write`.
pub(super) struct Writes;

impl Piped for Writes {
    type Request = v1::WriteRequest;
    type Item = NumberedWrite;
    type Answer = Answer;
    type Result = NumberedResult;
    type Response = v1::WriteResponse;

    fn items(request: v1::WriteRequest) -> Vec<NumberedWrite> {
        request.writes
    }

    fn number(item: &NumberedWrite) -> u64 {
        item.number
    }

    fn proposal(item: NumberedWrite) -> Result<(Tagged, Words<Answer>), Refused> {
        match item.write {
            Some(Wanted::Put(put)) => {
                worded(put, |outcome| v1::PutRequest::response(outcome).map(Answer::Put))
            }
            Some(Wanted::Delete(delete)) => {
                worded(delete, |outcome| v1::DeleteRequest::response(outcome).map(Answer::Delete))
            }
            Some(Wanted::DeletePrefix(delete)) => {
                worded(delete, |outcome| v1::DeletePrefixRequest::response(outcome).map(Answer::DeletePrefix))
            }
            Some(Wanted::CompareAndSet(set)) => {
                worded(set, |outcome| v1::CompareAndSetRequest::response(outcome).map(Answer::CompareAndSet))
            }
            Some(Wanted::Acquire(acquire)) => {
                worded(acquire, |outcome| v1::AcquireRequest::response(outcome).map(Answer::Acquire))
            }
            Some(Wanted::Release(release)) => {
                worded(release, |outcome| v1::ReleaseRequest::response(outcome).map(Answer::Release))
            }
            Some(Wanted::Txn(txn)) => {
                worded(txn, |outcome| v1::TxnRequest::response(outcome).map(Answer::Txn))
            }
            None => Err(Refused::field(
                "write",
                "the write is empty or newer than this member: set one of the known ones; not applied",
            )),
        }
    }

    fn result(number: u64, answer: Result<Answer, WriteRefused>) -> NumberedResult {
        NumberedResult { number, result: Some(answer.unwrap_or_else(Answer::Refused)) }
    }

    fn response(results: Vec<NumberedResult>) -> v1::WriteResponse {
        v1::WriteResponse { results }
    }
}

fn worded<W: Write>(write: W, words: Words<Answer>) -> Result<(Tagged, Words<Answer>), Refused> {
    Ok((write.proposal()?, words))
}

/// A refusal as one item's result.
fn refused(service: &Service, refused: Refused) -> WriteRefused {
    let detail = refused.detail(&service.handle().view());
    WriteRefused { message: refused.into_message(), detail: Some(detail) }
}
