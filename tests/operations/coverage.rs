//! What happens in the runs.

use crate::happenings::happenings;

happenings! {
    // A call that fails for good is rare by design.
    may_be_missing: [OldStandbyRestarted];
    /// An event of the simulation.
    Event => "events",
    /// A round of the operator that came to a plan.
    Round => "rounds planned",
    /// A plan found the world changed.
    Overtaken => "plans overtaken by the world",
    /// A round failed.
    RoundFailed => "rounds that failed",
    /// The operator died.
    OperatorDied => "deaths of the operator, each after a call",
    /// Two operators at once.
    TwoOperators => "runs with two operators",
    /// A call to the API server failed without effect.
    CallFailed => "calls that failed",
    /// A call took effect and its answer was lost.
    AnswerLost => "calls whose answer was lost",
    /// A write met another's.
    Conflict => "writes that met a conflict",
    /// A read was old.
    StaleRead => "reads that were old",
    /// A step was skipped: its precondition was gone.
    StepSkipped => "steps whose precondition was gone",
    /// The cluster began.
    Bootstrapped => "bootstraps",
    /// A server was added.
    Added => "servers added",
    /// A server was promoted.
    Promoted => "servers promoted",
    /// A server lost its vote and stays.
    Demoted => "servers demoted",
    /// A server took another's vote.
    Replaced => "votes handed to a replacement",
    /// A server was removed.
    Removed => "servers removed",
    /// A change was refused by the leader.
    ChangeRefused => "changes refused by the leader",
    /// Leadership was asked to move.
    Transferred => "hand-overs asked by the operator",
    /// A member became leader.
    Election => "elections",
    /// A quorum was recovered.
    Recovered => "quorum recoveries",
    /// A Pod was evicted.
    Evicted => "Pods evicted by the operator",
    /// The budget said no.
    EvictionRefused => "evictions refused by the budget",
    /// A Pod was deleted by the operator.
    PodDeleted => "Pods deleted by the operator",
    /// An ended Pod was deleted.
    EndedPodDeleted => "ended Pods deleted by the operator",
    /// A claim was deleted by the operator.
    ClaimDeleted => "claims deleted by the operator",
    /// A claim was set aside.
    ClaimRetired => "claims retired",
    /// Somebody scaled.
    Scaled => "edits of replicas",
    /// Somebody edited the template.
    Edited => "edits of the template",
    /// Somebody began an upgrade by new members.
    UpgradeBegun => "upgrades by new members begun",
    /// Votes had moved to the new members, and the old ones were let go.
    UpgradeMoved => "upgrades whose votes had moved",
    /// One that was kept in a lost one's place got the new version in place.
    OldStandbyRestarted => "old members restarted after an upgrade",
    /// Only the new members were left.
    Upgraded => "upgrades by new members that came to their end",
    /// Somebody edited it badly.
    EditedBadly => "edits to an image that does not exist",
    /// Somebody changed what becomes of claims.
    PolicyEdited => "edits of whenScaled",
    /// The cluster was put to sleep.
    Hibernated => "hibernations",
    /// The cluster slept.
    Slept => "hibernations that stopped every Pod",
    /// Somebody paused.
    Paused => "pauses",
    /// Somebody asked for a replacement.
    ReplaceAsked => "replacements asked for",
    /// Somebody asked for a recovery.
    RecoverAsked => "recoveries asked for",
    /// A process was killed.
    Killed => "kills",
    /// A Pod was deleted by a person.
    PodLost => "Pods deleted by people",
    /// The kubelet evicted a Pod.
    PodEnded => "Pods ended by their kubelet",
    /// A node was cut off.
    NodeCut => "nodes cut off",
    /// A node came back.
    NodeHealed => "nodes that came back",
    /// A node was cut off so long that its Pods were given up.
    NodeGivenUp => "nodes whose Pods Kubernetes gave up",
    /// A node was put out of service.
    NodeOutOfService => "nodes put out of service",
    /// A member whose Pod is on no node, and whose volume's only node is out of service, was read (K49).
    SeenOutOfService => "looks at a volume whose only node is out of service",
    /// A node was removed for ever.
    NodeRemoved => "nodes removed with their volumes",
    /// A node was drained.
    Drained => "drains",
    /// A drain was held up by the budget.
    DrainHeld => "drains held up by the budget",
    /// A claim was deleted by a person while its Pod ran.
    ClaimLost => "claims deleted by people under a running Pod",
    /// A claim and its Pod were deleted.
    VolumeLost => "claims deleted with their Pods",
    /// A directory was emptied.
    VolumeEmptied => "directories emptied",
    /// A directory was damaged.
    VolumeDamaged => "directories damaged",
    /// A volume was to be lost and was needed.
    LossSpared => "losses called off, for the others could not bear them",
    /// A majority was lost for good.
    MajorityLost => "majorities lost for good",
    /// The API server was away.
    ApiDown => "outages of the API server",
    /// Pods were refused.
    PodsRefused => "times when Pods were refused",
    /// A child was deleted by a person.
    ChildDeleted => "children deleted by people",
    /// A client's write was committed.
    Written => "writes committed",
    /// A run converged.
    Converged => "runs converged",
}
