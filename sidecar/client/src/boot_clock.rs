//! A clock that nobody sets and that runs while the machine sleeps: what a lease must be counted by (K21).

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// The best there is elsewhere; on some systems it stands still during sleep.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since the machine booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootTime(Duration);

impl BootTime {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(CLOCK);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// What is left until then; zero if it has passed.
    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It does not fall, and what has passed leaves nothing.
    #[test]
    fn time_only_passes() {
        let first = BootTime::now();
        assert!(BootTime::now() >= first);
        assert_eq!(first.remaining(), Duration::ZERO);
        let hour = Duration::from_hours(1);
        assert!((first + hour).remaining() <= hour);
        assert!((first + hour).remaining() > Duration::ZERO);
    }
}
