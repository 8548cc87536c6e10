//! `sim`: searches seeds for a broken invariant, or replays one.
//!
//! Exit code 0: nothing broke. 1: something did; the last two lines say what, and how to replay it.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use quorate_tests::simulation::{self, Coverage, Failure, Happening, Options, Trace};

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
    /// Go on after a failure, and count the seeds that failed.
    #[arg(long)]
    keep_going: bool,
    /// A history that is too hard for the checker is a failure too.
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What an assertion says is part of the failure; a backtrace is had by replaying.
    if !arguments.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => search(&arguments),
    }
}

fn replay(seed: u64, arguments: &Arguments) -> ExitCode {
    println!("{}", Options::draw(seed).0);
    let trace = if arguments.trace { Trace::Printed } else { Trace::Off };
    match simulation::run(seed, arguments.steps, trace) {
        Ok(coverage) => {
            println!("seed {seed} is clean:\n{coverage}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tell(&failure);
            ExitCode::FAILURE
        }
    }
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
    let (mut runs, mut failed, mut sum, mut said) = (0, 0_u64, Coverage::default(), Instant::now());
    let mut seeds = known.iter().copied().chain(from..);
    while runs < known.len() as u64 || !is_over(runs - known.len() as u64) {
        let Some(seed) = seeds.next() else { break };
        match simulation::run(seed, None, Trace::Off).and_then(|coverage| strictly(seed, coverage, arguments))
        {
            Ok(coverage) => sum.take(&coverage),
            Err(failure) if arguments.keep_going => {
                failed += 1;
                println!("seed {seed}, step {}: {}", failure.step, failure.what);
            }
            Err(failure) => {
                println!("{}", Options::draw(seed).0);
                for line in failure.newest_lines() {
                    println!("{line}");
                }
                tell(&failure);
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            println!("{runs} seeds, {failed} failed, in {:.0} s", started.elapsed().as_secs_f32());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{sum}");
    println!(
        "{runs} seeds ({} known, new ones from {from}), {failed} failed, {seconds:.0} s, {:.0} events a second",
        known.len(),
        f64::from(u32::try_from(sum.count(Happening::Event)).unwrap_or(u32::MAX)) / seconds,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn strictly(seed: u64, coverage: Coverage, arguments: &Arguments) -> Result<Coverage, Failure> {
    if arguments.strict && coverage.count(Happening::GaveUp) > 0 {
        let what = "linearizability: the checker gave up on a key".to_owned();
        return Err(Failure { seed, step: coverage.count(Happening::Event), what });
    }
    Ok(coverage)
}

/// The last two lines: what broke, and how to see it again.
fn tell(failure: &Failure) {
    let Failure { seed, step, what } = failure;
    println!("seed {seed}, step {step}, commit {}: {what}", commit());
    println!("replay: make replay SEED={seed} STEPS={step}");
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
