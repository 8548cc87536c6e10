//! Autopilot's knobs: their names, defaults and rules.
//!
//! Stored is only what somebody set (a [`SettingsChange`], merged change by change): zero or absent never
//! overrides a default, and defaults may depend on where the cluster runs (K27) and on how many members
//! are declared. [`Settings`] is what a round works with: stored fields over [`Defaults`].

use std::time::Duration;

use quorate_mutants::{Mutant, broken};

use crate::limits::DEAD_SERVER_LAST_CONTACT_THRESHOLD_MIN;

/// What a person may change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Remove servers that are dead.
    pub cleanup_dead_servers: Option<bool>,
    /// A server not heard for longer is unhealthy.
    pub last_contact_threshold: Option<Duration>,
    /// A server not heard for longer is dead.
    pub dead_server_last_contact_threshold: Option<Duration>,
    /// A server whose log trails by more entries is unhealthy.
    pub max_trailing_logs: Option<u64>,
    /// Removals by autopilot never leave fewer voters.
    pub min_quorum: Option<u32>,
    /// Unbroken health needed for a vote.
    pub server_stabilization_time: Option<Duration>,
    /// What servers say their redundancy zone under; empty: zones are off.
    pub redundancy_zone_tag: Option<String>,
    /// What servers say their upgrade version under; empty: migration is off.
    pub upgrade_version_tag: Option<String>,
    /// No upgrade migration, whatever servers say.
    pub disable_upgrade_migration: Option<bool>,
}

impl SettingsChange {
    /// These fields, overridden by those of `newer`.
    #[must_use]
    pub fn merged(&self, newer: &Self) -> Self {
        Self {
            cleanup_dead_servers: newer.cleanup_dead_servers.or(self.cleanup_dead_servers),
            last_contact_threshold: newer.last_contact_threshold.or(self.last_contact_threshold),
            dead_server_last_contact_threshold: newer
                .dead_server_last_contact_threshold
                .or(self.dead_server_last_contact_threshold),
            max_trailing_logs: newer.max_trailing_logs.or(self.max_trailing_logs),
            min_quorum: newer.min_quorum.or(self.min_quorum),
            server_stabilization_time: newer.server_stabilization_time.or(self.server_stabilization_time),
            redundancy_zone_tag: newer
                .redundancy_zone_tag
                .clone()
                .or_else(|| self.redundancy_zone_tag.clone()),
            upgrade_version_tag: newer
                .upgrade_version_tag
                .clone()
                .or_else(|| self.upgrade_version_tag.clone()),
            disable_upgrade_migration: newer.disable_upgrade_migration.or(self.disable_upgrade_migration),
        }
    }
}

/// Where `min_quorum` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinQuorumSource {
    /// Somebody set it.
    Set,
    /// It is how many members the platform declares.
    Declared,
    /// Nobody says how many there are to be: it is how many there are.
    Counted,
}

/// What applies where nobody set anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    last_contact_threshold: Duration,
    dead_server_last_contact_threshold: Duration,
    replicas: u32,
    replicas_source: MinQuorumSource,
}

impl Defaults {
    /// On Kubernetes (K27): a scheduler's pauses are longer than `HashiCorp`'s 200 ms, and a lost
    /// Pod is replaced in minutes.
    pub fn kubernetes(declared_replicas: u32) -> Self {
        Self {
            last_contact_threshold: Duration::from_secs(1),
            dead_server_last_contact_threshold: Duration::from_mins(10),
            replicas: declared_replicas,
            replicas_source: MinQuorumSource::Declared,
        }
    }

    /// Elsewhere: `HashiCorp`'s values (Consul's contact threshold, Vault's dead threshold). Nobody declares members, so the
    /// servers that there are stand for them.
    pub fn hashicorp(servers: u32) -> Self {
        Self {
            last_contact_threshold: Duration::from_millis(200),
            dead_server_last_contact_threshold: Duration::from_hours(24),
            replicas: servers,
            replicas_source: MinQuorumSource::Counted,
        }
    }
}

/// The settings of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Remove servers that are dead. Default: true.
    pub cleanup_dead_servers: bool,
    /// A server not heard for longer is unhealthy; equal is healthy (A2).
    pub last_contact_threshold: Duration,
    /// A server not heard for longer is dead.
    pub dead_server_last_contact_threshold: Duration,
    /// A server whose log trails by more entries is unhealthy, under K27's condition. Default: 250.
    pub max_trailing_logs: u64,
    /// Removals by autopilot never leave fewer voters. Default: the declared replicas (K27).
    pub min_quorum: u32,
    /// Where that comes from.
    pub min_quorum_source: MinQuorumSource,
    /// Unbroken health needed for a vote. Default: 10 s.
    pub server_stabilization_time: Duration,
    /// What servers say their redundancy zone under. Default: empty, zones are off and what is reported is only shown.
    pub redundancy_zone_tag: String,
    /// What servers say their upgrade version under. Default: empty, migration is off: where members are
    /// upgraded in place, demoting the old ones would be wrong.
    pub upgrade_version_tag: String,
    /// No upgrade migration, whatever servers say. Default: false.
    pub disable_upgrade_migration: bool,
}

