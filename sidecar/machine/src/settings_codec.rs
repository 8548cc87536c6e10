//! The bytes of autopilot's settings: a count, then for each field that is set its number and its value, a number or a text.
//!
//! A field number is never reused. A number this binary does not know belongs to a newer format.

use std::time::Duration;

use quorate_autopilot::SettingsChange;

use crate::codec::{DecodeError, Reader, Writer};

const CLEANUP_DEAD_SERVERS: u64 = 1;
const LAST_CONTACT_THRESHOLD: u64 = 2;
const DEAD_SERVER_LAST_CONTACT_THRESHOLD: u64 = 3;
const MAX_TRAILING_LOGS: u64 = 4;
const MIN_QUORUM: u64 = 5;
const SERVER_STABILIZATION_TIME: u64 = 6;
const REDUNDANCY_ZONE_TAG: u64 = 7;
const UPGRADE_VERSION_TAG: u64 = 8;
const DISABLE_UPGRADE_MIGRATION: u64 = 9;

pub(crate) fn encode(to: &mut Writer, settings: &SettingsChange) {
    let numbers = [
        (CLEANUP_DEAD_SERVERS, settings.cleanup_dead_servers.map(u64::from)),
        (LAST_CONTACT_THRESHOLD, settings.last_contact_threshold.map(nanoseconds)),
        (DEAD_SERVER_LAST_CONTACT_THRESHOLD, settings.dead_server_last_contact_threshold.map(nanoseconds)),
        (MAX_TRAILING_LOGS, settings.max_trailing_logs),
        (MIN_QUORUM, settings.min_quorum.map(u64::from)),
        (SERVER_STABILIZATION_TIME, settings.server_stabilization_time.map(nanoseconds)),
        (DISABLE_UPGRADE_MIGRATION, settings.disable_upgrade_migration.map(u64::from)),
    ];
    let texts = [
        (REDUNDANCY_ZONE_TAG, settings.redundancy_zone_tag.as_deref()),
        (UPGRADE_VERSION_TAG, settings.upgrade_version_tag.as_deref()),
    ];
    let numbers = numbers.into_iter().filter_map(|(field, value)| value.map(|value| (field, value)));
    let texts = texts.into_iter().filter_map(|(field, value)| value.map(|value| (field, value)));
    to.count(numbers.clone().count() + texts.clone().count());
    for (field, value) in numbers {
        to.number(field);
        to.number(value);
    }
    for (field, value) in texts {
        to.number(field);
        to.bytes(value.as_bytes());
    }
}

pub(crate) fn decode(from: &mut Reader<'_>) -> Result<SettingsChange, DecodeError> {
    let mut settings = SettingsChange::default();
    from.list("settings", |from| field(from, &mut settings))?;
    Ok(settings)
}

fn field(from: &mut Reader<'_>, settings: &mut SettingsChange) -> Result<(), DecodeError> {
    fn number(from: &mut Reader<'_>) -> Result<u64, DecodeError> {
        from.number("settings value")
    }
    match from.number("settings field")? {
        CLEANUP_DEAD_SERVERS => settings.cleanup_dead_servers = Some(number(from)? != 0),
        LAST_CONTACT_THRESHOLD => {
            settings.last_contact_threshold = Some(Duration::from_nanos(number(from)?));
        }
        DEAD_SERVER_LAST_CONTACT_THRESHOLD => {
            settings.dead_server_last_contact_threshold = Some(Duration::from_nanos(number(from)?));
        }
        MAX_TRAILING_LOGS => settings.max_trailing_logs = Some(number(from)?),
        MIN_QUORUM => {
            let value = u32::try_from(number(from)?);
            settings.min_quorum = Some(value.map_err(|_| DecodeError::OutOfRange { what: "min quorum" })?);
        }
        SERVER_STABILIZATION_TIME => {
            settings.server_stabilization_time = Some(Duration::from_nanos(number(from)?));
        }
        REDUNDANCY_ZONE_TAG => settings.redundancy_zone_tag = Some(from.text("settings value")?),
        UPGRADE_VERSION_TAG => settings.upgrade_version_tag = Some(from.text("settings value")?),
        DISABLE_UPGRADE_MIGRATION => settings.disable_upgrade_migration = Some(number(from)? != 0),
        tag => return Err(DecodeError::UnknownTag { what: "settings field", tag }),
    }
    Ok(())
}

/// 584 years at most, which is longer than any setting means.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
