//! The operator's judgement over whole lives of a cluster, in one thread, on virtual time, from one seed (P3, P8, I1-I10).
//!
//! The real planner, the real autopilot and the real core run over a simulated Kubernetes: an API server with versions,
//! conflicts, lost answers and stale reads; kubelets, a scheduler, nodes that go, volumes that are lost. People edit the
//! resource, and the operator dies after any of its calls, or runs twice. After every step the invariants look, from
//! outside. Then faults stop, people want one thing, and the cluster must become Ready with exactly what they asked for.
//!
//! | part | what it is |
//! |---|---|
//! | `options`, `faults`, `person` | what a seed draws: what breaks, what people want |
//! | `world`, `event` | the run: one event after another |
//! | `objects`, `api` | the API server: what it holds, and what it takes and refuses |
//! | `controllers`, `kubelet` | the scheduler, kubelets, claim protection, disruption budgets, nodes |
//! | `volume`, `process`, `group` | members: a directory, the core and autopilot on it, what they say to each other |
//! | `memory`, `operator`, `answers`, `act` | the operator: what it remembers, reads, hears of members and does |
//! | `watch`, `convergence` | what must hold |
//! | `coverage` | what happened, counted |
//!
//! Not here: disks that lose what was not synced, and what clients see (`simulation`); the real operator's HTTP and gRPC
//! (`tests/kubernetes`).

pub mod act;
pub mod answers;
pub mod api;
pub mod controllers;
pub mod convergence;
pub mod coverage;
pub mod event;
pub mod faults;
pub mod group;
pub mod kubelet;
pub mod memory;
pub mod objects;
pub mod operator;
pub mod options;
pub mod person;
pub mod process;
pub mod volume;
pub mod watch;
pub mod world;

use std::cell::Cell;

pub use coverage::{Coverage, Happening};
pub use options::Options;
use world::World;

use crate::search::Simulation;
use crate::simulation::Trace;

/// The simulation, for a search.
pub struct Operations;

impl Simulation for Operations {
    type Coverage = Coverage;
    const KNOWN: &'static str = include_str!("seeds.txt");
    const REPLAY: &'static str = "replay-operator";

    fn options(seed: u64) -> String {
        Options::draw(seed).0.to_string()
    }

    fn go(seed: u64, steps_max: Option<u64>, trace: Trace, step: &Cell<u64>) -> anyhow::Result<Coverage> {
        let (options, rng) = Options::draw(seed);
        let mut world = World::new(options, rng, trace);
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

    fn doubt(_: &Coverage) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Coverage, Happening, Operations};
    use crate::search::run;
    use crate::simulation::Trace;

    fn traced(seed: u64) -> (Coverage, Vec<String>) {
        let trace = Trace::Kept(std::rc::Rc::default());
        let coverage =
            run::<Operations>(seed, None, trace.clone()).unwrap_or_else(|failure| panic!("{failure:?}"));
        (coverage, trace.lines())
    }

    /// I1-I10 over whole lives: `make sim-operator` searches more.
    #[test]
    fn seeds_hold() {
        for seed in 1..=40 {
            if let Err(failure) = run::<Operations>(seed, None, Trace::Off) {
                panic!("{failure:?}: make replay-operator SEED={seed} TRACE=1");
            }
        }
    }

    /// Without this, a failure's replay command would show another run.
    #[test]
    fn a_seed_gives_the_same_trace_twice_byte_for_byte() {
        for seed in 1..4 {
            let (coverage, lines) = traced(seed);
            let (coverage_again, lines_again) = traced(seed);
            assert!(coverage.count(Happening::Round) > 20, "seed {seed}: the operator does next to nothing");
            let differs = lines.iter().zip(&lines_again).position(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}: the traces part here");
            assert_eq!(lines.len(), lines_again.len());
            assert_eq!(coverage, coverage_again);
        }
    }

    /// The trace only tells: a run that is not told goes the same way.
    #[test]
    fn a_run_goes_the_same_way_whether_it_is_traced_or_not() {
        let untold = run::<Operations>(5, None, Trace::Off).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(untold, traced(5).0);
    }
}
