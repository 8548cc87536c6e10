//! `Kv.Watch`: the changes of one key, or of all keys with a prefix, as this member applies them.
//!
//! Each stream reads the one history of changes at its own pace, when its client has room: there is no buffer of its own
//! that could overflow, and nothing waits for it. Who is slower than the history hears that and begins anew.
//!
//! Invariant: `upto` is of an entry all of whose changes were delivered, so another stream may go on from there, through
//! any member.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use quorate_api::v1::{self, watch_request::What};
use quorate_machine::{ApiIndex, KeyChange, KeyEvent};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::Service;
use super::refused::Refused;
use super::shape;
use crate::driver::{Consistency, Cursor, KeyHistory};
use crate::serve::limits::{KV_WATCHES_MAX, WATCH_WORD_EVERY};

/// What the transport sends.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// One stream.
struct Watching {
    service: Service,
    history: Arc<KeyHistory>,
    news: watch::Receiver<u64>,
    what: What,
    /// Changes up to here were not asked for.
    after: ApiIndex,
    upto: ApiIndex,
    cursor: Cursor,
    /// Whether the client has heard that it watches.
    is_open: bool,
    _place: OwnedSemaphorePermit,
}

/// Begins to watch.
pub(super) async fn events(
    service: &Service,
    request: v1::WatchRequest,
    deadline: Instant,
) -> Result<Events, Refused> {
    let what = request.what.ok_or_else(|| {
        Refused::field(
            "what",
            "neither a key nor a prefix is named: name one; an empty prefix means every key",
        )
    })?;
    match &what {
        What::Key(key) => {
            shape::check_length("key", key)?;
            if key.is_empty() {
                return Err(Refused::field(
                    "key",
                    "the key is empty: name one, or an empty prefix for every key",
                ));
            }
        }
        What::Prefix(prefix) => shape::check_length("prefix", prefix)?,
    }
    let place = Arc::clone(&service.shared.watches).try_acquire_owned().map_err(|_| {
        Refused::busy(format!(
            "{KV_WATCHES_MAX} watches are open here (KV_WATCHES_MAX): watch through another member, or end some"
        ))
    })?;
    let after = match request.after_index {
        0 => {
            let last = |state: &crate::driver::State| Ok(state.meta().keys.index);
            service.handle().read(Consistency::Linearizable, deadline, last).await?.value
        }
        index => ApiIndex(index),
    };
    let history = Arc::clone(service.handle().key_history());
    let news = history.watch();
    let cursor = history.after(after).map_err(|compacted| Refused::compacted(after, compacted.oldest))?;
    let stopping = crate::serve::stopped(service.shared.context.stopping.clone());
    let service = service.clone();
    let (upto, is_open) = (after, false);
    let watching = Watching { service, history, news, what, after, upto, cursor, is_open, _place: place };
    let responses = futures::stream::unfold(Some(watching), async |watching| {
        let mut watching = watching?;
        match watching.next().await {
            Ok(response) => Some((Ok(response), Some(watching))),
            Err(refused) => {
                let status = refused.into_status(&watching.service.handle().view());
                Some((Err(status), None))
            }
        }
    });
    Ok(Box::pin(responses.take_until(stopping)))
}

impl Watching {
    /// The next changes; without any, now and then, how far it is.
    async fn next(&mut self) -> Result<v1::WatchResponse, Refused> {
        if !std::mem::replace(&mut self.is_open, true) {
            return response(&[], self.upto);
        }
        let word_due = Instant::now() + WATCH_WORD_EVERY;
        loop {
            if let Some(why) = self.service.shared.out_of_service() {
                return Err(Refused::out_of_service(why));
            }
            self.news.mark_unchanged();
            let (what, after) = (&self.what, self.after);
            let is_wanted = |change: &KeyChange| change.index > after && touches(what, change);
            let read = self
                .history
                .read(self.cursor, is_wanted)
                .map_err(|compacted| Refused::compacted(self.upto, compacted.oldest))?;
            let is_at_end = read.next == self.cursor;
            self.cursor = read.next;
            self.upto = self.upto.max(read.upto);
            if !read.changes.is_empty() || Instant::now() >= word_due {
                return response(&read.changes, self.upto);
            }
            if is_at_end {
                // Nothing came in time, or the machine ended, which ends the stream elsewhere.
                let _ = timeout_at(word_due, self.news.changed()).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn touches(what: &What, change: &KeyChange) -> bool {
    match what {
        What::Key(key) => change.touches_key(key),
        What::Prefix(prefix) => change.touches_prefix(prefix),
    }
}

fn response(changes: &[KeyChange], upto: ApiIndex) -> Result<v1::WatchResponse, Refused> {
    let event = |change: &KeyChange| {
        let what = match change.event().map_err(|_| Refused::unexpected("a watch"))? {
            KeyEvent::Put(entry) => v1::key_event::What::Put(shape::entry(entry)),
            KeyEvent::Deleted(key) => v1::key_event::What::Deleted(key),
            KeyEvent::PrefixDeleted(prefix) => v1::key_event::What::PrefixDeleted(prefix),
        };
        Ok(v1::KeyEvent { index: change.index.0, what: Some(what) })
    };
    let events = changes.iter().map(event).collect::<Result<_, Refused>>()?;
    Ok(v1::WatchResponse { events, index: upto.0 })
}
