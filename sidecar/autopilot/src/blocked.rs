//! What is wanted and held back, and why (A23, P6): a kind for machines, a sentence for people.

use std::fmt;
use std::time::Duration;

use quorate_raft::{Now, ServerId};

use crate::action::ActionKind;
use crate::health::{Unhealthy, seconds_up};
use crate::limits::MIN_QUORUM_SET_MIN;
use crate::settings::MinQuorumSource;

/// An action that is wanted and held back (A23, P6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What is wanted.
    pub action: ActionKind,
    /// For whom.
    pub server: ServerId,
    /// Why not yet.
    pub reason: BlockedReason,
    /// Since when for this reason.
    pub since: Now,
}

impl Blocked {
    /// A sentence for people. `name` is what they call the server; a reason that names another server calls it by
    /// its Raft ID.
    pub fn message(&self, name: &str) -> String {
        let reason = &self.reason;
        match self.action {
            ActionKind::Promote => match reason {
                BlockedReason::Unhealthy(_)
                | BlockedReason::Leaving
                | BlockedReason::Stabilizing { .. }
                | BlockedReason::WaitsForReplaced { .. }
                | BlockedReason::ConfigurationChanging
                | BlockedReason::AnotherFirst { .. } => promotion(name, reason),
                _ => format!("{name} gets no vote yet: {reason}"),
            },
            ActionKind::Demote => format!("{name} keeps its vote for now: {reason}"),
            ActionKind::Remove => format!("{name} is dead and stays for now: {reason}"),
            ActionKind::TransferLeadership => format!("leadership does not go to {name} yet: {reason}"),
        }
    }
}

/// Waits for a vote that have a sentence of their own.
fn promotion(name: &str, reason: &BlockedReason) -> String {
    match reason {
        BlockedReason::Unhealthy(reason) => format!("{name} gets no vote yet: {reason}"),
        BlockedReason::Leaving => format!("{name} gets no vote: {reason}"),
        BlockedReason::Stabilizing { .. } => format!("{name} needs {reason}, then votes"),
        BlockedReason::WaitsForReplaced { old } => {
            format!("{name} votes once {}, which it replaces, is gone, dead or leaving", old.raft_id)
        }
        BlockedReason::AnotherFirst { server } => {
            format!("{name} votes after {}: one server is promoted at a time", server.raft_id)
        }
        _ => format!("{name} votes after the membership change in progress"),
    }
}

/// Why an action is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockedReason {
    /// The server is not healthy.
    Unhealthy(Unhealthy),
    /// It is healthy, but not for long enough (P5).
    Stabilizing {
        /// How much is still missing.
        missing: Duration,
        /// How much is needed.
        needed: Duration,
    },
    /// The platform says that the server is meant to go.
    Leaving,
    /// It waits for the vote of this one, which is neither gone, dead nor leaving (K15).
    WaitsForReplaced {
        /// The server it replaces.
        old: ServerId,
    },
    /// Another change is not committed yet: one at a time.
    ConfigurationChanging,
    /// This one comes first: one change a round.
    AnotherFirst {
        /// The server that is changed now.
        server: ServerId,
    },
    /// Too few voters are healthy for any change to be committed.
    QuorumLost {
        /// Healthy voters.
        healthy: usize,
        /// All voters.
        voters: usize,
        /// How many a write needs.
        needed: usize,
    },
    /// Without this vote too few healthy voters would be left (A17).
    WouldLoseQuorum {
        /// Healthy voters that would be left.
        healthy: usize,
        /// Voters that would be left.
        voters: usize,
        /// How many a write would need.
        needed: usize,
    },
    /// Dead servers are not to be removed.
    CleanupDisabled,
    /// This round has no statistics of the server: what is not known is no reason (A15, A16).
    NothingKnown,
    /// This leader has not heard everyone and has not listened for a whole dead server threshold (A15).
    LeaderIsNew {
        /// How long it still listens.
        missing: Duration,
    },
    /// Fewer would be left than `min_quorum` (A14).
    MinQuorum {
        /// How many would be left.
        left: usize,
        /// How many must be.
        min_quorum: u32,
        /// Who says so.
        source: MinQuorumSource,
    },
    /// As many voters were removed as may be within one dead server threshold (A13).
    RemovalLimit {
        /// How many were.
        removed: usize,
        /// Of how many.
        voters: usize,
        /// Within this time.
        within: Duration,
    },
    /// Zones are on, and nobody ever heard in which this one is (A28).
    ZoneUnknown,
    /// The version of this server is not known (A30).
    VersionUnknown {
        /// Whose.
        server: ServerId,
    },
    /// There are not enough healthy servers of the new version yet.
    AwaitNewVoters {
        /// How many there are.
        healthy: usize,
        /// How many are needed: as many as vote in older versions.
        needed: usize,
    },
    /// Older servers lose their votes first.
    UpgradeFirst {
        /// Where the upgrade stands.
        status: &'static str,
    },
    /// Newer servers vote.
    OlderVersion {
        /// Their version.
        target: String,
    },
    /// A zone has fewer healthy new servers than old ones.
    ZoneRedundancy {
        /// Which zone.
        zone: String,
        /// Healthy servers of the new version in it.
        new: usize,
        /// Healthy servers of older versions in it.
        old: usize,
    },
}

