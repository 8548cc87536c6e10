//! `make bench`: ours beside etcd, the members real processes on loopback, under one load generator.
//!
//! | part | what it is |
//! |---|---|
//! | `shape` | what is measured |
//! | `call`, `load`, `pace`, `histogram` | the load generator: closed loops, and open ones that count from when a call was due |
//! | `system`, `ours`, `etcd` | the two clusters and their clients |
//! | `gaps`, `restarts` | how long no write is answered when the leader is lost; how long a start takes |
//! | `disk`, `machine` | what both stand on |
//! | `measurement`, `spread`, `report`, `picture` | one measurement; several; all of them, in words and drawn |
//!
//! Each measurement has a cluster of its own, made from nothing, so that files are of the same age and nothing of one
//! system is at work while the other is measured. They follow each other closely, ours, etcd, ours, etcd: machines drift,
//! and only ratios within a round mean anything. `docs/performance.md` says how to read the result.

mod call;
mod disk;
mod etcd;
mod gaps;
mod histogram;
mod load;
mod machine;
mod measurement;
mod ours;
mod pace;
mod picture;
mod report;
mod restarts;
mod shape;
mod spread;
mod system;

use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use quorate_suite::command::ended;
use quorate_suite::{bed, binaries};
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::Machine;
use crate::measurement::{Measurement, Spans, measure};
use crate::report::{ETCD, OURS, Report};
use crate::shape::{Operation, Shape};
use crate::system::Material;

/// How long the disk is looked at before each pair of measurements.
const DISK_LASTS: Duration = Duration::from_secs(2);
/// What forming and filling a cluster takes, about; for the estimate at the start.
const FORMING_SECONDS: u64 = 5;

/// Ours beside etcd under one load.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// How often each shape is measured on each system.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load before each window.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    warm_up: u64,
    /// Seconds measured; with less than 60 flushes and compaction may fall outside.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    window: u64,
    /// How often the leader is lost, or a member killed, in each measurement of how long that takes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    losses: u32,
    /// Only these shapes, by their names with commas between them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The sidecar; without it one is built with the shipped profile.
    #[arg(long)]
    sidecar: Option<PathBuf>,
    /// etcd; without it the test bed's.
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// Measures nothing, and makes the report of an earlier run's `report.json` again.
    #[arg(long, value_name = "FILE")]
    again: Option<PathBuf>,
    /// Where data and the report go: its disk is what is measured.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.again {
        Some(file) => again(file, &options),
        None => Bench::prepare(&options).and_then(|bench| run(bench, &options)),
    };
    ended("bench", done)
}

fn again(file: &Path, options: &Options) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let report = serde_json::from_slice(&text).with_context(|| format!("{} is no report", file.display()))?;
    write(&report, &directory(options)?)
}

fn run(bench: Bench, options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            done = bench.run(options) => done,
            // What is dropped by this ends its processes and removes its files.
            _ = tokio::signal::ctrl_c() => bail!("interrupted: there is no report"),
            _ = terminated.recv() => bail!("terminated: there is no report"),
        }
    })
}

/// One run.
struct Bench {
    shapes: Vec<Shape>,
    directory: PathBuf,
    ours: Material,
    etcd: Material,
    report: Report,
}

impl Bench {
    /// Finds or builds what is needed.
    fn prepare(options: &Options) -> Result<Self> {
        let shapes = shape::named(&options.only).map_err(|error| anyhow!(error))?;
        // First, since it is the one that can be missing.
        let etcd = absolute(&options.etcd.clone().map_or_else(|| bed::program("etcd"), Ok)?)?;
        let sidecar = absolute(&options.sidecar.clone().map_or_else(shipped, Ok)?)?;
        let directory = directory(options)?;
        let report = Report {
            machine: Machine::look(&sidecar, &etcd, &directory)?,
            spans: Spans {
                warm_up_seconds: options.warm_up,
                window_seconds: options.window,
                losses: options.losses,
            },
            rounds: options.rounds,
            disk_ms: Vec::new(),
            measurements: Vec::new(),
        };
        let material = |program| Material { program, directory: directory.clone() };
        Ok(Self { shapes, ours: material(sidecar), etcd: material(etcd), directory, report })
    }

    async fn run(mut self, options: &Options) -> Result<()> {
        announce(options, &self.shapes);
        for round in 1..=options.rounds {
            for shape in &self.shapes {
                let place = self.directory.clone();
                let disk = tokio::task::spawn_blocking(move || disk::syncs(&place, DISK_LASTS)).await??;
                self.report.disk_ms.push(disk);
                let spans = self.report.spans;
                begins(OURS, round, shape);
                let measured = measure::<ours::Ours>((OURS, round), &self.ours, shape, spans).await;
                self.report.measurements.push(told(measured, OURS, shape)?);
                begins(ETCD, round, shape);
                let measured = measure::<etcd::Etcd>((ETCD, round), &self.etcd, shape, spans).await;
                self.report.measurements.push(told(measured, ETCD, shape)?);
            }
        }
        write(&self.report, &self.directory)
    }
}

/// Where data and the report go.
fn directory(options: &Options) -> Result<PathBuf> {
    let directory = options.directory.clone().unwrap_or_else(|| binaries::target().join("bench"));
    let directory = absolute(&directory)?;
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    Ok(directory)
}

/// The sidecar as it is shipped.
fn shipped() -> Result<PathBuf> {
    binaries::build("release")?;
    Ok(binaries::target().join("release/quorate-sidecar"))
}

fn announce(options: &Options, shapes: &[Shape]) {
    let one = |shape: &Shape| match shape.operation {
        Operation::Lose(_) => u64::from(options.losses) * gaps::LOSS_SECONDS,
        Operation::Restart => u64::from(options.losses) * restarts::RESTART_SECONDS,
        _ => options.warm_up + options.window,
    };
    let both = |shape| 2 * (FORMING_SECONDS + one(shape)) + DISK_LASTS.as_secs();
    let seconds = u64::from(options.rounds) * shapes.iter().map(both).sum::<u64>();
    let measurements = 2 * shapes.len() * options.rounds as usize;
    eprintln!("{measurements} measurements, about {} minutes", seconds.div_ceil(60));
}

fn begins(system: &str, round: u32, shape: &Shape) {
    eprintln!("round {round}  {:<24}  {system}", shape.name);
}

/// What came of it.
fn told(measured: Result<Measurement>, system: &str, shape: &Shape) -> Result<Measurement> {
    let measured = measured.with_context(|| format!("{} on {system}", shape.name))?;
    eprintln!("         {}", measured.told(shape));
    Ok(measured)
}

fn write(report: &Report, directory: &Path) -> Result<()> {
    let (markdown, json) = (directory.join("report.md"), directory.join("report.json"));
    let text = report.markdown();
    if let Some(picture) = picture::picture(report) {
        let path = directory.join("report.svg");
        fs::write(&path, picture).with_context(|| format!("writing {}", path.display()))?;
    }
    fs::write(&markdown, &text).with_context(|| format!("writing {}", markdown.display()))?;
    fs::write(&json, serde_json::to_vec_pretty(report)?)
        .with_context(|| format!("writing {}", json.display()))?;
    println!("\n{text}");
    eprintln!("written to {}, with report.json and report.svg beside it", markdown.display());
    Ok(())
}
