//! Searching seeds of a simulation for a broken invariant, and replaying one.
//!
//! Exit code 0: nothing broke. 1: something did; the last two lines say what, and how to replay it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use crate::simulation::Trace;

/// How often a long search says that it lives.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How many lines before a failure are told.
const LINES_TOLD: usize = 60;

/// A simulation of which one seed is one run.
pub trait Simulation {
    /// What its runs are counted in.
    type Coverage: Default + std::fmt::Display + Send;
    /// Seeds that once found a bug, one a line; each is run before any new one.
    const KNOWN: &'static str;
    /// The verb that replays one.
    const REPLAY: &'static str;

    /// What a seed draws, in words.
    fn options(seed: u64) -> String;
    /// Runs a seed, up to `steps_max` events if given, and says in `step` how far it is.
    fn go(
        seed: u64,
        steps_max: Option<u64>,
        trace: Trace,
        step: &Cell<u64>,
    ) -> anyhow::Result<Self::Coverage>;
    /// Adds the counts of one run to those of others.
    fn add(sum: &mut Self::Coverage, run: &Self::Coverage);
    /// How many events those were.
    fn events(coverage: &Self::Coverage) -> u64;
    /// What `--strict` calls a failure beside broken invariants.
    fn doubt(coverage: &Self::Coverage) -> Option<String>;
}

/// A run that broke an invariant.
#[derive(Debug)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// The event at which it broke.
    pub step: u64,
    /// What broke.
    pub what: String,
}

/// Runs one seed, up to `steps_max` events if given.
pub fn run<S: Simulation>(seed: u64, steps_max: Option<u64>, trace: Trace) -> Result<S::Coverage, Failure> {
    let step = Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| S::go(seed, steps_max, trace, &step)));
    let what = match result {
        Ok(Ok(coverage)) => return Ok(coverage),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => format!("assertion: {}", words_of(&*panic)),
    };
    // One line: it is the last but one that is printed.
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Failure { seed, step: step.get(), what })
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

impl Failure {
    /// The newest lines of the trace up to the failure, from running it again.
    pub fn newest_lines<S: Simulation>(&self) -> Vec<String> {
        let trace = Trace::Kept(std::rc::Rc::default());
        drop(run::<S>(self.seed, Some(self.step), trace.clone()));
        let lines = trace.lines();
        lines[lines.len().saturating_sub(LINES_TOLD)..].to_vec()
    }
}

/// Searches seeds for a broken invariant, or replays one.
#[derive(Parser)]
struct Arguments {
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Stop after this many events.
    #[arg(long, requires = "seed")]
    steps: Option<u64>,
    /// Print every event.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Search this many new seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Search for this long instead.
    #[arg(long, conflicts_with = "seeds")]
    seconds: Option<u64>,
    /// The first new seed; without it one is taken from the clock.
    #[arg(long)]
    from: Option<u64>,
    /// Go on after a failure, and count the seeds that failed.
    #[arg(long)]
    keep_going: bool,
    /// A run that could not be judged is a failure too.
    #[arg(long)]
    strict: bool,
}

/// The whole program.
pub fn main<S: Simulation>() -> ExitCode {
    let arguments = Arguments::parse();
    // What an assertion says is part of the failure; a backtrace is had by replaying.
    if !arguments.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    match arguments.seed {
        Some(seed) => replay::<S>(seed, &arguments),
        None => search::<S>(&arguments),
    }
}

