//! Evidence that a peer's process is gone: its stream to us ended, and its address refuses us (K12).
//!
//! ```text
//!   stream ends ─► dial: refused ────────────────► the driver is told
//!                  dial: answers ────────────────► it lives; nothing
//!                  dial: anything else, a few times more, then nothing
//! ```
//!
//! A dying process closes its sockets in any order: for a moment its port may still take a connection and
//! break it. A dial that gets no answer is never evidence: the network may be cut, the process paused.
//! Not here: whether the peer led, and what follows; the core knows.

use std::sync::Arc;

use quorate_raft::ServerId;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::debug;

use super::dialer::Found;
use super::{Book, FromPeer};
use crate::limits::{GONE_DIAL_PAUSE, GONE_DIALS_MAX};

/// Looks after peers whose streams end.
#[derive(Clone)]
pub(crate) struct Witness {
    book: watch::Receiver<Arc<Book>>,
    inbox: mpsc::Sender<FromPeer>,
}

impl Witness {
    pub(crate) fn new(book: watch::Receiver<Arc<Book>>, inbox: mpsc::Sender<FromPeer>) -> Self {
        Self { book, inbox }
    }

    /// The peer's stream has just ended, and no newer one took over.
    pub(super) async fn look_after(&self, peer: &ServerId) {
        let Some(dialer) = self.book.borrow().get(peer).cloned() else { return };
        for _ in 0..GONE_DIALS_MAX {
            match dialer.look().await {
                Found::Refused => {
                    debug!(%peer, address = %dialer.address(), "the peer's process is gone");
                    // The driver is gone only when the member is ending.
                    let _ = self.inbox.send(FromPeer::Gone(peer.clone())).await;
                    return;
                }
                Found::Answers => return,
                Found::Unclear => sleep(GONE_DIAL_PAUSE).await,
            }
        }
    }
}
