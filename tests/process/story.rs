//! A test's story, and the seed it did everything by: told when it fails.

use std::ops::Deref;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use quorate_processes::cluster::Cluster;
use quorate_processes::story;
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// The seed of a run that is to be repeated.
const SEED: &str = "PROCESS_SEED";
/// Seeds drawn are below this: short enough to be typed.
const SEEDS: u128 = 1_000_000_000;
/// The program these tests were built with.
const SIDECAR: &str = env!("CARGO_BIN_EXE_quorate-sidecar");

/// One test's story. Clones tell the same one.
#[derive(Clone)]
pub(crate) struct Story {
    seed: u64,
    told: story::Story,
}

impl Story {
    /// Begins the story of the test with this name, and prints its seed.
    pub(crate) fn of(name: &'static str) -> Self {
        let given = std::env::var(SEED).ok();
        let given =
            given.map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED} is {text:?}, no number")));
        let seed = given.unwrap_or_else(from_clock);
        println!("{name}: seed {seed}");
        let replay = format!(
            "replay: {SEED}={seed} cargo test --profile bed --workspace --test process {name} -- --nocapture"
        );
        Self { seed, told: story::Story::new(name, replay) }
    }

    /// So many members of a cluster of this story; none was ever started.
    pub(crate) fn cluster(&self, count: usize) -> Cluster {
        Cluster::new(&self.told, count, Path::new(SIDECAR))
    }

    /// A generator that draws the same again from the same seed; one for each use, so that none disturbs another.
    pub(crate) fn draws(&self, of: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Deref for Story {
    type Target = story::Story;

    fn deref(&self) -> &story::Story {
        &self.told
    }
}

fn from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros() % SEEDS).unwrap_or_default()
}
