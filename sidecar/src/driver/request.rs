//! What a [`Handle`](super::Handle) asks of the driver, and how each is answered.

use bytes::Bytes;
use quorate_machine::RestoreOrder;
use quorate_raft::{Change, ClusterId, Index, Mode, RaftId, ServerId, Status};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::archive::Files;
use super::error::CallError;
use super::restore::Place;
use super::writer::Writer;

/// Answers one caller; who is gone is not told.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// One request, with its share of the queue's bytes until the driver has it.
pub(crate) struct Request {
    pub(crate) ask: Ask,
    /// Given back when the driver has taken the request apart.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// Commands, and who waits for each.
pub(crate) type Proposals = Vec<(Bytes, Writer)>;

pub(crate) enum Ask {
    Propose {
        command: Bytes,
        writer: Writer,
    },
    /// Those of one message of a stream.
    ProposeMany(Proposals),
    ReadIndex {
        reply: Reply<Index>,
    },
    Barrier {
        reply: Reply<Index>,
    },
    ChangeMembership {
        expected: Index,
        change: Change,
        reply: Reply<Index>,
    },
    Bootstrap {
        cluster_id: ClusterId,
        server: ServerId,
        mode: Mode,
        reply: Reply<Index>,
    },
    Transfer {
        target: Option<RaftId>,
        reply: Reply<()>,
    },
    HandOver {
        reply: Reply<bool>,
    },
    Status {
        reply: Reply<Arc<Status>>,
    },
    /// Take the one place of a restore.
    BeginRestore {
        reply: Reply<Place>,
    },
    /// Propose the restore of what a quorum has staged.
    ProposeRestore {
        place: Arc<Place>,
        order: RestoreOrder,
        writer: Writer,
    },
    /// What an archive is made from, as it is now.
    Files {
        reply: Reply<Files>,
    },
    /// This member has caught up once (K38).
    CaughtUp,
}
