//! `make measure`: what the sidecar and the operator cost while nothing happens, on the bed, in the shipped profile.
//!
//! Prints resident memory and CPU of each process over the window, and how often the cluster's status was written
//! in it. The floors: sidecar 15 MB and 0.5 % of a core, operator 40 MiB, no status write at all.

use std::fs;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quorate_suite::bed::{bed, bed_output, up};
use quorate_suite::command::{ended, repository, say};
use quorate_suite::images;

/// How long is looked at; `make measure MINUTES=2` looks shorter.
const MINUTES: u64 = 10;
/// After Ready, before the window: elections, image clean-up and start-up allocations are over.
const SETTLE: Duration = Duration::from_mins(1);
/// Clock ticks of `/proc/PID/stat` per second; fixed in Linux's user interface.
const TICKS_PER_SECOND: f64 = 100.0;
/// Reads the whole object, so that any write to it shows.
const VERSION: [&str; 6] =
    ["kubectl", "get", "raftcluster", "measured", "-o", "jsonpath={.metadata.resourceVersion}"];

/// One process of ours on this machine.
struct Sample {
    pid: String,
    name: String,
    rss_kib: u64,
    ticks: u64,
}

fn main() -> ExitCode {
    let minutes = match std::env::args().nth(1).map(|text| text.parse()) {
        None => MINUTES,
        Some(Ok(minutes)) if minutes > 0 => minutes,
        Some(_) => {
            eprintln!(
                "measure: MINUTES must be a whole number of at least 1: `make measure MINUTES={MINUTES}`"
            );
            return ExitCode::from(64);
        }
    };
    ended("measure", measure(minutes))
}

fn measure(minutes: u64) -> Result<()> {
    up()?;
    images::load("release")?;
    images::install_chart()?;
    let manifest = repository().join("target/measured.yaml");
    fs::write(
        &manifest,
        "apiVersion: quorate.dev/v1alpha1\nkind: RaftCluster\nmetadata: {name: measured}\nspec: {replicas: 3}\n",
    )?;
    bed(&["kubectl", "apply", "-f", &manifest.to_string_lossy()])?;
    bed(&["kubectl", "wait", "--for=condition=Ready", "raftcluster/measured", "--timeout=300s"])?;
    say(&format!("settle for {} s, then {minutes} minutes of nothing", SETTLE.as_secs()));
    sleep(SETTLE);
    let (before, version, started) = (samples()?, bed_output(&VERSION)?, Instant::now());
    sleep(Duration::from_secs(minutes * 60));
    let (after, version_after, window) = (samples()?, bed_output(&VERSION)?, started.elapsed());
    println!("{:<18} {:>8} {:>10} {:>12}", "process", "pid", "RSS MB", "CPU % core");
    for end in &after {
        let Some(start) = before.iter().find(|start| start.pid == end.pid) else { continue };
        let ticks = u32::try_from(end.ticks - start.ticks).unwrap_or(u32::MAX);
        let percent = f64::from(ticks) / TICKS_PER_SECOND / window.as_secs_f64() * 100.0;
        let rss = f64::from(u32::try_from(end.rss_kib).unwrap_or(u32::MAX)) * 1024.0 / 1e6;
        println!("{:<18} {:>8} {rss:>10.1} {percent:>12.2}", end.name, end.pid);
    }
    let writes = if version == version_after { "none" } else { "at least one" };
    println!("writes to the resource in {:.0} s: {writes}", window.as_secs_f64());
    bed(&["kubectl", "delete", "raftcluster", "measured"])
}

/// The bed's Pods are processes of this machine, so `/proc` knows them.
fn samples() -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let folder = entry?.path();
        let pid = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A process may end while it is looked at: then it is not among the samples.
        let Ok(name) = fs::read_to_string(folder.join("comm")) else { continue };
        let name = name.trim().to_owned();
        if !name.starts_with("quorate-") {
            continue;
        }
        let (Ok(status), Ok(stat)) =
            (fs::read_to_string(folder.join("status")), fs::read_to_string(folder.join("stat")))
        else {
            continue;
        };
        let rss_kib = number(&status, "VmRSS:");
        // Behind the parenthesised name: state is field 3; user and system time are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |at: usize| fields.get(at - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        samples.push(Sample { pid, name, rss_kib, ticks: field(14) + field(15) });
    }
    Ok(samples)
}

fn number(text: &str, label: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