fn replay<S: Simulation>(seed: u64, arguments: &Arguments) -> ExitCode {
    println!("{}", S::options(seed));
    let trace = if arguments.trace { Trace::Printed } else { Trace::Off };
    match run::<S>(seed, arguments.steps, trace) {
        Ok(coverage) => {
            println!("seed {seed} is clean:\n{coverage}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tell::<S>(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Searches on all cores, each seed on one of them: what a seed does depends on nothing else.
fn search<S: Simulation>(arguments: &Arguments) -> ExitCode {
    let from = arguments.from.unwrap_or_else(from_clock);
    let seeds = Seeds::new::<S>(from, arguments);
    let mut found = Found::<S>::default();
    let searchers = std::thread::available_parallelism().map_or(1, usize::from);
    let (ended, results) = std::sync::mpsc::sync_channel(searchers);
    let first_failure = std::thread::scope(|scope| {
        for _ in 0..searchers {
            let (ended, seeds) = (ended.clone(), &seeds);
            scope.spawn(move || {
                while let Some(seed) = seeds.next() {
                    let result = run::<S>(seed, None, Trace::Off);
                    let result = result.and_then(|coverage| strictly::<S>(seed, coverage, arguments));
                    // Nobody listens any more once one has failed.
                    if ended.send(result).is_err() {
                        break;
                    }
                }
            });
        }
        drop(ended);
        found.collect(results, arguments.keep_going)
    });
    if let Some(failure) = first_failure {
        println!("{}", S::options(failure.seed));
        for line in failure.newest_lines::<S>() {
            println!("{line}");
        }
        tell::<S>(&failure);
        return ExitCode::FAILURE;
    }
    println!("{}", found.sum);
    let Found { runs, failed, sum, started, .. } = &found;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{runs} seeds ({} known, new ones from {from}), {failed} failed, {seconds:.0} s on {searchers} cores, {:.0} events a second",
        seeds.known.len(),
        f64::from(u32::try_from(S::events(sum)).unwrap_or(u32::MAX)) / seconds,
    );
    if *failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seeds of a search, taken by whoever is free: the known ones, then new ones.
struct Seeds {
    known: Vec<u64>,
    from: u64,
    taken: AtomicU64,
    /// How many new ones, unless the time is what ends it.
    new: u64,
    until: Option<Instant>,
}

impl Seeds {
    fn new<S: Simulation>(from: u64, arguments: &Arguments) -> Self {
        let words = S::KNOWN.lines().filter_map(|line| line.split_whitespace().next());
        Self {
            known: words.filter_map(|word| word.parse().ok()).collect(),
            from,
            taken: AtomicU64::new(0),
            new: if arguments.seconds.is_some() { u64::MAX } else { arguments.seeds },
            until: arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        }
    }

    fn next(&self) -> Option<u64> {
        let place = self.taken.fetch_add(1, Ordering::Relaxed);
        let known = self.known.len() as u64;
        if let Some(seed) = usize::try_from(place).ok().and_then(|place| self.known.get(place)) {
            return Some(*seed);
        }
        let over = place - known >= self.new || self.until.is_some_and(|until| Instant::now() >= until);
        (!over).then(|| self.from.wrapping_add(place - known))
    }
}

/// What a search has seen so far.
struct Found<S: Simulation> {
    runs: u64,
    failed: u64,
    sum: S::Coverage,
    started: Instant,
    said: Instant,
}

impl<S: Simulation> Default for Found<S> {
    fn default() -> Self {
        let now = Instant::now();
        Self { runs: 0, failed: 0, sum: S::Coverage::default(), started: now, said: now }
    }
}

impl<S: Simulation> Found<S> {
    /// Counts what ends until nothing more does; the first failure, unless the search goes on after one.
    fn collect(
        &mut self,
        results: Receiver<Result<S::Coverage, Failure>>,
        keep_going: bool,
    ) -> Option<Failure> {
        for result in results {
            match result {
                Ok(coverage) => S::add(&mut self.sum, &coverage),
                Err(failure) if keep_going => {
                    self.failed += 1;
                    println!("seed {}, step {}: {}", failure.seed, failure.step, failure.what);
                }
                Err(failure) => return Some(failure),
            }
            self.runs += 1;
            if self.said.elapsed() > PROGRESS_EVERY {
                self.said = Instant::now();
                let seconds = self.started.elapsed().as_secs_f32();
                println!("{} seeds, {} failed, in {seconds:.0} s", self.runs, self.failed);
            }
        }
        None
    }
}

fn strictly<S: Simulation>(
    seed: u64,
    coverage: S::Coverage,
    arguments: &Arguments,
) -> Result<S::Coverage, Failure> {
    match S::doubt(&coverage).filter(|_| arguments.strict) {
        Some(what) => Err(Failure { seed, step: S::events(&coverage), what }),
        None => Ok(coverage),
    }
}

/// The last two lines: what broke, and how to see it again.
fn tell<S: Simulation>(failure: &Failure) {
    let Failure { seed, step, what } = failure;
    println!("seed {seed}, step {step}, commit {}: {what}", commit());
    println!("replay: make {} SEED={seed} STEPS={step}", S::REPLAY);
}

/// The commit this was built from, as far as git knows.
fn commit() -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let text = described.ok().filter(|output| output.status.success());
    let text = text.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn from_clock() -> u64 {
    // Before 1970 the search begins at seed 0: a broken clock is no reason not to search.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
