//! One measurement: a cluster made from nothing, filled, warmed up, loaded with one shape, and ended.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate_suite::usage::Sample;
use serde::{Deserialize, Serialize};

use crate::gaps::gaps;
use crate::histogram::{Latencies, Quantiles};
use crate::load::{Tally, drive, fill};
use crate::restarts::restarts;
use crate::shape::{Operation, Shape};
use crate::spread::grouped;
use crate::system::{Material, System, callers, signal};

/// How long is looked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spans {
    /// Under the same load before, unmeasured.
    pub(crate) warm_up_seconds: u64,
    /// Measured.
    pub(crate) window_seconds: u64,
    /// How often the leader is lost or a member killed, where that is what is measured.
    pub(crate) losses: u32,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) shape: String,
    pub(crate) system: String,
    pub(crate) round: u32,
    pub(crate) answered: u64,
    pub(crate) per_second: f64,
    pub(crate) latency_ms: Quantiles,
    pub(crate) failed: u64,
    /// Due at a fixed rate, and never made.
    pub(crate) given_up: u64,
    /// What the first failure said.
    pub(crate) failure: Option<String>,
    pub(crate) cpu: Cpu,
    /// Of one core, over the window: the leader, and the busiest of the others.
    pub(crate) leader_cpu_percent: f64,
    pub(crate) follower_cpu_percent: f64,
    /// When the window ended.
    pub(crate) leader_rss_mb: f64,
    /// Another member led in the end.
    pub(crate) leadership_moved: bool,
}

impl Measurement {
    /// Of what took time again and again: it stands where latencies do, and nothing else was measured.
    fn of_times((system, round): (&'static str, u32), shape: &Shape, times: &Latencies) -> Self {
        Self {
            shape: shape.name.to_owned(),
            system: system.to_owned(),
            round,
            answered: times.count(),
            per_second: 0.0,
            latency_ms: times.quantiles(),
            failed: 0,
            given_up: 0,
            failure: None,
            cpu: Cpu { leader: 0.0, all_members: 0.0, client: 0.0 },
            leader_cpu_percent: 0.0,
            follower_cpu_percent: 0.0,
            leader_rss_mb: 0.0,
            leadership_moved: false,
        }
    }

    /// The outcome in a line.
    pub(crate) fn told(&self, shape: &Shape) -> String {
        let Quantiles { p50, p99, max, .. } = self.latency_ms;
        match shape.operation {
            Operation::Idle => format!("leader {:.2} % of a core", self.leader_cpu_percent),
            Operation::Lose(_) | Operation::Restart => {
                format!("{} times, {p50:.0} ms (median), at most {max:.0} ms", self.answered)
            }
            _ => format!("{:>9} calls/s  p50 {p50:>7.2} ms  p99 {p99:>7.2} ms", grouped(self.per_second, 0)),
        }
    }
}

/// CPU, in microseconds per call that was answered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) leader: f64,
    pub(crate) all_members: f64,
    pub(crate) client: f64,
}

/// Measures a shape on a system.
pub(crate) async fn measure<S: System>(
    (name, round): (&'static str, u32),
    material: &Material,
    shape: &Shape,
    spans: Spans,
) -> Result<Measurement> {
    let mut system = S::form(material, shape.members).await?;
    let leader = system.leader().await?;
    let callers = fill(callers(&system, shape, leader).await?, shape).await?;
    let took = match shape.operation {
        Operation::Lose(loss) => gaps(&mut system, shape, (loss, spans.losses), callers).await?,
        Operation::Restart => restarts(&mut system, shape, spans.losses).await?,
        _ => return loaded((name, round), &system, shape, spans, (leader, callers)).await,
    };
    Ok(Measurement::of_times((name, round), shape, &took))
}

/// Measures under a shape's load.
async fn loaded<S: System>(
    (name, round): (&'static str, u32),
    system: &S,
    shape: &Shape,
    spans: Spans,
    (leader, callers): (usize, Vec<S::Caller>),
) -> Result<Measurement> {
    let (callers, _) = drive(callers, shape, Duration::from_secs(spans.warm_up_seconds)).await?;
    let follower = (leader + 1) % shape.members;
    if shape.is_follower_stopped {
        signal(system, follower, "STOP")?;
    }
    let before = looked(system)?;
    let (_, tally) = drive(callers, shape, Duration::from_secs(spans.window_seconds)).await?;
    let after = looked(system)?;
    if shape.is_follower_stopped {
        signal(system, follower, "CONT")?;
        system.whole().await?;
    }
    let leadership_moved = system.leader().await.ok() != Some(leader);
    let used = |at: usize| after[at].cpu_seconds() - before[at].cpu_seconds();
    let per_call = |seconds: f64| seconds * 1e6 / count(tally.latencies.count().max(1));
    let percent = |at: usize| used(at) * 100.0 / tally.lasted.as_secs_f64();
    let members = after.len() - 1;
    let cpu = Cpu {
        leader: per_call(used(leader)),
        all_members: per_call((0..members).map(used).sum()),
        client: per_call(used(members)),
    };
    Ok(Measurement {
        shape: shape.name.to_owned(),
        system: name.to_owned(),
        round,
        answered: tally.latencies.count(),
        per_second: per_second(&tally),
        latency_ms: tally.latencies.quantiles(),
        failed: tally.failed,
        given_up: tally.given_up,
        failure: tally.failure,
        cpu,
        leader_cpu_percent: percent(leader),
        follower_cpu_percent: (0..members).filter(|at| *at != leader).map(percent).fold(0.0, f64::max),
        leader_rss_mb: after[leader].rss_mb(),
        leadership_moved,
    })
}

/// The members in their order, and this process behind them.
fn looked<S: System>(system: &S) -> Result<Vec<Sample>> {
    let processes = system.processes().into_iter().chain([std::process::id()]);
    let samples: Option<Vec<_>> = processes.map(Sample::of).collect();
    let samples = samples.context("a member ended by itself")?;
    if samples.iter().any(|sample| sample.rss_mb() <= 0.0) {
        bail!("a member ended by itself");
    }
    Ok(samples)
}

fn per_second(tally: &Tally) -> f64 {
    count(tally.latencies.count()) / tally.lasted.as_secs_f64()
}

fn count(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
