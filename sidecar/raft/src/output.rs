//! Everything the core wants done.
//!
//! Outputs are handled in the order given. A `Send` may leave at once: what promises something
//! was held back inside the core until storage confirmed it (see `outbox.rs`).

use crate::entry::{Entry, HardState, SnapshotMeta};
use crate::input::LogReader;
use crate::message::Message;
use crate::refusal::Refusal;
use crate::types::{ClusterId, Epoch, Index, LogId, Sequence, ServerId, Term, Ticket, Version};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Store this in one commit; commits happen in the order of their sequence and are reported
    /// by [`crate::Input::Persisted`]. A failure ends the process.
    Persist(Persist),
    /// Send this to `Message::to`. Loss is allowed.
    Send(Message),
    /// Apply these committed entries, in order; then answer the tickets of those that have one.
    Apply(Apply),
    /// Read entries from the log: from `from` up to at most `upto`, at least one, then until
    /// `bytes_max` is passed. Answered by [`crate::Input::LogRead`].
    ReadLog {
        /// Echoed.
        reader: LogReader,
        /// The first entry wanted.
        from: Index,
        /// The last entry wanted.
        upto: Index,
        /// Stop after the entry that passes this.
        bytes_max: u64,
    },
    /// Answer this caller.
    Answer {
        /// Who waits.
        ticket: Ticket,
        /// The answer.
        result: Result<Answer, Refusal>,
    },
    /// Send a snapshot whose last entry is at or above `at_least` (S15). Report progress and end.
    SendSnapshot {
        /// The receiver.
        to: ServerId,
        /// Our term, to be sent along.
        term: Term,
        /// The replication it is for, to be sent along.
        epoch: Epoch,
        /// The log begins right after this entry.
        at_least: LogId,
    },
    /// A received snapshot is not needed: remove the file (N3).
    DiscardSnapshot {
        /// The last entry in it.
        last: LogId,
    },
    /// A received snapshot is to become the machine's state, in place of the restore that it waits at for want of an
    /// archive; the log stays as it is. Reported like a restore: by [`crate::Input::Applied`] and
    /// [`crate::Input::DurableApplied`] with this entry. Where the archive came after all, it is removed (N3).
    AdoptSnapshot {
        /// The last entry in it.
        last: LogId,
    },
    /// Drop the log up to and including this entry (K3, K7). Answered by [`crate::Input::Compacted`].
    Compact {
        /// The last entry to drop.
        upto: LogId,
    },
    /// Something people or metrics want to know.
    Event(Event),
}

/// One commit of storage: install, then truncate, then append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Its number.
    pub sequence: Sequence,
    /// Set in the first commit into an empty directory (K2).
    pub cluster_id: Option<ClusterId>,
    /// Set if it changed.
    pub hard_state: Option<HardState>,
    /// Set if a received snapshot becomes the state: the whole log is dropped, its `previous` is
    /// the snapshot's last entry (K5; a log that already holds that entry is kept and nothing is
    /// installed).
    pub install: Option<SnapshotMeta>,
    /// Entries from here on are dropped before the append.
    pub truncate_from: Option<Index>,
    /// To append, contiguous.
    pub entries: Vec<Entry>,
    /// The commit index to store (K6); never above the last entry stored.
    pub commit: Index,
}

/// Committed entries for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Contiguous, each once per process.
    pub entries: Vec<Entry>,
    /// Who waits for which of them; ascending.
    pub tickets: Vec<(Index, Ticket)>,
}

/// Good news for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The cluster exists and this directory is in it.
    Bootstrapped {
        /// The index of the configuration.
        configuration_index: Index,
    },
    /// The change is committed.
    MembershipChanged {
        /// The index of the new configuration.
        configuration_index: Index,
    },
    /// We were leader after the request came in; what was committed then is at most `index`.
    ReadIndex {
        /// A read may be answered from any machine that has applied this.
        index: Index,
    },
    /// Leadership is with somebody else.
    Transferred,
}

/// What happened, for logs, metrics and the autopilot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The leader known here is another one, or none.
    LeaderChanged {
        /// The term.
        term: Term,
        /// Who.
        leader: Option<ServerId>,
    },
    /// An attempt to be elected began.
    Campaigning {
        /// The term wanted.
        term: Term,
        /// Whether it only asks so far.
        is_pre_vote: bool,
    },
    /// We lead.
    BecameLeader {
        /// The term.
        term: Term,
    },
    /// The leader's process is gone, so it is our leader no more (K12).
    LeaderGone {
        /// The term it led.
        term: Term,
        /// Who.
        leader: ServerId,
    },
    /// We lead because of such evidence: if that process still runs, it was deposed (K12).
    TookOverEarly {
        /// Our term.
        term: Term,
        /// Who led before.
        from: ServerId,
    },
    /// We no longer lead.
    SteppedDown {
        /// The term we led.
        term: Term,
        /// Why.
        reason: StepDownReason,
    },
    /// Another configuration is in effect (S8).
    ConfigurationChanged {
        /// Its index.
        index: Index,
    },
    /// A configuration is committed.
    ConfigurationCommitted {
        /// Its index.
        index: Index,
    },
    /// A committed configuration does not contain us any more: from now on quiet (K19).
    Removed {
        /// Its index.
        index: Index,
    },
    /// A recorded server's directory is gone or another one (K1).
    VolumeLost {
        /// The server of the configuration.
        recorded: ServerId,
        /// What is there instead.
        found: ServerId,
    },
    /// A snapshot became the state.
    SnapshotInstalled {
        /// Its last entry.
        last: LogId,
    },
    /// A leader writes in a version that this build does not speak: nothing of it is taken (K24).
    VersionTooNew {
        /// Who leads.
        from: ServerId,
        /// The version of the cluster.
        version: Version,
    },
    /// A peer sent what no correct member sends; it was ignored.
    InvalidMessage {
        /// Who.
        from: ServerId,
        /// What is wrong with it.
        problem: InvalidMessage,
    },
}

/// Why leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepDownReason {
    /// A member is in a higher term.
    HigherTerm,
    /// Too few voters answered (S11).
    QuorumLost,
    /// The committed configuration gives us no vote (S10, N6).
    NoVote,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidMessage {
    /// Meant for somebody else.
    WrongReceiver,
    /// From ourselves.
    FromOurselves,
    /// A term, index or round no run ever reaches.
    NumberTooBig,
    /// Entries with a gap, or terms that fall, or above the message's.
    BadEntries,
    /// Two leaders in one term.
    SecondLeader,
    /// It would change what is committed.
    TouchesCommitted,
    /// It acknowledges what was never sent.
    AcknowledgesTooMuch,
}
