//! Whole clusters in one thread, on virtual time, from one seed (raft.md §3, §7 items 1-8).
//!
//! The real core, the real machine and the real redb run over a network, disks and clocks that lose, delay, repeat,
//! tear, forget and run away. After every step the invariants look, from outside the members. In a first phase
//! things break (safety); then faults stop, and the cluster must converge (liveness). What clients saw is recorded
//! and must be linearizable.
//!
//! | part | what it is |
//! |---|---|
//! | `options`, `faults`, `changes` | what a seed draws: what breaks, who changes the membership |
//! | `world`, `schedule`, `event`, `turn` | the run: one event after another, one turn of a core each |
//! | `fleet`, `member`, `process`, `volume`, `clock`, `mirror` | members, their disks and clocks |
//! | `network`, `snapshot`, `requests` | what travels between them |
//! | `hello`, `updates` | who may talk to whom; members of two releases, and the cluster's version |
//! | `archive`, `restores`, `restoring` | archives: who has one restored, and what each member does then |
//! | `recovery` | a majority lost for good, and a cluster recovered from what is left |
//! | `client`, `calls` | what clients do and see; whether it is linearizable, `tests/linearizability` says |
//! | `lockers`, `keeper` | who uses sessions and locks; how long sessions live by a leader's clock |
//! | `watch`, `invariants`, `effects`, `convergence` | what must hold |
//! | `coverage`, `trace` | what happened, counted and told |
//!
//! Not here: the sidecar's sockets and threads. What they decide is decided in the core; of what the sidecar decides
//! itself, its timers for sessions are here.

pub mod archive;
pub mod calls;
pub mod changes;
pub mod client;
pub mod clock;
pub mod convergence;
pub mod coverage;
pub mod effects;
pub mod event;
pub mod faults;
pub mod fleet;
pub mod hello;
pub mod invariants;
pub mod keeper;
pub mod lockers;
pub mod member;
pub mod mirror;
pub mod network;
pub mod options;
pub mod process;
pub mod recovery;
pub mod requests;
pub mod restores;
pub mod restoring;
pub mod schedule;
pub mod snapshot;
pub mod trace;
pub mod turn;
pub mod updates;
pub mod volume;
pub mod watch;
pub mod world;

use std::cell::Cell;

pub use coverage::{Coverage, Happening};
pub use options::Options;
pub use trace::Trace;
use world::World;

use crate::search::Simulation;

/// The simulation, for a search.
pub struct Clusters;

impl Simulation for Clusters {
    type Coverage = Coverage;
    const KNOWN: &'static str = include_str!("seeds.txt");
    const REPLAY: &'static str = "replay";

    fn options(seed: u64) -> String {
        Options::draw(seed).0.to_string()
    }

    fn go(seed: u64, steps_max: Option<u64>, trace: Trace, step: &Cell<u64>) -> anyhow::Result<Coverage> {
        let (options, rng) = Options::draw(seed);
        let mut world = World::new(options, rng, trace)?;
        loop {
            step.set(world.steps() + 1);
            let goes_on = world.advance()?;
            if !goes_on || steps_max.is_some_and(|max| world.steps() >= max) {
                return Ok(world.into_coverage());
            }
        }
    }

    fn add(sum: &mut Coverage, run: &Coverage) {
        sum.take(run);
    }

    fn events(coverage: &Coverage) -> u64 {
        coverage.count(Happening::Event)
    }

    fn doubt(coverage: &Coverage) -> Option<String> {
        let gave_up = coverage.count(Happening::GaveUp) > 0;
        gave_up.then(|| "linearizability: the checker gave up on a key".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{Clusters, Coverage, Happening, Trace};
    use crate::search::{Failure, run as run_simulation};

    fn run(seed: u64, steps: Option<u64>, trace: Trace) -> Result<Coverage, Failure> {
        run_simulation::<Clusters>(seed, steps, trace)
    }

    fn traced(seed: u64) -> (Coverage, Vec<String>) {
        let trace = Trace::Kept(std::rc::Rc::default());
        let coverage = run(seed, None, trace.clone()).unwrap_or_else(|failure| panic!("{failure:?}"));
        (coverage, trace.lines())
    }

    /// raft.md §7 item 1: without this, a failure's replay command would show another run.
    #[test]
    fn a_seed_gives_the_same_trace_twice_byte_for_byte() {
        for seed in 1..4 {
            let (coverage, lines) = traced(seed);
            let (coverage_again, lines_again) = traced(seed);
            assert!(coverage.count(Happening::Event) > 1_000, "seed {seed} does next to nothing");
            let differs = lines.iter().zip(&lines_again).position(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}: the traces part here");
            assert_eq!(lines.len(), lines_again.len());
            assert_eq!(coverage, coverage_again);
        }
    }

    /// With these a session that is given its time only once (`K21Twice`) ends too early by a clock that runs fast.
    const SEEDS_OF_SESSIONS: [u64; 2] = [9_820_036, 9_820_039];

    /// K21: clocks run fast and slow, leaders change, renewals meet ends on their way.
    #[test]
    fn a_session_lives_as_long_as_its_client_was_told() {
        for seed in SEEDS_OF_SESSIONS {
            let coverage = run(seed, None, Trace::Off).unwrap_or_else(|failure| panic!("{failure:?}"));
            let both = [Happening::SessionTold, Happening::SessionOver].map(|one| coverage.count(one));
            assert!(both.iter().all(|count| *count > 0), "seed {seed} measures no session: {both:?}");
        }
    }

    /// The trace only tells: a run that is not told goes the same way.
    #[test]
    fn a_run_goes_the_same_way_whether_it_is_traced_or_not() {
        let untold = run(5, None, Trace::Off).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(untold, traced(5).0);
    }
}
