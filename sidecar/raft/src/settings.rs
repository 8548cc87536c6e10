//! Timing and retention of one group, the same on every member (K26).

use std::time::Duration;

use thiserror::Error;

use crate::limits::{CACHE_BYTES_MAX, RETENTION_BYTES, RETENTION_BYTES_MAX};

/// Safety never depends on these; how fast a lost leader is noticed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// A leader is known for this long after its last contact (K10); deadlines are drawn from one
    /// to two times it.
    pub election_timeout: Duration,
    /// A leader that has not heard from a quorum within this time steps down (S11).
    pub check_quorum: Duration,
    /// Whether evidence that the leader's process is gone begins an election at once (K12); without
    /// it the election timeout alone does.
    pub early_pre_vote: bool,
    /// Log kept behind the durable applied index (K7).
    pub retention_bytes: u64,
    /// Log kept while a live follower or a snapshot transfer needs it (K7).
    pub retention_bytes_max: u64,
    /// The newest entries, up to so many bytes, are kept in memory; older ones are read from storage.
    pub cache_bytes_max: u64,
}

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// A heartbeat must have at least two more tries before followers give up on the leader.
    #[error(
        "heartbeat interval {heartbeat:?} is too long for election timeout {election:?}: use at most a third of it"
    )]
    HeartbeatTooSlow {
        /// The heartbeat interval given.
        heartbeat: Duration,
        /// The election timeout given.
        election: Duration,
    },
    /// A duration so short that timers would never rest.
    #[error("{name} is {value:?}: use at least 5ms")]
    TooShort {
        /// Which one.
        name: &'static str,
        /// What was given.
        value: Duration,
    },
    /// The extended retention is below the normal one.
    #[error("retention_bytes_max is below retention_bytes: raise it to at least the same value")]
    Retention,
}

/// Below this a timer is noise (S, validation of the timing).
const DURATION_MIN: Duration = Duration::from_millis(5);

impl Settings {
    /// Checks that the values work together.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        for (name, value) in [
            ("heartbeat interval", self.heartbeat_interval),
            ("election timeout", self.election_timeout),
            ("check-quorum", self.check_quorum),
        ] {
            if value < DURATION_MIN {
                return Err(InvalidSettings::TooShort { name, value });
            }
        }
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout.min(self.check_quorum));
        if heartbeat > election / 3 {
            return Err(InvalidSettings::HeartbeatTooSlow { heartbeat, election });
        }
        if self.retention_bytes > self.retention_bytes_max {
            return Err(InvalidSettings::Retention);
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            check_quorum: Duration::from_secs(1),
            early_pre_vote: true,
            retention_bytes: RETENTION_BYTES,
            retention_bytes_max: RETENTION_BYTES_MAX,
            cache_bytes_max: CACHE_BYTES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K26: one timing for everybody.
    #[test]
    fn the_defaults_are_those_of_k26_and_valid() {
        let settings = Settings::default();
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.heartbeat_interval.as_millis(), 100);
        assert_eq!(settings.election_timeout.as_millis(), 1_000);
        assert_eq!(settings.check_quorum.as_millis(), 1_000);
    }

    #[test]
    fn contradicting_settings_are_refused() {
        let slow = Settings { heartbeat_interval: Duration::from_millis(400), ..Settings::default() };
        assert!(matches!(slow.validate(), Err(InvalidSettings::HeartbeatTooSlow { .. })));
        let short = Settings { check_quorum: Duration::ZERO, ..Settings::default() };
        assert!(matches!(short.validate(), Err(InvalidSettings::TooShort { .. })));
        let retention = Settings { retention_bytes_max: 0, ..Settings::default() };
        assert_eq!(retention.validate(), Err(InvalidSettings::Retention));
    }
}
