//! What a seed draws: the size of the cluster and how badly its network and disks behave.
//!
//! One seed is one run. Everything that is chosen later is drawn from the generator this starts, so a run is
//! replayed by its seed alone. The options are printed first, because they are the first thing one wants to know.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The behaviour of one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything is drawn from.
    pub seed: u64,
    /// Members at the start, 3 to 5; membership changes move between 1 and one more than this.
    pub members: usize,
    /// How likely a message is lost, 0 to 0.1.
    pub loss: f64,
    /// How likely a message arrives twice, 0 to 0.05.
    pub duplication: f64,
    /// Messages take between the first and the second.
    pub delay: (Duration, Duration),
    /// How likely a message takes ten times as long, so that later ones overtake it.
    pub straggler: f64,
    /// A commit takes between the first and the second.
    pub sync: (Duration, Duration),
    /// Mean time between two faults (crash, partition, heal).
    pub fault_every: Duration,
    /// Mean time between two membership changes or transfers.
    pub change_every: Duration,
    /// Log bytes kept for followers; small ones make snapshots common.
    pub retention_bytes: u64,
    /// Clients that write and read, each one call at a time.
    pub clients: usize,
    /// How long faults go on; then they stop and the cluster must converge.
    pub safety_phase: Duration,
}

impl Options {
    /// Draws the options of `seed`, and hands out the generator for the rest of the run.
    pub fn draw(seed: u64) -> (Self, SmallRng) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let ms = |rng: &mut SmallRng, from: u64, to: u64| Duration::from_millis(rng.random_range(from..=to));
        let delay_min = Duration::from_micros(rng.random_range(50..2_000));
        let sync_min = Duration::from_micros(rng.random_range(50..3_000));
        let options = Self {
            seed,
            members: rng.random_range(3..=5),
            // A third of the runs have a flawless network: then only crashes are left to blame.
            loss: if rng.random_bool(0.33) { 0.0 } else { rng.random_range(0.0..0.1) },
            duplication: if rng.random_bool(0.5) { 0.0 } else { rng.random_range(0.0..0.05) },
            delay: (delay_min, delay_min + ms(&mut rng, 1, 60)),
            straggler: if rng.random_bool(0.5) { 0.0 } else { rng.random_range(0.0..0.05) },
            sync: (sync_min, sync_min + ms(&mut rng, 1, 40)),
            fault_every: ms(&mut rng, 400, 6_000),
            change_every: ms(&mut rng, 800, 8_000),
            retention_bytes: if rng.random_bool(0.4) { 0 } else { rng.random_range(2_000..200_000) },
            clients: rng.random_range(1..=4),
            safety_phase: ms(&mut rng, 8_000, 25_000),
        };
        (options, rng)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} members={} loss={:.3} duplication={:.3} delay={:?}..{:?} straggler={:.3} sync={:?}..{:?} \
             fault_every={:?} change_every={:?} retention_bytes={} clients={} safety_phase={:?}",
            self.seed,
            self.members,
            self.loss,
            self.duplication,
            self.delay.0,
            self.delay.1,
            self.straggler,
            self.sync.0,
            self.sync.1,
            self.fault_every,
            self.change_every,
            self.retention_bytes,
            self.clients,
            self.safety_phase,
        )
    }
}
