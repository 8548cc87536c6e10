//! The bytes of autopilot's settings: a count, then for each field that is set its number and its value.
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

pub(crate) fn encode(to: &mut Writer, settings: &SettingsChange) {
    let fields = [
        (CLEANUP_DEAD_SERVERS, settings.cleanup_dead_servers.map(u64::from)),
        (LAST_CONTACT_THRESHOLD, settings.last_contact_threshold.map(nanoseconds)),
        (DEAD_SERVER_LAST_CONTACT_THRESHOLD, settings.dead_server_last_contact_threshold.map(nanoseconds)),
        (MAX_TRAILING_LOGS, settings.max_trailing_logs),
        (MIN_QUORUM, settings.min_quorum.map(u64::from)),
        (SERVER_STABILIZATION_TIME, settings.server_stabilization_time.map(nanoseconds)),
    ];
    to.count(fields.iter().filter(|(_, value)| value.is_some()).count());
    for (field, value) in fields {
        if let Some(value) = value {
            to.number(field);
            to.number(value);
        }
    }
}

pub(crate) fn decode(from: &mut Reader<'_>) -> Result<SettingsChange, DecodeError> {
    let mut settings = SettingsChange::default();
    let fields =
        from.list("settings", |from| Ok((from.number("settings field")?, from.number("settings value")?)))?;
    for (field, value) in fields {
        match field {
            CLEANUP_DEAD_SERVERS => settings.cleanup_dead_servers = Some(value != 0),
            LAST_CONTACT_THRESHOLD => settings.last_contact_threshold = Some(Duration::from_nanos(value)),
            DEAD_SERVER_LAST_CONTACT_THRESHOLD => {
                settings.dead_server_last_contact_threshold = Some(Duration::from_nanos(value));
            }
            MAX_TRAILING_LOGS => settings.max_trailing_logs = Some(value),
            MIN_QUORUM => {
                let value =
                    u32::try_from(value).map_err(|_| DecodeError::OutOfRange { what: "min quorum" })?;
                settings.min_quorum = Some(value);
            }
            SERVER_STABILIZATION_TIME => {
                settings.server_stabilization_time = Some(Duration::from_nanos(value));
            }
            tag => return Err(DecodeError::UnknownTag { what: "settings field", tag }),
        }
    }
    Ok(settings)
}

/// 584 years at most, which is longer than any setting means.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
