//! What can happen next.

use quorate_plan::Ordinal;
use quorate_raft::{Message, RecoveryEpoch, ServerId};

/// What happens next.
pub enum Event {
    /// A message arrives; its sender's directory is in this recovery epoch.
    Deliver(Box<Message>, RecoveryEpoch),
    /// A core asked to be woken.
    Wake(Boot),
    /// A process finds the process of a peer gone.
    PeerGone(Boot, ServerId),
    /// A round of autopilot.
    Autopilot(Boot),
    /// The scheduler, kubelets and other controllers look at what they have to do.
    Controllers,
    /// The operator goes on.
    Operator(Turn),
    /// A client writes.
    Write,
    /// A person wants something else.
    Edit,
    /// A person looks at what the cluster says of itself.
    PersonLooks,
    /// Something breaks or heals.
    Fault,
    /// A volume is lost, if the others can bear it.
    Destroy(Doomed),
    /// Faults stop; from now on the cluster must converge.
    FaultsStop,
    /// Has it converged?
    Converged,
}

/// One process of a member: events of earlier ones are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot {
    /// Whose.
    pub ordinal: Ordinal,
    /// Which start of all.
    pub boot: u64,
}

/// One wait of an operator: what it did since makes it void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which operator.
    pub operator: usize,
    /// Which of its waits.
    pub number: u64,
}

/// A member whose volume is about to be lost.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// Whose.
    pub ordinal: Ordinal,
    /// The Pod that was stopped for it.
    pub pod_uid: String,
    /// The claim.
    pub claim_uid: String,
    /// How.
    pub how: Loss,
}

/// How a volume is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The claim and the Pod are deleted.
    Deleted,
    /// The directory is emptied.
    Emptied,
    /// Its data is damaged.
    Damaged,
    /// Its node is gone for ever.
    Node,
}
