//! What happens in the runs.

use crate::happenings::happenings;

happenings! {
    // That the checker never gave up is no gap.
    may_be_missing: [GaveUp];

    /// An event of the simulation.
    Event => "events",
    /// A message reached a core.
    Message => "messages delivered",
    /// A message was lost.
    MessageLost => "messages lost",
    /// A message came twice.
    MessageRepeated => "messages repeated",
    /// A message waited in a clogged link.
    MessageClogged => "messages held in a clogged link",
    /// A message came to a volume that took another's place.
    MessageForAnother => "messages for a volume that is gone",
    /// A core was told that a peer cannot be reached.
    Unreachable => "connections reported broken",
    /// A core was told that a peer's process is gone.
    PeerGone => "processes found gone",
    /// A core was told so of a leader that lives.
    DialsRefused => "dials to a living leader refused",
    /// A member became leader on such evidence.
    EarlyElection => "elections on evidence that the leader is gone",
    /// A member became leader.
    Election => "elections",
    /// A leader stepped down.
    StepDown => "leaders that stepped down",
    /// A transfer of leadership was asked for.
    TransferAsked => "transfers asked",
    /// Leadership went where it was sent.
    Transferred => "transfers done",
    /// A change was asked for.
    ChangeAsked => "membership changes asked",
    /// A replacement was asked for.
    ReplaceAsked => "replacements asked",
    /// A joint configuration was entered.
    JointEntered => "joint configurations",
    /// A change was committed.
    Changed => "membership changes done",
    /// A change was refused.
    ChangeRefused => "membership changes refused",
    /// A member learned that it was removed.
    Removed => "members that learned of their removal",
    /// A volume was lost.
    VolumeLost => "volumes lost",
    /// A removed member got an empty volume.
    VolumeEmptied => "volumes emptied after a removal",
    /// A member came back under its old name with a new incarnation.
    SameName => "volumes that came back under the same Raft ID",
    /// Volumes were lost for good, more than a minority.
    MajorityLost => "majorities lost for good",
    /// A cluster was recovered from a survivor.
    Recovered => "recoveries",
    /// Power was lost within a recovery.
    RecoveryCut => "recoveries cut short",
    /// No survivor could be recovered.
    RecoveryRefused => "recoveries refused for want of an archive",
    /// A recovery lost entries that had been committed.
    WritesLost => "recoveries that lost committed entries",
    /// A directory from before a recovery was not started on.
    BeforeRecoveryTold => "starts refused as from before a recovery",
    /// Two members of different recovery epochs did not talk.
    EpochRefused => "connections refused between recovery epochs",
    /// A member was updated.
    Updated => "members updated",
    /// A member was put back to the old release.
    PutBack => "members put back to the old release",
    /// The next version of the cluster was asked for.
    RaiseAsked => "raised versions asked",
    /// The cluster's version was raised.
    Raised => "raised versions",
    /// A member was too old to be talked to.
    TooOldRefused => "connections refused as too old",
    /// A member was too old for what was sent to it.
    TooNewTold => "entries or snapshots refused as too new",
    /// A member was too old for its own directory.
    TooOldTold => "starts refused as too old",
    /// A process lost power between two events.
    PowerLost => "power losses",
    /// Power was lost within a call of the disk.
    PowerLostWithin => "power losses within a disk call",
    /// All processes lost power at once.
    AllLostPower => "power losses of all members at once",
    /// A process was killed between two events.
    Killed => "kills",
    /// A process was killed within a call of the disk.
    KilledWithin => "kills within a disk call",
    /// A process was stopped in order.
    Stopped => "orderly stops",
    /// A call of a disk failed and ended the process.
    DiskFailed => "processes ended by a failing disk",
    /// A full disk ended the process.
    DiskFull => "processes ended by a full disk",
    /// A process could not start from its disk as it was.
    StartFailed => "starts that failed at the disk",
    /// A disk was made slow.
    DiskSlow => "slow disks",
    /// A commit was cut, and the disk was then as before it.
    TornBefore => "cut commits found undone",
    /// A commit was cut, and the disk was then as after it.
    TornAfter => "cut commits found done",
    /// A process was paused.
    Paused => "pauses",
    /// A clock changed its rate.
    ClockSkewed => "clocks that changed their rate",
    /// A partition in both directions.
    Partition => "partitions",
    /// A partition in one direction.
    PartitionOneWay => "one-way partitions",
    /// The leader was cut off.
    LeaderCutOff => "leaders cut off",
    /// Links were clogged.
    Clogged => "clogs",
    /// The network was put back.
    Healed => "network repairs",
    /// Entries were cut off a log.
    Truncated => "logs truncated",
    /// A log was compacted.
    Compacted => "compactions",
    /// A state file was flushed.
    Flushed => "flushes",
    /// More was applied while a state file was flushed.
    FlushBehind => "flushes that ended behind what was applied",
    /// A flush was ahead of its log, and waited.
    FlushWaited => "flushes that waited for the log",
    /// A snapshot was sent.
    SnapshotSent => "snapshots sent",
    /// A snapshot did not arrive whole.
    SnapshotLost => "snapshots lost on the way",
    /// A snapshot was gone on with where it had broken off.
    SnapshotResumed => "snapshots resumed in the middle",
    /// A snapshot was installed.
    SnapshotInstalled => "snapshots installed",
    /// A received snapshot was not needed.
    SnapshotDiscarded => "snapshots discarded",
    /// A member put an archive on its disk.
    Staged => "archives staged",
    /// Somebody asked something of a session or a lock.
    LockAsked => "calls about sessions and locks",
    /// A client was told that its session lives.
    SessionTold => "sessions said to live, begun or renewed",
    /// A client was told that its session is over.
    SessionToldOver => "sessions said to be over",
    /// A session's time was over by its client's clock.
    Lapsed => "sessions whose time was over by their client's clock",
    /// A session's time, or that of a lock delay, was over by a leader's clock.
    SessionOver => "sessions and lock delays ended by a leader's clock",
    /// A renewal met the end of its session on its way.
    RenewalWaited => "renewals that waited for an end to be settled",
    /// A leader proposed an archive that a quorum had.
    RestoreProposed => "restores proposed",
    /// A restore was refused, or its archive did not get to a quorum.
    RestoreRefused => "restores refused or given up",
    /// A member that lacked an archive was sent it by another.
    Fetched => "archives fetched by a member that lacked one",
    /// A member asked one that did not have it, or could not be reached.
    FetchInVain => "archives asked of a member that gave none",
    /// Nobody gave a member the archive that it lacks.
    ArchiveMissing => "archives that nobody gave",
    /// A machine moved to a snapshot in place of a restore whose archive nobody gave.
    SnapshotAdopted => "snapshots in place of a restore",
    /// A member built a state from an archive.
    RestoreBuilt => "states built from an archive",
    /// A machine moved to a restored state.
    Restored => "restores applied",
    /// A member looked whether it still needs its archives.
    Swept => "sweeps of staged archives",
    /// A snapshot from beyond a restore came before the member had restored.
    RestoreOvertaken => "restores overtaken by a snapshot",
    /// Whoever sent an archive heard that it is restored.
    RestoreAnswered => "restores answered",
    /// Leadership was lost under a restore.
    RestoreUnknown => "restores of unknown outcome",
    /// A core read its log from disk for a peer or the machine.
    LogRead => "reads of the log on disk",
    /// A client's command was proposed.
    Proposed => "commands proposed",
    /// A command was answered.
    Written => "commands answered",
    /// A compare-and-set or conditional delete found something else.
    Mismatch => "conditions that did not hold",
    /// A request was refused without effect.
    Refused => "requests refused",
    /// Leadership was lost under a proposal.
    LeadershipLost => "proposals whose leader was lost",
    /// A client registered.
    Registered => "sessions registered",
    /// A client sent a command again.
    Retried => "commands sent again",
    /// A machine recognised a repeated command.
    Recognised => "repeats recognised by a machine",
    /// A client never learned what became of a call.
    Unknown => "calls of unknown outcome",
    /// A read was answered at the leader.
    ReadAtLeader => "reads answered by leaders",
    /// A read was answered at a follower.
    ReadAtFollower => "reads answered by followers",
    /// A call's place in the order of its key was checked.
    Checked => "calls checked for linearizability",
    /// The checker gave up on a key.
    GaveUp => "keys the checker gave up on",
    /// A run converged.
    Converged => "runs converged",
}