impl Settings {
    /// What was set, over the defaults.
    pub fn new(stored: &SettingsChange, defaults: &Defaults) -> Self {
        Self {
            cleanup_dead_servers: stored.cleanup_dead_servers.unwrap_or(true),
            last_contact_threshold: stored.last_contact_threshold.unwrap_or(defaults.last_contact_threshold),
            dead_server_last_contact_threshold: stored
                .dead_server_last_contact_threshold
                .unwrap_or(defaults.dead_server_last_contact_threshold),
            max_trailing_logs: stored.max_trailing_logs.unwrap_or(250),
            min_quorum: stored.min_quorum.unwrap_or(defaults.replicas),
            min_quorum_source: stored.min_quorum.map_or(defaults.replicas_source, |_| MinQuorumSource::Set),
            server_stabilization_time: stored.server_stabilization_time.unwrap_or(Duration::from_secs(10)),
            redundancy_zone_tag: stored.redundancy_zone_tag.clone().unwrap_or_default(),
            upgrade_version_tag: stored.upgrade_version_tag.clone().unwrap_or_default(),
            disable_upgrade_migration: stored.disable_upgrade_migration.unwrap_or(false),
        }
    }

    /// Whether servers are grouped into redundancy zones.
    pub fn has_zones(&self) -> bool {
        !self.redundancy_zone_tag.is_empty()
    }

    /// Whether votes move to newer servers.
    pub fn has_upgrade_migration(&self) -> bool {
        !self.upgrade_version_tag.is_empty() && !self.disable_upgrade_migration
    }
}

/// A change that would leave settings nobody can want. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// Consul #6505: a threshold of zero makes every server unhealthy for ever.
    #[error(
        "{field} must be greater than zero: with 0 no server is ever healthy; leave it out to keep the present value"
    )]
    Zero {
        /// The field, in Vault's spelling.
        field: &'static str,
    },
    /// A20, in Vault's words.
    #[error(
        "min_quorum must be set when cleanup_dead_servers is set and it should at least be 3; it is {min_quorum}: set 3 or more, or cleanup_dead_servers=false"
    )]
    MinQuorumTooSmall {
        /// What was asked for.
        min_quorum: u32,
    },
    /// A20, in Vault's words; vault #27793.
    #[error(
        "dead_server_last_contact_threshold should not be set to less than 1m; it is {asked:?}: set 1m or more, or cleanup_dead_servers=false"
    )]
    DeadThresholdTooShort {
        /// What was asked for.
        asked: Duration,
    },
    /// A server would be dead before it is unhealthy.
    #[error(
        "dead_server_last_contact_threshold ({dead:?}) must be greater than last_contact_threshold ({contact:?}): a server would be dead before it is unhealthy"
    )]
    DeadBeforeUnhealthy {
        /// The dead threshold that would apply.
        dead: Duration,
        /// The contact threshold that would apply.
        contact: Duration,
    },
}

/// Whether `stored` (all that users ever set, this change merged in) may become the settings.
///
/// The rules of A20 apply to values a user set; computed ones are valid (K27). Call it before proposing, with
/// the modify index the stored fields were read at as the expected one.
pub fn validate(stored: &SettingsChange, defaults: &Defaults) -> Result<(), InvalidSettings> {
    let zeros = [
        ("last_contact_threshold", stored.last_contact_threshold == Some(Duration::ZERO)),
        (
            "dead_server_last_contact_threshold",
            stored.dead_server_last_contact_threshold == Some(Duration::ZERO),
        ),
        ("max_trailing_logs", stored.max_trailing_logs == Some(0)),
    ];
    if let Some((field, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero && !broken(Mutant::A20Zero)) {
        return Err(InvalidSettings::Zero { field });
    }
    let settings = Settings::new(stored, defaults);
    if settings.cleanup_dead_servers {
        if let Some(min_quorum) = stored.min_quorum
            && min_quorum < crate::limits::MIN_QUORUM_SET_MIN
            && !broken(Mutant::A20Quorum)
        {
            return Err(InvalidSettings::MinQuorumTooSmall { min_quorum });
        }
        if let Some(asked) = stored.dead_server_last_contact_threshold
            && asked < DEAD_SERVER_LAST_CONTACT_THRESHOLD_MIN
            && !broken(Mutant::A20Threshold)
        {
            return Err(InvalidSettings::DeadThresholdTooShort { asked });
        }
    }
    if settings.dead_server_last_contact_threshold <= settings.last_contact_threshold {
        return Err(InvalidSettings::DeadBeforeUnhealthy {
            dead: settings.dead_server_last_contact_threshold,
            contact: settings.last_contact_threshold,
        });
    }
    Ok(())
}
