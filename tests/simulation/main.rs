//! `sim`: searches seeds for a broken invariant, or replays one.
//!
//! Exit code 0: nothing broke. 1: something did; the last two lines say what, and how to replay it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use quorate_tests::simulation::{self, Report};

/// Seeds that once found a bug; each is run before any new one.
const KNOWN: &str = include_str!("seeds.txt");
/// How often a long search says that it lives.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return match attempt(seed, arguments.steps, arguments.trace) {
            Some(report) => {
                println!("seed {seed} is clean: {report:?}");
                ExitCode::SUCCESS
            }
            None => ExitCode::FAILURE,
        };
    }
    search(&arguments)
}

fn search(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let from = arguments.from.unwrap_or_else(from_clock);
    let is_over = |searched: u64| match arguments.seconds {
        Some(seconds) => started.elapsed() >= Duration::from_secs(seconds),
        None => searched >= arguments.seeds,
    };
    let known: Vec<u64> =
        KNOWN.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let (mut runs, mut sum, mut said) = (0, Report::default(), Instant::now());
    let mut seeds = known.iter().copied().chain(from..);
    while runs < known.len() as u64 || !is_over(runs - known.len() as u64) {
        let Some(seed) = seeds.next() else { break };
        let Some(report) = attempt(seed, None, false) else { return ExitCode::FAILURE };
        runs += 1;
        add(&mut sum, &report);
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            println!("{runs} seeds clean in {:.0} s", started.elapsed().as_secs_f32());
        }
    }
    println!(
        "{runs} seeds clean in {:.0} s ({} known, new ones from {from}): {} events, {} terms with a leader, {} entries \
         committed, {} writes acknowledged, {} reads, {} crashes, {} changes, {} snapshots installed",
        started.elapsed().as_secs_f32(),
        known.len(),
        sum.steps,
        sum.elections,
        sum.committed,
        sum.acknowledged,
        sum.reads,
        sum.crashes,
        sum.changes,
        sum.snapshots,
    );
    ExitCode::SUCCESS
}

/// Runs a seed; a broken invariant or a failed assertion is printed with the command that replays it.
fn attempt(seed: u64, steps: Option<u64>, trace: bool) -> Option<Report> {
    match catch_unwind(AssertUnwindSafe(|| simulation::run(seed, steps, trace))) {
        Ok(Ok(report)) => Some(report),
        Ok(Err(failure)) => {
            println!("{failure}");
            None
        }
        Err(_) => {
            println!("seed {seed}: an assertion failed (above)\nreplay: make replay SEED={seed} TRACE=1");
            None
        }
    }
}

fn add(sum: &mut Report, report: &Report) {
    sum.steps += report.steps;
    sum.elections += report.elections;
    sum.committed += report.committed;
    sum.acknowledged += report.acknowledged;
    sum.reads += report.reads;
    sum.crashes += report.crashes;
    sum.changes += report.changes;
    sum.snapshots += report.snapshots;
}

fn from_clock() -> u64 {
    // Before 1970 the search begins at seed 0: a broken clock is no reason not to search.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
