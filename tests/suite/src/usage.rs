//! What processes of this machine use, from `/proc`: resident memory, and CPU over a window, beside their floors.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Clock ticks of `/proc/PID/stat` per second; fixed in Linux's user interface.
const TICKS_PER_SECOND: f64 = 100.0;
/// How our processes' names begin.
const OURS: &str = "quorate-";
/// The floors, by how a process's name begins: the kernel keeps its first 15 characters.
const FLOORS: [(&str, Floor); 2] = [
    ("quorate-sidecar", Floor { rss_mb: 15.0, cpu_percent: Some(0.5) }),
    ("quorate-operat", Floor { rss_mb: 41.9, cpu_percent: None }), // 40 MiB
];

/// What a process of ours may use while nothing happens.
#[derive(Clone, Copy)]
struct Floor {
    rss_mb: f64,
    cpu_percent: Option<f64>,
}

/// What a process used up to a moment.
pub struct Sample {
    /// Its number.
    pub pid: u32,
    name: String,
    rss_kib: u64,
    ticks: u64,
}

impl Sample {
    /// Looks at a process. It may be gone, or end while it is looked at: then there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let text = |file| fs::read_to_string(folder.join(file)).ok();
        let name = text("comm")?.trim().to_owned();
        let status = text("status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let stat = text("stat")?;
        // Behind the parenthesised name: state is field 3; user and system time are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let field = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        let rss_kib = rss.split_whitespace().next()?.parse().ok()?;
        Some(Self { pid, name, rss_kib, ticks: field(14)? + field(15)? })
    }

    /// What it had used of the CPU by then, from its start.
    pub fn cpu_seconds(&self) -> f64 {
        number(self.ticks) / TICKS_PER_SECOND
    }

    /// Its resident memory, in megabytes.
    pub fn rss_mb(&self) -> f64 {
        number(self.rss_kib) * 1024.0 / 1e6
    }

    /// Looks at every process of ours: the bed's Pods are processes of this machine.
    pub fn of_ours() -> Result<Vec<Self>> {
        let entries = fs::read_dir("/proc").context("reading /proc")?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(pids.filter_map(Self::of).filter(|sample| sample.name.starts_with(OURS)).collect())
    }
}

/// A stretch of time in which processes are looked at.
pub struct Window {
    began: Instant,
    before: Vec<Sample>,
}

impl Window {
    /// Begins with these.
    pub fn open(before: Vec<Sample>) -> Self {
        Self { began: Instant::now(), before }
    }

    /// How long it is by now.
    pub fn length(&self) -> Duration {
        self.began.elapsed()
    }

    /// What those that were there all the time used, up to these samples of now.
    pub fn uses(&self, after: &[Sample]) -> Vec<Use> {
        let length = self.length();
        let pairs = after
            .iter()
            .filter_map(|end| Some((self.before.iter().find(|start| start.pid == end.pid)?, end)));
        pairs.map(|(start, end)| Use::between(start, end, length)).collect()
    }
}

/// What a process used in a window.
pub struct Use {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    rss_mb: f64,
    cpu_percent: f64,
}

impl Use {
    fn between(start: &Sample, end: &Sample, length: Duration) -> Self {
        let seconds = number(end.ticks.saturating_sub(start.ticks)) / TICKS_PER_SECOND;
        Self {
            pid: end.pid,
            name: end.name.clone(),
            rss_mb: end.rss_mb(),
            cpu_percent: seconds / length.as_secs_f64() * 100.0,
        }
    }

    /// The line above all rows.
    pub fn heading() -> String {
        row(["process", "pid", "RSS MB", "floor", "", "CPU % core", "floor", ""])
    }
}

/// One row: each value, its floor, and whether that holds.
impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = FLOORS.iter().find(|(name, _)| self.name.starts_with(name)).map(|(_, floor)| *floor);
        let (rss_floor, rss_holds) = beside(self.rss_mb, floor.map(|floor| floor.rss_mb), 1);
        let (cpu_floor, cpu_holds) = beside(self.cpu_percent, floor.and_then(|floor| floor.cpu_percent), 2);
        f.write_str(&row([
            &self.name,
            &self.pid.to_string(),
            &format!("{:.1}", self.rss_mb),
            &rss_floor,
            rss_holds,
            &format!("{:.2}", self.cpu_percent),
            &cpu_floor,
            cpu_holds,
        ]))
    }
}

fn number(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

fn row([name, pid, rss, rss_floor, rss_holds, cpu, cpu_floor, cpu_holds]: [&str; 8]) -> String {
    let row = format!(
        "{name:<18} {pid:>8} {rss:>8} {rss_floor:>7} {rss_holds:<6} {cpu:>11} {cpu_floor:>7} {cpu_holds:<6}"
    );
    row.trim_end().to_owned()
}

/// What stands beside a value: its floor, and whether it holds.
fn beside(value: f64, floor: Option<f64>, digits: usize) -> (String, &'static str) {
    let Some(floor) = floor else { return ("none".to_owned(), "") };
    (format!("{floor:.digits$}"), if value <= floor { "holds" } else { "ABOVE" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(name: &str, rss_kib: u64, ticks: u64) -> String {
        let sample = |ticks| Sample { pid: 7, name: name.to_owned(), rss_kib, ticks };
        Use::between(&sample(1_000), &sample(1_000 + ticks), Duration::from_mins(2)).to_string()
    }

    #[test]
    fn each_value_has_its_floor_beside_it_and_whether_that_holds() {
        assert_eq!(
            [used("quorate-sidecar", 12_000, 60), used("quorate-sidecar", 15_000, 61)],
            [
                "quorate-sidecar           7     12.3    15.0 holds         0.50    0.50 holds",
                "quorate-sidecar           7     15.4    15.0 ABOVE         0.51    0.50 ABOVE",
            ]
        );
        assert_eq!(
            used("quorate-operato", 23_000, 7),
            "quorate-operato           7     23.6    41.9 holds         0.06    none"
        );
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let sample = Sample::of(std::process::id()).unwrap();
        assert!(sample.rss_kib > 0);
    }
}
