//! What a person reads (Markdown), and what a program does (JSON).

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::histogram::Quantiles;
use crate::machine::Machine;
use crate::measurement::{Measurement, Spans};
use crate::shape::{KEYS, Operation, SHAPES, Shape};
use crate::spread::Spread;

/// Ours, in tables.
pub(crate) const OURS: &str = "ours";
/// etcd, in tables.
pub(crate) const ETCD: &str = "etcd";

/// From this load average on, something else was at work in the minute before.
const QUIET_BELOW: f64 = 0.5;

/// Everything that was measured in one run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) spans: Spans,
    pub(crate) rounds: u32,
    /// fdatasync by itself, before each pair of measurements.
    pub(crate) disk_ms: Vec<Quantiles>,
    pub(crate) measurements: Vec<Measurement>,
}

impl Report {
    /// The table, with what one must know to read it.
    pub(crate) fn markdown(&self) -> String {
        let mut text = self.heading();
        text += "| shape | ours, calls/s | etcd, calls/s | ratio | ours p50, p99 ms | etcd p50, p99 ms | p99 ratio \
                 | members' CPU, ours, etcd µs/call | ratio | leader's | client's \
                 | leader's memory, MB |\n";
        text += "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for shape in SHAPES {
            text += &self.row(shape).unwrap_or_default();
        }
        text += "\nMedians over the rounds, with the least and the most; ratios are ours : etcd of one round, then the \
                 median. etcd keeps the history of every key (MVCC) and ours does not; etcd has no registered clients, \
                 and ours applies each write at most once.\n";
        text += &self.idle().unwrap_or_default();
        text += &self.times().unwrap_or_default();
        self.troubles(&mut text);
        text
    }

    /// What members use while nothing is asked of them; none if that was not measured on both.
    fn idle(&self) -> Option<String> {
        let line = |what: &str, value: fn(&Measurement) -> f64| {
            let of = |system| Spread::of(self.of("idle", system).map(value));
            let ratio = self.ratio("idle", value)?;
            Some(format!("| {what} | {:.2} | {:.2} | {ratio:.2} |\n", of(OURS)?, of(ETCD)?))
        };
        Some(format!(
            "\n| while nothing is asked | ours | etcd | ratio |\n|---|---|---|---|\n{}{}{}",
            line("leader, CPU, % of a core", |m| m.leader_cpu_percent)?,
            line("busiest follower, CPU, % of a core", |m| m.follower_cpu_percent)?,
            line("leader, resident, MB", |m| m.leader_rss_mb)?,
        ))
    }

    /// How long things took that are no calls; none if nothing of the kind was measured on both.
    fn times(&self) -> Option<String> {
        let is_timed = |shape: &Shape| matches!(shape.operation, Operation::Lose(_) | Operation::Restart);
        let row = |shape: &Shape| {
            let of =
                |system, value: fn(&Measurement) -> f64| Spread::of(self.of(shape.name, system).map(value));
            let both = |system| {
                let longest = of(system, |m| m.latency_ms.max)?;
                Some(format!("{:.0}, {:.0}", of(system, |m| m.latency_ms.p50)?, longest.most))
            };
            let ratio = self.ratio(shape.name, |m| m.latency_ms.p50)?;
            let times: u64 = self.of(shape.name, OURS).map(|m| m.answered).sum();
            Some(format!("| {} | {times} | {} | {} | {ratio:.2} |\n", shape.name, both(OURS)?, both(ETCD)?))
        };
        let rows: String = SHAPES.iter().filter(|shape| is_timed(shape)).filter_map(row).collect();
        let heading = "\n| how long it takes | times | ours: median, longest ms | etcd: median, longest ms \
                       | ratio of medians |\n|---|---|---|---|---|\n";
        let meaning = "\nA lost leader: how long no write is answered by the others. A restart: from the start of a killed \
                       follower to its first linearizable read.\n";
        (!rows.is_empty()).then(|| format!("{heading}{rows}{meaning}"))
    }

    fn heading(&self) -> String {
        let Machine { cores, processor, memory_gib, kernel, file_system, load_average, commit, ours, etcd } =
            &self.machine;
        let disk = |value: fn(&Quantiles) -> f64| Spread::of(self.disk_ms.iter().map(value));
        let shown = |spread: Option<Spread>| spread.map(|s| format!("{s:.3}")).unwrap_or_default();
        format!(
            "# Quorate beside etcd\n\n\
             - ours: {ours}, commit {commit}; {etcd}\n\
             - {cores} cores ({processor}), {memory_gib} GiB, Linux {kernel}, {file_system}; load average before: \
             {load_average}\n\
             - rounds: {}; {} s of warm-up, windows of {} s; {KEYS} keys, values of 256 B and three \
             members where the shape does not say otherwise, TLS between them\n\
             - fdatasync by itself, a block of 4 KiB: p50 {} ms, p99 {} ms\n\n",
            self.rounds,
            self.spans.warm_up_seconds,
            self.spans.window_seconds,
            shown(disk(|told| told.p50)),
            shown(disk(|told| told.p99)),
        )
    }

    /// A shape's row; none if it was not measured on both.
    fn row(&self, shape: Shape) -> Option<String> {
        if !shape.operation.is_load() {
            return None;
        }
        let shape = shape.name;
        let of = |system: &str, value: fn(&Measurement) -> f64| Spread::of(self.of(shape, system).map(value));
        let ratio = |value| self.ratio(shape, value);
        let both = |value: fn(&Measurement) -> f64| {
            Some(format!("{:.0}, {:.0}", of(OURS, value)?.median, of(ETCD, value)?.median))
        };
        let latency = |system| {
            let (p50, p99) = (of(system, |m| m.latency_ms.p50)?, of(system, |m| m.latency_ms.p99)?);
            Some(format!("{:.2}, {p99:.2}", p50.median))
        };
        Some(format!(
            "| {shape} | {:.0} | {:.0} | {:.2} | {} | {} | {:.2} | {} | {:.2} | {} | {} | {} |\n",
            of(OURS, |m| m.per_second)?,
            of(ETCD, |m| m.per_second)?,
            ratio(|m| m.per_second)?,
            latency(OURS)?,
            latency(ETCD)?,
            ratio(|m| m.latency_ms.p99)?,
            both(|m| m.cpu.all_members)?,
            ratio(|m| m.cpu.all_members)?,
            both(|m| m.cpu.leader)?,
            both(|m| m.cpu.client)?,
            both(|m| m.leader_rss_mb)?,
        ))
    }

    /// Of the rounds, ours : etcd.
    pub(crate) fn ratio(&self, shape: &str, value: fn(&Measurement) -> f64) -> Option<Spread> {
        let pairs = self.of(shape, OURS).filter_map(|ours| {
            let etcd = self.of(shape, ETCD).find(|etcd| etcd.round == ours.round)?;
            Some(value(ours) / value(etcd))
        });
        Spread::of(pairs)
    }

    pub(crate) fn of(&self, shape: &str, system: &str) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |found| found.shape == shape && found.system == system)
    }

    /// What makes a measurement worth less: said, never left out.
    fn troubles(&self, text: &mut String) {
        if self.machine.load_average >= QUIET_BELOW {
            *text += "\n- **The machine did something else before:** these figures are not worth recording.";
        }
        for found in &self.measurements {
            let Measurement { shape, system, round, failed, given_up, failure, leadership_moved, .. } = found;
            if *failed == 0 && *given_up == 0 && !leadership_moved {
                continue;
            }
            let moved = if *leadership_moved { ", and leadership moved" } else { "" };
            let why = failure.as_ref().map(|failure| format!(" (the first: {failure})")).unwrap_or_default();
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n- **{shape}, {system}, round {round}:** {failed} calls failed{why}, {given_up} were never made{moved}."
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Cpu;

    fn measurement(system: &'static str, round: u32, per_second: f64, failed: u64) -> Measurement {
        let latency_ms = Quantiles { p50: 1.0, p90: 2.0, p99: 4.0, p999: 5.0, max: 6.0 };
        Measurement {
            shape: "writes-64".to_owned(),
            system: system.to_owned(),
            round,
            answered: 1_000,
            per_second,
            latency_ms,
            failed,
            given_up: 0,
            failure: (failed > 0).then(|| "too slow".to_owned()),
            cpu: Cpu { leader: 20.0, all_members: 40.0, client: 15.0 },
            leader_cpu_percent: 40.0,
            follower_cpu_percent: 20.0,
            leader_rss_mb: 50.0,
            leadership_moved: false,
        }
    }

    fn report() -> Report {
        let word = |text: &str| text.to_owned();
        let machine = Machine {
            cores: 2,
            processor: word("a processor"),
            memory_gib: 24,
            kernel: word("6.1"),
            file_system: word("ext2/ext3"),
            load_average: 1.2,
            commit: word("abc"),
            ours: word("quorate-sidecar 0.1.0"),
            etcd: word("etcd Version: 3.6.5"),
        };
        let measurements = vec![
            measurement(OURS, 1, 20_000.0, 0),
            measurement(ETCD, 1, 10_000.0, 0),
            measurement(OURS, 2, 30_000.0, 0),
            measurement(ETCD, 2, 10_000.0, 3),
        ];
        let spans = Spans { warm_up_seconds: 10, window_seconds: 60, losses: 20 };
        let disk_ms = vec![measurement(OURS, 1, 1.0, 0).latency_ms];
        Report { machine, spans, rounds: 2, disk_ms, measurements }
    }

    #[test]
    fn a_row_has_medians_spreads_and_the_ratios_of_rounds() {
        let text = report().markdown();
        let row = text.lines().find(|line| line.starts_with("| writes-64")).unwrap();
        assert_eq!(
            row,
            "| writes-64 | 25 000 [20 000-30 000] | 10 000 | 2.50 [2.00-3.00] | 1.00, 4.00 | 1.00, 4.00 | 1.00 \
             | 40, 40 | 1.00 | 20, 20 | 15, 15 | 50, 50 |"
        );
    }

    #[test]
    fn idle_members_have_a_table_of_their_own() {
        let mut report = report();
        assert!(!report.markdown().contains("while nothing is asked"));
        for found in &mut report.measurements {
            found.shape = "idle".to_owned();
            found.leader_cpu_percent = if found.system == OURS { 0.4 } else { 0.8 };
        }
        let text = report.markdown();
        assert!(text.contains("| leader, CPU, % of a core | 0.40 | 0.80 | 0.50 |"), "{text}");
        assert!(!text.contains("| idle |"), "{text}");
    }

    #[test]
    fn what_is_no_call_has_a_table_of_its_own() {
        let mut report = report();
        assert!(!report.markdown().contains("how long it takes"));
        for found in &mut report.measurements {
            (found.shape, found.answered) = ("leader-killed".to_owned(), 20);
            found.latency_ms.p50 = if found.system == OURS { 100.0 } else { 400.0 };
            found.latency_ms.max = 500.0 + f64::from(found.round);
        }
        let text = report.markdown();
        assert!(text.contains("| leader-killed | 40 | 100, 502 | 400, 502 | 0.25 |"), "{text}");
    }

    #[test]
    fn what_failed_is_said_and_what_was_not_measured_has_no_row() {
        let text = report().markdown();
        assert!(
            text.contains("**writes-64, etcd, round 2:** 3 calls failed (the first: too slow)"),
            "{text}"
        );
        assert!(!text.contains("reads-64"), "{text}");
        assert!(text.contains("not worth recording"), "{text}");
    }
}
