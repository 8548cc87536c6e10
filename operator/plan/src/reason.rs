//! The reasons of conditions, events and blocked entries: one CamelCase word each, the same word everywhere.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A reason. `docs/concepts.md` lists them with what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason with its meaning.
            pub const ALL: &[(Reason, &str)] = &[$((Reason::$name, concat!($($doc),+))),+];

            /// The reason of this word; our own words only, so any other is a mistake of ours and reads as held back.
            pub(crate) fn named(word: &str) -> Self {
                let found = Self::ALL.iter().find(|(reason, _)| reason.as_str() == word);
                found.map_or(Self::WaitingForQuorum, |(reason, _)| *reason)
            }

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// Every voter is healthy and the cluster has the size asked for.
    QuorumHealthy,
    /// So many voters answered "no leader", or are known not to run, that the rest is no quorum.
    QuorumLost,
    /// Members answer, and none of them leads.
    NoLeader,
    /// No member could be asked.
    MembersUnreachable,
    /// A leader answered after confirming its majority.
    LeaderConfirmed,
    /// No claim of any member is left; the cluster is never bootstrapped again.
    AllMembersLost,
    /// The first member is being made.
    Bootstrapping,
    /// A majority is lost for good and a survivor becomes the cluster, on a person's word.
    RecoveringQuorum,
    /// The first member's volume was lost before the cluster began.
    BootstrapVolumeLost,
    /// Claims of this name carry different cluster IDs.
    ForeignVolumes,
    /// An object of a name we need exists and is not ours.
    NameConflict,
    /// A Pod is being started.
    StartingMember,
    /// A Pod mounts another claim than the slot's.
    StaleVolume,
    /// A Pod that cannot start is replaced by one of the current template.
    FixingTemplate,
    /// A membership change is not committed yet.
    ConfigurationChanging,
    /// A member's volume is gone or was emptied.
    VolumeLost,
    /// A member's claim is being deleted.
    VolumeBeingDeleted,
    /// A member is added.
    ScalingUp,
    /// A server is added without a vote.
    AddingMember,
    /// A new member waits for its vote.
    Stabilizing,
    /// A member trails the leader.
    MemberLagging,
    /// A member made no progress for too long.
    DeadlineExceeded,
    /// A member is replaced by a new one: its volume is of no use any more, or a person asked for it.
    ReplacingMember,
    /// A voter is dead with its node, or was silent for too long: a new member takes its place.
    DeadVoter,
    /// A member is removed.
    ScalingDown,
    /// The leader hands over before it is removed.
    TransferringLeadership,
    /// Pods of an older template are replaced, one member at a time.
    RollingOut,
    /// A rollout waits: for a member that does not come back, for a node, or for a person.
    RolloutPaused,
    /// The disruption budget lets no Pod go now.
    BlockedByDisruptionBudget,
    /// With one or two voters a restart stops writes until it is over.
    RestartingWithoutTolerance,
    /// A step waits for more voters to be healthy.
    WaitingForQuorum,
    /// A voter is not healthy.
    MemberUnhealthy,
    /// The claim is not bound, and Kubernetes says why.
    VolumePending,
    /// A volume grows to `spec.storage.size`.
    ExpandingVolume,
    /// A volume is smaller than `spec.storage.size` and its class lets none grow.
    VolumeNotExpandable,
    /// No node fits the Pod.
    Unschedulable,
    /// An image cannot be pulled.
    ImagePull,
    /// A container ends again and again, or is refused by the kubelet.
    NotStarting,
    /// The API server refused to create an object.
    CreationRefused,
    /// The operator cannot finish a round; it tries again by itself.
    RoundFailed,
    /// The leader serves, and its view does not reach status.
    PublishingBlocked,
    /// A new certificate authority takes over; members are trusted under both meanwhile.
    AuthorityChanging,
    /// The certificates that `spec.tls` names cannot be used; the ones in use stay.
    CertificateUnusable,
    /// An even number of voters tolerates no more than one fewer.
    EvenVoters,
    /// Pods are being stopped, because `spec.hibernate` is set.
    Hibernating,
    /// `spec.hibernate` is set: no Pod runs, the volumes are kept.
    Hibernated,
    /// Annotation `quorate.dev/fence` keeps a member from running.
    Fenced,
    /// Annotation `quorate.dev/paused` is set.
    Paused,
    /// The resource is being deleted.
    Deleting,
    /// Nothing is pending.
    Settled,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
