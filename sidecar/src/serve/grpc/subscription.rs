//! `Log.Subscribe`: every entry after the one that is applied, in order, each once (K22).
//!
//! ```text
//!   the transport asks ──▶ a page from the machine ──▶ one message; an empty page: wait until there is more
//!   acks ──▶ this member's word to whoever leads
//! ```
//!
//! Nothing is read ahead of the transport, which asks when the application's window has room: a slow application costs one
//! page of memory, and holds up nobody.
//!
//! Invariant: a page begins after the last entry of the one before, so there is no gap and nothing twice; where entries
//! between were trimmed the machine says so, and the stream ends with that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt};
use quorate_api::v1::{self, subscribe_response::Event};
use quorate_machine::{ApiIndex, ApplicationEntry, ApplicationMeta, EntriesAfter, PageLimit};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};

use super::Service;
use super::log::wire_snapshot;
use super::refused::Refused;
use crate::driver::{Application, CallError, Consistency, ErrorKind, State, Subscription};
use crate::limits::{
    ENTRIES_PAGE_BYTES_MAX, ENTRIES_PAGE_ROWS_MAX, ENTRIES_RETRY_PAUSE, REQUEST_TIMEOUT_DEFAULT,
};

/// What the transport sends.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

const PAGE: PageLimit = PageLimit { rows_max: ENTRIES_PAGE_ROWS_MAX, bytes_max: ENTRIES_PAGE_BYTES_MAX };

struct Feed {
    service: Service,
    _open: Subscription,
    /// The last entry that was sent.
    after: ApiIndex,
    /// The same, for who checks the acks.
    sent: Arc<AtomicU64>,
    changes: watch::Receiver<ApplicationMeta>,
    /// Why the acks are no good.
    failure: watch::Receiver<Option<Refused>>,
    is_over: bool,
}

/// The events of one application, which has applied everything up to `applied`.
pub(super) fn begin(
    service: &Service,
    applied: ApiIndex,
    acks: Streaming<v1::SubscribeRequest>,
) -> Result<Events, Refused> {
    let application = service.handle().application();
    let open = application.subscribe(applied)?;
    let sent = Arc::new(AtomicU64::new(applied.0));
    let (fail, failure) = watch::channel(None);
    // It ends with the application's side of the stream.
    tokio::spawn(hear(acks, Arc::clone(application), (open.number(), Arc::clone(&sent)), fail));
    let changes = application.watch();
    let feed = Feed {
        service: service.clone(),
        _open: open,
        after: applied,
        sent,
        changes,
        failure,
        is_over: false,
    };
    let stopping = super::super::stopped(service.shared.context.stopping.clone());
    let events = futures::stream::unfold(feed, async |mut feed| {
        let event = feed.next().await?;
        Some((event, feed))
    });
    Ok(Box::pin(events.take_until(Box::pin(stopping))))
}

async fn hear(
    mut acks: Streaming<v1::SubscribeRequest>,
    application: Arc<Application>,
    (number, sent): (u64, Arc<AtomicU64>),
    fail: watch::Sender<Option<Refused>>,
) {
    // An error means that the application is gone; an end, that it acknowledges no more.
    while let Ok(Some(v1::SubscribeRequest { applied_index })) = acks.message().await {
        let sent = sent.load(Ordering::Acquire);
        if applied_index > sent {
            let why = format!(
                "applied_index {applied_index} was not sent on this stream, which is at {sent}: acknowledge what was applied"
            );
            fail.send_replace(Some(Refused::field("applied_index", why)));
            return;
        }
        application.acknowledge(number, ApiIndex(applied_index));
    }
}

impl Feed {
    async fn next(&mut self) -> Option<Result<v1::SubscribeResponse, Status>> {
        if self.is_over {
            return None;
        }
        loop {
            // Before the look: what comes after it wakes.
            self.changes.mark_unchanged();
            match self.service.handle().entries_after(self.after, PAGE).await {
                Ok(EntriesAfter::Entries(entries)) if !entries.is_empty() => {
                    return Some(Ok(self.send(entries)));
                }
                Ok(EntriesAfter::Entries(_)) => {}
                Ok(EntriesAfter::Ahead) => match self.is_beyond().await {
                    Ok(true) => return self.end(self.unknown()),
                    Ok(false) => continue,
                    Err(_) => {
                        sleep(ENTRIES_RETRY_PAUSE).await;
                        continue;
                    }
                },
                Ok(EntriesAfter::SnapshotRequired(Some(snapshot))) => {
                    self.is_over = true;
                    return Some(Ok(event(Event::SnapshotRequired(wire_snapshot(snapshot)))));
                }
                Ok(EntriesAfter::SnapshotRequired(None)) => {
                    return self.end(Refused::unexpected("a subscription"));
                }
                Ok(EntriesAfter::Unknown) => return self.end(self.unknown()),
                Err(error) if matches!(error.kind, ErrorKind::Busy | ErrorKind::Deadline) => {
                    sleep(ENTRIES_RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => return self.end(error.into()),
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return self.end(CallError::stopping().into());
                    }
                }
                // None is sent where the application acknowledges no more.
                Ok(()) = self.failure.changed() => {
                    let refused = self.failure.borrow_and_update().clone();
                    if let Some(refused) = refused {
                        return self.end(refused);
                    }
                }
            }
        }
    }

    /// Whether the index asked for is beyond all that was committed when this began: what an application has applied was
    /// committed before, so nobody can have had it.
    async fn is_beyond(&self) -> Result<bool, CallError> {
        let (after, deadline) = (self.after, Instant::now() + REQUEST_TIMEOUT_DEFAULT);
        let query = move |state: &State| Ok(state.meta().application.last < after);
        Ok(self.service.handle().read(Consistency::Linearizable, deadline, query).await?.value)
    }

    fn send(&mut self, entries: Vec<ApplicationEntry>) -> v1::SubscribeResponse {
        if let Some(last) = entries.last() {
            self.after = last.index;
            self.sent.store(last.index.0, Ordering::Release);
        }
        let entry = |entry: ApplicationEntry| v1::LogEntry { index: entry.index.0, data: entry.data };
        event(Event::Entries(v1::LogEntries { entries: entries.into_iter().map(entry).collect() }))
    }

    fn unknown(&self) -> Refused {
        Refused::precondition(format!(
            "the log has no entry at index {}: the application's state is of another cluster, or of an end of the log that was lost in a recovery; begin from a snapshot (Log.SnapshotRestore), or from index 0",
            self.after
        ))
    }

    #[allow(clippy::unnecessary_wraps, reason = "what a stream yields")]
    fn end(&mut self, refused: Refused) -> Option<Result<v1::SubscribeResponse, Status>> {
        self.is_over = true;
        Some(Err(refused.into_status(&self.service.handle().view())))
    }
}

fn event(event: Event) -> v1::SubscribeResponse {
    v1::SubscribeResponse { event: Some(event) }
}