impl BlockedReason {
    /// As status and labels spell it; the same word as long as the reason is of the same kind.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unhealthy(_) => "Unhealthy",
            Self::Stabilizing { .. } => "Stabilizing",
            Self::Leaving => "Leaving",
            Self::WaitsForReplaced { .. } => "WaitsForReplaced",
            Self::ConfigurationChanging => "ConfigurationChanging",
            Self::AnotherFirst { .. } => "AnotherFirst",
            Self::QuorumLost { .. } => "QuorumLost",
            Self::WouldLoseQuorum { .. } => "WouldLoseQuorum",
            Self::CleanupDisabled => "CleanupDisabled",
            Self::NothingKnown => "NothingKnown",
            Self::LeaderIsNew { .. } => "LeaderIsNew",
            Self::MinQuorum { .. } => "MinQuorum",
            Self::RemovalLimit { .. } => "RemovalLimit",
            Self::ZoneUnknown => "ZoneUnknown",
            Self::VersionUnknown { .. } => "VersionUnknown",
            Self::AwaitNewVoters { .. } => "AwaitNewVoters",
            Self::UpgradeFirst { .. } => "UpgradeFirst",
            Self::OlderVersion { .. } => "OlderVersion",
            Self::ZoneRedundancy { .. } => "ZoneRedundancy",
        }
    }
}

/// The clause of a sentence that says what is held back.
fn min_quorum_words(
    f: &mut fmt::Formatter<'_>,
    left: usize,
    min_quorum: u32,
    source: MinQuorumSource,
) -> fmt::Result {
    match source {
        MinQuorumSource::Set | MinQuorumSource::Declared => write!(
            f,
            "{left} would be left and min_quorum is {min_quorum}; add a member to take its place, or lower min_quorum"
        ),
        MinQuorumSource::Counted => {
            write!(
                f,
                "{left} would be left, and while min_quorum is not set all {min_quorum} that are there are wanted; remove it by hand, add a member as its replacement"
            )?;
            // Fewer may not be set while dead servers are removed (A20).
            let may_be_set = u32::try_from(left).is_ok_and(|left| left >= MIN_QUORUM_SET_MIN);
            if may_be_set { write!(f, ", or set min_quorum to {left}") } else { Ok(()) }
        }
    }
}

impl fmt::Display for BlockedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unhealthy(reason) => write!(f, "{reason}"),
            Self::Stabilizing { missing, needed } => {
                write!(f, "{} s more of health ({} s)", seconds_up(*missing), seconds_up(*needed))
            }
            Self::Leaving => write!(f, "it is being removed"),
            Self::WaitsForReplaced { old } => write!(f, "{} still does its work", old.raft_id),
            Self::ConfigurationChanging => write!(f, "a membership change is in progress"),
            Self::AnotherFirst { server } => write!(f, "{} comes first, one change a round", server.raft_id),
            Self::QuorumLost { healthy, voters, needed } => write!(
                f,
                "healthy voters: {healthy} of {voters}, a change needs {needed}; bring voters back first"
            ),
            Self::WouldLoseQuorum { healthy, voters, needed } => write!(
                f,
                "of the {voters} voters left {healthy} would be healthy and a write needs {needed}; bring voters back or add one first"
            ),
            Self::CleanupDisabled => {
                write!(f, "cleanup_dead_servers is false; remove it by hand if it will not return")
            }
            Self::NothingKnown => write!(f, "nothing is known of it in this round"),
            Self::LeaderIsNew { missing } => write!(
                f,
                "this leader has not heard everyone yet and listens for {} s more",
                seconds_up(*missing)
            ),
            Self::MinQuorum { left, min_quorum, source } => min_quorum_words(f, *left, *min_quorum, *source),
            Self::RemovalLimit { removed, voters, within } => write!(
                f,
                "{removed} of {voters} voters were removed within {} s, more would be no minority",
                seconds_up(*within)
            ),
            Self::ZoneUnknown => write!(f, "its zone is not known: it has not reported yet"),
            Self::VersionUnknown { server } => {
                write!(
                    f,
                    "the upgrade version of {} is not known, and an upgrade waits for it",
                    server.raft_id
                )
            }
            Self::AwaitNewVoters { healthy, needed } => write!(
                f,
                "healthy servers of the new version that could vote: {healthy}, needed: {needed}; add more"
            ),
            Self::UpgradeFirst { status } => write!(f, "the upgrade is at {status}"),
            Self::OlderVersion { target } => write!(f, "servers of version {target} vote; it may be removed"),
            Self::ZoneRedundancy { zone, new, old } => write!(
                f,
                "healthy servers in zone {zone}: {new} of the new version, {old} of older ones; add as many"
            ),
        }
    }
}
