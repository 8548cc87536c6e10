//! Whole clusters in one thread, on virtual time, from one seed (raft.md §3, §7 items 1-8).
//!
//! The real core, the real machine and the real redb run over a network and disks that lose, delay, repeat, tear and
//! forget. After every step the invariants look, from outside the members. In a first phase things break; then
//! faults stop, and the cluster must converge.
//!
//! Not here: the sidecar's sockets, threads and clocks. What they decide is decided in the core.

pub mod calls;
pub mod changes;
pub mod client;
pub mod faults;
pub mod invariants;
pub mod member;
pub mod mirror;
pub mod network;
pub mod options;
pub mod process;
pub mod schedule;
pub mod snapshot;
pub mod trace;
pub mod world;

use std::fmt;

pub use options::Options;
pub use world::Report;
use world::World;

/// A run that broke an invariant.
pub struct Failure {
    seed: u64,
    step: u64,
    what: String,
    newest: Vec<String>,
}

/// Runs one seed, up to `steps_max` events if given. `prints` shows every event.
pub fn run(seed: u64, steps_max: Option<u64>, prints: bool) -> Result<Report, Failure> {
    let (options, rng) = Options::draw(seed);
    if prints {
        println!("{options}");
    }
    let first = format!("{options}");
    let fail = |step, what: String, newest| Failure { seed, step, what, newest };
    let mut world = World::new(options, rng, prints)
        .map_err(|error| fail(0, format!("{error:#}"), vec![first.clone()]))?;
    loop {
        let goes_on = world.advance().map_err(|error| {
            let newest =
                std::iter::once(first.as_str()).chain(world.newest()).map(ToOwned::to_owned).collect();
            fail(world.report().steps, format!("at {:?}: {error:#}", world.now()), newest)
        });
        let is_over = steps_max.is_some_and(|max| world.report().steps >= max);
        if !goes_on? || is_over {
            return Ok(world.report());
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.newest {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)?;
        write!(f, "replay: make replay SEED={} STEPS={} TRACE=1", self.seed, self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::run;

    /// raft.md §7 item 1: without this, a failure's replay command would show another run.
    #[test]
    fn a_seed_gives_the_same_run_twice() {
        let digest =
            |seed| run(seed, None, false).map_err(|failure| failure.to_string()).map(|report| report.digest);
        let first = digest(7).expect("seed 7 is clean");
        assert_eq!(digest(7), Ok(first));
        assert_ne!(digest(8), Ok(first));
    }
}
