//! Autopilot's settings as the cluster holds them: read, and changed field by field.
//!
//! Any member reads them and may propose a change; what was merged is checked as a whole before it is proposed (A20), and
//! proposed only onto the settings it was checked with. On Kubernetes the operator alone does so, from `spec.autopilot`.

use quorate_autopilot::{InvalidSettings, Settings, SettingsChange, validate};
use quorate_machine::{ApiIndex, Command, Outcome, SettingsMode, Tagged};
use tokio::time::Instant;

use super::Autopilot;
use crate::driver::{CallError, Consistency, ErrorKind};

/// The settings in effect, and where in the log they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// What was set, over the defaults.
    pub settings: Settings,
    /// What was set.
    pub stored: SettingsChange,
    /// The index of the first change; 0: never changed.
    pub create_index: ApiIndex,
    /// The index of the last change; 0: never changed.
    pub modify_index: ApiIndex,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// The settings are as asked, at this modify index.
    Set(ApiIndex),
    /// They are at this modify index, not at the expected one, and stay.
    Mismatch(ApiIndex),
}

/// Why nothing was changed, except where a [`CallError`] says that the outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// The settings would be such as nobody can want.
    Invalid(InvalidSettings),
    /// The cluster did not take the change.
    Call(CallError),
}

/// The field that is to be changed, in Vault's spelling; empty if it is not one alone.
pub fn blamed_field(invalid: &InvalidSettings) -> &'static str {
    match invalid {
        InvalidSettings::Zero { field } => field,
        InvalidSettings::MinQuorumTooSmall { .. } => "min_quorum",
        InvalidSettings::DeadThresholdTooShort { .. } | InvalidSettings::DeadBeforeUnhealthy { .. } => {
            "dead_server_last_contact_threshold"
        }
        _ => "",
    }
}

/// The fields of `change` that say something else than what is in effect. A client that reads all settings, changes one
/// and writes all must not turn the computed ones into its own.
pub fn differing(change: &SettingsChange, effective: &Settings) -> SettingsChange {
    fn unless<T: PartialEq>(wanted: Option<T>, effective: &T) -> Option<T> {
        wanted.filter(|wanted| wanted != effective)
    }
    SettingsChange {
        cleanup_dead_servers: unless(change.cleanup_dead_servers, &effective.cleanup_dead_servers),
        last_contact_threshold: unless(change.last_contact_threshold, &effective.last_contact_threshold),
        dead_server_last_contact_threshold: unless(
            change.dead_server_last_contact_threshold,
            &effective.dead_server_last_contact_threshold,
        ),
        max_trailing_logs: unless(change.max_trailing_logs, &effective.max_trailing_logs),
        min_quorum: unless(change.min_quorum, &effective.min_quorum),
        server_stabilization_time: unless(
            change.server_stabilization_time,
            &effective.server_stabilization_time,
        ),
        redundancy_zone_tag: unless(change.redundancy_zone_tag.clone(), &effective.redundancy_zone_tag),
        upgrade_version_tag: unless(change.upgrade_version_tag.clone(), &effective.upgrade_version_tag),
        disable_upgrade_migration: unless(
            change.disable_upgrade_migration,
            &effective.disable_upgrade_migration,
        ),
    }
}

impl Autopilot {
    /// The settings in effect.
    pub async fn configuration(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Configuration, CallError> {
        let read =
            self.handle.read(consistency, deadline, |state| Ok(state.meta().autopilot.clone())).await?.value;
        Ok(Configuration {
            settings: Settings::new(&read.settings, &self.defaults()),
            stored: read.settings,
            create_index: read.create_index,
            modify_index: read.modify_index,
        })
    }

    /// Changes the fields that `change` names, seeing the settings in effect, and keeps the others; with `expected` only
    /// if they are at this modify index (0: never changed).
    pub async fn set_configuration(
        &self,
        change: impl Fn(&Settings) -> SettingsChange,
        expected: Option<ApiIndex>,
        deadline: Instant,
    ) -> Result<SetOutcome, SetError> {
        loop {
            let present =
                self.configuration(Consistency::Linearizable, deadline).await.map_err(SetError::Call)?;
            let modify_index = present.modify_index;
            if expected.is_some_and(|expected| expected != modify_index) {
                return Ok(SetOutcome::Mismatch(modify_index));
            }
            let change = change(&present.settings);
            if change == SettingsChange::default() {
                return Ok(SetOutcome::Set(modify_index));
            }
            validate(&present.stored.merged(&change), &self.defaults()).map_err(SetError::Invalid)?;
            let command =
                Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: Some(modify_index) };
            let applied = self.handle.propose(&Tagged { tag: None, command }, deadline).await;
            match applied.map_err(SetError::Call)?.outcome {
                Outcome::Written { modify_index } => return Ok(SetOutcome::Set(modify_index)),
                // Somebody else's change came between: who named no index wants its own in any case.
                Outcome::Mismatch { .. } if expected.is_none() => {}
                Outcome::Mismatch { modify_index } => {
                    return Ok(SetOutcome::Mismatch(modify_index.unwrap_or(ApiIndex::MISSING)));
                }
                outcome => return Err(SetError::Call(unexpected(&outcome))),
            }
        }
    }
}

fn unexpected(outcome: &Outcome) -> CallError {
    CallError::unknown(
        ErrorKind::FailedPrecondition,
        format!(
            "a change of settings was answered {outcome:?}: outcome unknown; this is a bug, please report it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_autopilot::Defaults;

    use super::*;

    /// K27: what Consul's command line reads and writes back makes no computed value a user's; only what it changed is set.
    #[test]
    fn what_is_in_effect_already_is_no_change() {
        let effective = Settings::new(&SettingsChange::default(), &Defaults::kubernetes(1));
        let mut written_back = SettingsChange {
            cleanup_dead_servers: Some(effective.cleanup_dead_servers),
            last_contact_threshold: Some(effective.last_contact_threshold),
            dead_server_last_contact_threshold: Some(effective.dead_server_last_contact_threshold),
            max_trailing_logs: Some(effective.max_trailing_logs),
            min_quorum: Some(effective.min_quorum),
            server_stabilization_time: Some(effective.server_stabilization_time),
            redundancy_zone_tag: Some(effective.redundancy_zone_tag.clone()),
            upgrade_version_tag: Some(effective.upgrade_version_tag.clone()),
            disable_upgrade_migration: Some(effective.disable_upgrade_migration),
        };
        assert_eq!(differing(&written_back, &effective), SettingsChange::default());
        written_back.server_stabilization_time = Some(Duration::from_secs(20));
        let expected = SettingsChange {
            server_stabilization_time: Some(Duration::from_secs(20)),
            ..SettingsChange::default()
        };
        assert_eq!(differing(&written_back, &effective), expected);
    }

    /// A20: who sent it is told which field to change.
    #[test]
    fn every_refusal_names_its_field() {
        let second = Duration::from_secs(1);
        for (invalid, field) in [
            (InvalidSettings::Zero { field: "max_trailing_logs" }, "max_trailing_logs"),
            (InvalidSettings::MinQuorumTooSmall { min_quorum: 2 }, "min_quorum"),
            (InvalidSettings::DeadThresholdTooShort { asked: second }, "dead_server_last_contact_threshold"),
            (
                InvalidSettings::DeadBeforeUnhealthy { dead: second, contact: second },
                "dead_server_last_contact_threshold",
            ),
        ] {
            assert_eq!(blamed_field(&invalid), field);
            assert!(invalid.to_string().contains(field), "{invalid}");
        }
    }
}
