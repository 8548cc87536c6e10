//! What can happen next.

use quorate_machine::RestoreOrder;
use quorate_raft::{Index, LogId, Message, ServerId, Term};
use quorate_sidecar::driver::SessionClock;

use super::hello::Hello;
use super::keeper::Renewing;
use super::network::MemberNumber;
use super::requests::{Attempt, Reply, Request};
use super::restores::Staging;
use super::snapshot::Transfer;

/// What happens next.
pub enum Event {
    /// A message arrives where its receiver was when it was sent, with the first words of its sender.
    Deliver(MemberNumber, Hello, Message),
    /// A core asked to be woken.
    Wake(Boot),
    /// A commit ends.
    Commit(Boot),
    /// A machine begins to flush.
    Flush(Boot),
    /// The flush up to this entry ends.
    FlushEnds(Boot, Index),
    /// The turn of a restore has come at a machine.
    Restore(Boot, LogId),
    /// One of those who use locks makes its next call, if it made this many so far.
    LockTurn(usize, u64),
    /// The time of a locker's session may be over by its own clock.
    Lapse(usize),
    /// A process looks whose time is over by its clock.
    LookAtSessions(Boot),
    /// A process proposes the end of what was over in a leadership of its.
    EndSession(Boot, Term, SessionClock),
    /// A renewal met the end of its session on its way, and is tried again.
    RenewAgain(Boot, Renewing),
    /// Somebody sends an archive to be restored.
    AskRestore,
    /// An archive arrives at a member.
    Staging(Box<Staging>),
    /// A leader hears that a member has an archive on its disk.
    StageHeld(Boot, RestoreOrder, ServerId),
    /// A leader waits no longer for a quorum to have an archive.
    SpreadEnds(Boot, RestoreOrder),
    /// A process notices that its connection to a peer broke.
    Unreachable(Boot, ServerId),
    /// A process finds the process of a peer gone: its stream ended, and dials are refused.
    PeerGone(Boot, ServerId),
    /// The process at the other end of a new connection says what it speaks.
    Connected(Boot, ServerId, Boot),
    /// A process notices that a connection ended.
    Disconnected(Boot, ServerId, Boot),
    /// A part of a snapshot arrives, or nothing of it any more.
    Snapshot(Box<Transfer>),
    /// A follower asks for an index to read at.
    IndexWanted(MemberNumber, IndexWanted),
    /// A follower is told it; none: nobody can say.
    IndexGiven(IndexWanted, Option<Index>),
    /// A client begins its next call, if it made this many so far.
    ClientTurn(usize, u64),
    /// A client's request arrives.
    Request(MemberNumber, Request),
    /// A client's request is answered.
    Reply(Attempt, Reply),
    /// A client has waited long enough for the answer to a request.
    Timeout(Attempt),
    /// A client sends a request again, if it did nothing else since.
    Resend(Attempt),
    /// Something breaks or heals.
    Fault,
    /// Somebody changes the membership.
    Change,
    /// Somebody updates a member, or asks for the next version of the cluster.
    Update,
    /// A majority of the volumes is lost for good.
    Disaster,
    /// A person recovers what is left.
    Recover,
    /// A member's process starts.
    Start(MemberNumber),
    /// A process that handed over ends.
    Stop(Boot),
    /// A disk is well again.
    DiskHeals(MemberNumber),
    /// Faults stop; from now on the cluster must converge.
    FaultsStop,
    /// Has it converged?
    Converged,
}

/// One process of a member: events of earlier ones are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Whose.
    pub member: MemberNumber,
    /// Which start of it.
    pub boot: u64,
}

/// A follower's question for an index.
#[derive(Clone, Copy, Debug)]
pub struct IndexWanted {
    /// Who asks.
    pub asker: Boot,
    /// Which of its questions.
    pub question: u64,
}

impl Event {
    /// The member to whose process this happens, if that is all it concerns: it waits while that is paused.
    pub fn process(&self) -> Option<MemberNumber> {
        match self {
            Self::Deliver(member, ..) | Self::IndexWanted(member, _) | Self::Request(member, _) => {
                Some(*member)
            }
            Self::Wake(boot)
            | Self::Commit(boot)
            | Self::Flush(boot)
            | Self::FlushEnds(boot, _)
            | Self::Restore(boot, _)
            | Self::StageHeld(boot, ..)
            | Self::SpreadEnds(boot, _)
            | Self::Unreachable(boot, _)
            | Self::PeerGone(boot, _)
            | Self::Connected(boot, ..)
            | Self::Disconnected(boot, ..)
            | Self::LookAtSessions(boot)
            | Self::EndSession(boot, ..)
            | Self::RenewAgain(boot, _)
            | Self::Stop(boot)
            | Self::IndexGiven(IndexWanted { asker: boot, .. }, _) => Some(boot.member),
            Self::Snapshot(_)
            | Self::AskRestore
            | Self::LockTurn(..)
            | Self::Lapse(_)
            | Self::Staging(_)
            | Self::ClientTurn(..)
            | Self::Reply(..)
            | Self::Timeout(_)
            | Self::Resend(_)
            | Self::Fault
            | Self::Change
            | Self::Update
            | Self::Disaster
            | Self::Recover
            | Self::Start(_)
            | Self::DiskHeals(_)
            | Self::FaultsStop
            | Self::Converged => None,
        }
    }
}
