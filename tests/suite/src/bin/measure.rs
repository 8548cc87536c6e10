//! `make measure`: what the sidecar and the operator cost while nothing happens, in the shipped profile.
//!
//! First three sidecars as plain processes on loopback, for which the floors were set: 15 MB and 0.5 % of a core each.
//! Then the same cluster on the bed, with its virtual network, and the operator (40 MiB): there also how often the
//! cluster's status was written, which is never. Each value is printed beside its floor.

use std::fs;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use quorate_suite::bed::{bed, bed_output, up};
use quorate_suite::command::{ended, repository, say};
use quorate_suite::loopback::{Loopback, Member};
use quorate_suite::usage::{Sample, Use, Window};
use quorate_suite::{binaries, images};

/// How long is looked at on loopback; `make measure MINUTES=1` looks shorter.
const LOOPBACK_MINUTES: u64 = 2;
/// How long on the bed, so that a rare write of status shows.
const BED_MINUTES: u64 = 10;
/// After Ready, before the window: elections, image clean-up and start-up allocations are over.
const SETTLE: Duration = Duration::from_mins(1);
/// Reads the whole object, so that any write to it shows.
const VERSION: [&str; 6] =
    ["kubectl", "get", "raftcluster", "measured", "-o", "jsonpath={.metadata.resourceVersion}"];

/// What to measure.
#[derive(Default)]
struct Wanted {
    minutes: Option<u64>,
    /// One part alone.
    only: Option<String>,
}

fn main() -> ExitCode {
    let Some(wanted) = wanted() else {
        eprintln!("measure: MINUTES is a whole number of at least 1, ONLY is loopback or bed");
        return ExitCode::from(64);
    };
    ended("measure", measure(&wanted))
}

fn wanted() -> Option<Wanted> {
    let mut wanted = Wanted::default();
    for word in std::env::args().skip(1) {
        if ["loopback", "bed"].contains(&word.as_str()) {
            wanted.only = Some(word);
        } else {
            wanted.minutes = Some(word.parse().ok().filter(|minutes| *minutes > 0)?);
        }
    }
    Some(wanted)
}

fn measure(wanted: &Wanted) -> Result<()> {
    let is_wanted = |part| wanted.only.as_deref().is_none_or(|only| only == part);
    if is_wanted("loopback") {
        on_loopback(wanted.minutes.unwrap_or(LOOPBACK_MINUTES))?;
    }
    if is_wanted("bed") {
        on_bed(wanted.minutes.unwrap_or(BED_MINUTES))?;
    }
    Ok(())
}

fn on_loopback(minutes: u64) -> Result<()> {
    binaries::build("bed")?;
    binaries::build("release")?;
    say("three sidecars as plain processes on loopback");
    let (mut loopback, members) = Loopback::form("release")?;
    let samples = || members.iter().filter_map(|member| Sample::of(member.pid)).collect::<Vec<_>>();
    settle(minutes);
    let window = Window::open(samples());
    sleep(Duration::from_secs(minutes * 60));
    let uses = window.uses(&samples());
    let after = loopback.members()?;
    if uses.len() < members.len() {
        bail!("a member could not be looked at all the time");
    }
    println!("{}", Use::heading());
    for used in &uses {
        let is_it = |member: &&Member| member.pid == used.pid;
        println!("{used}{}", after.iter().find(is_it).map(shown).unwrap_or_default());
    }
    if members != after {
        println!(
            "Leadership moved since the cluster was formed: the rows are no leader's and no follower's."
        );
    }
    Ok(())
}

fn shown(member: &Member) -> String {
    format!("  {} {}", member.name, if member.leads { "leads" } else { "follows" })
}

/// Start-up is waited for, so that the window sees none of it.
fn settle(minutes: u64) {
    say(&format!("settle for {} s, then {minutes} minutes of nothing", SETTLE.as_secs()));
    sleep(SETTLE);
}

fn on_bed(minutes: u64) -> Result<()> {
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
    settle(minutes);
    let (window, version) = (Window::open(Sample::of_ours()?), bed_output(&VERSION)?);
    sleep(Duration::from_secs(minutes * 60));
    let (uses, version_after) = (window.uses(&Sample::of_ours()?), bed_output(&VERSION)?);
    println!("{}", Use::heading());
    for used in uses {
        println!("{used}");
    }
    let writes = if version == version_after { "none" } else { "at least one" };
    println!("writes to the resource in {:.0} s: {writes}", window.length().as_secs_f64());
    bed(&["kubectl", "delete", "raftcluster", "measured"])
}
