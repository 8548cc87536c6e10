//! A process's own clock: it runs at its own rate, from its own zero. Safety assumes nothing of it (K26).
//!
//! Also how long the process is paused: to itself nothing happens meanwhile, then the clock has jumped.

use std::time::Duration;

/// The clock of one process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// A moment of the world, and what this clock showed then.
    world: Duration,
    own: Duration,
    rate: f64,
}

impl Clock {
    /// A clock that shows zero at `world`.
    pub fn starting(world: Duration, rate: f64) -> Self {
        Self { world, own: Duration::ZERO, rate }
    }

    /// What it shows at a moment of the world.
    pub fn at(&self, world: Duration) -> Duration {
        self.own + world.saturating_sub(self.world).mul_f64(self.rate)
    }

    /// The moment of the world at which it shows at least `own`.
    pub fn when(&self, own: Duration) -> Duration {
        // Rounded up: a timer that goes off a nanosecond early would go off again, and again.
        self.world + own.saturating_sub(self.own).div_f64(self.rate) + Duration::from_nanos(2)
    }

    /// From now on it runs at another rate.
    pub fn set_rate(&mut self, world: Duration, rate: f64) {
        *self = Self { own: self.at(world), world, rate };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_never_goes_off_early() {
        for rate in [0.7, 0.931, 1.0, 1.113, 1.4] {
            let mut clock = Clock::starting(Duration::from_nanos(1_234_567), rate);
            clock.set_rate(Duration::from_millis(77), rate * 1.01);
            for step in 1..2_000 {
                let due = Duration::from_nanos(step * 7_777_777);
                assert!(clock.at(clock.when(due)) >= due, "rate {rate}, {due:?}");
            }
        }
    }
}
