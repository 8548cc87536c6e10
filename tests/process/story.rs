//! What a test did so far, and the seed it did it by: told when it fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::SmallRng;

/// The seed of a run that is to be repeated.
const SEED: &str = "PROCESS_SEED";
/// Seeds drawn are below this: short enough to be typed.
const SEEDS: u128 = 1_000_000_000;
/// Lines kept of a story.
const LINES_MAX: usize = 2_000;

/// One test's story. Clones tell the same one.
#[derive(Clone)]
pub(crate) struct Story {
    name: &'static str,
    seed: u64,
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Story {
    /// Begins the story of the test with this name, and prints its seed.
    pub(crate) fn of(name: &'static str) -> Self {
        let given = std::env::var(SEED).ok();
        let given =
            given.map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED} is {text:?}, no number")));
        let seed = given.unwrap_or_else(from_clock);
        println!("{name}: seed {seed}");
        Self { name, seed, began: Instant::now(), lines: Arc::default() }
    }

    /// A generator that draws the same again from the same seed; one for each use, so that none disturbs another.
    pub(crate) fn draws(&self, of: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Adds a line.
    pub(crate) fn tell(&self, what: impl Into<String>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(format!("{:8.3} s  {}", self.began.elapsed().as_secs_f64(), what.into()));
        }
    }

    /// Says something that a person wants to know of a test that passed, too.
    pub(crate) fn say(&self, what: &str) {
        self.tell(what);
        println!("{}: {what}", self.name);
    }

    /// Prints everything so far, and the command that runs it again.
    pub(crate) fn print(&self) {
        let Self { name, seed, .. } = self;
        println!("\n==== {name}: seed {seed} ====");
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            println!("{line}");
        }
        println!(
            "replay: {SEED}={seed} cargo test --profile bed --workspace --test process {name} -- --nocapture"
        );
    }
}

fn from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros() % SEEDS).unwrap_or_default()
}
