//! Everything that can happen to the core.

use bytes::Bytes;

use crate::entry::{Entry, SnapshotMeta};
use crate::membership::Change;
use crate::message::Message;
use crate::types::{ClusterId, Epoch, Index, LogId, RaftId, Sequence, ServerId, Term, Ticket, Versions};

/// One thing that happened. Requests carry a ticket and are answered exactly once: by
/// [`crate::Output::Answer`], or for proposals and barriers also by the machine (see `Apply`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed: due at [`crate::Raft::next_deadline`]; earlier or later does no harm.
    /// Messages that arrived before it should be handed in first.
    Tick,
    /// A peer said something.
    Receive(Message),
    /// The connection to this peer broke: what was sent may be lost.
    PeerUnreachable(ServerId),
    /// A connection to this peer was made, over which it said what it speaks; none: it ended (K24).
    PeerVersions {
        /// Who.
        id: ServerId,
        /// What it speaks.
        versions: Option<Versions>,
    },
    /// The process at this peer's address is gone: its stream to us ended, and a fresh dial to the
    /// same address was refused. Not for a dial that timed out (K12).
    ProcessGone(ServerId),
    /// A client's command (not applied if refused).
    Propose {
        /// Who waits.
        ticket: Ticket,
        /// For the machine.
        command: Bytes,
    },
    /// An entry whose answer says that everything before it is applied (S20).
    Barrier {
        /// Who waits.
        ticket: Ticket,
    },
    /// A change of membership, decided on the configuration at `expected` (S7, K13).
    ChangeMembership {
        /// Who waits.
        ticket: Ticket,
        /// The index of the configuration it was decided on; required.
        expected: Index,
        /// What to do.
        change: Change,
    },
    /// Asks for an index that a read must wait for, and confirms the leadership (K11).
    ReadIndex {
        /// Who waits.
        ticket: Ticket,
    },
    /// Gives leadership to another voter (S18).
    TransferLeadership {
        /// Who waits.
        ticket: Ticket,
        /// To whom; none: the voter that is furthest.
        target: Option<RaftId>,
    },
    /// Makes this empty directory the one voter of a new cluster (K2).
    Bootstrap {
        /// Who waits.
        ticket: Ticket,
        /// The cluster; must be the one this process was started for.
        cluster_id: ClusterId,
        /// The directory; must be exactly this one.
        server: ServerId,
        /// Where it will be reached.
        address: crate::types::Address,
        /// What the cluster is for; it never changes (K22).
        mode: crate::types::Mode,
    },
    /// This process will end: give leadership away as soon as another is level, and do not
    /// campaign soon (K43).
    HandOver,
    /// Storage has committed all writes up to this one. For a write with `install` the machine
    /// must be on the new state before this is handed in.
    Persisted {
        /// The last one committed.
        sequence: Sequence,
    },
    /// The machine has applied everything up to here.
    Applied {
        /// The last one applied.
        upto: Index,
    },
    /// The machine has come to an entry that is a restore, and waits for the state made by it (K17).
    Restoring {
        /// The entry.
        at: Index,
    },
    /// Nobody who was asked gives the archive that this restore needs, or there is no room for it here.
    ArchiveMissing {
        /// The entry.
        at: Index,
    },
    /// The answer to [`crate::Output::ReadLog`].
    LogRead {
        /// Echoed.
        reader: LogReader,
        /// Contiguous entries from the index asked for, at least one; empty if the first one
        /// was compacted meanwhile.
        entries: Vec<Entry>,
    },
    /// A whole snapshot came in from a leader and is verified and synced (K5).
    SnapshotReceived {
        /// The leader that sent it.
        from: ServerId,
        /// Its term.
        term: Term,
        /// Its replication of us.
        epoch: Epoch,
        /// What it holds.
        meta: SnapshotMeta,
    },
    /// A snapshot transfer moved on: it keeps the log it needs and is not begun again (K7).
    SnapshotProgress {
        /// The receiver.
        to: ServerId,
        /// Echoed from `SendSnapshot`.
        epoch: Epoch,
        /// The last entry in the snapshot being sent.
        last: LogId,
    },
    /// A snapshot transfer ended.
    SnapshotSent {
        /// The receiver.
        to: ServerId,
        /// Echoed from `SendSnapshot`.
        epoch: Epoch,
        /// The last entry in the snapshot, if all of it was delivered; none if it failed.
        delivered: Option<LogId>,
    },
    /// A flush of the machine was synced (K3).
    DurableApplied {
        /// The last entry it holds.
        applied: LogId,
    },
    /// Storage has dropped the log before `first`.
    Compacted {
        /// The first entry that is still there.
        first: Index,
    },
}

/// Who wants entries that memory no longer holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogReader {
    /// The machine.
    Apply,
    /// A follower that lags.
    Peer {
        /// Who.
        id: ServerId,
        /// The replication it is for.
        epoch: Epoch,
    },
}
