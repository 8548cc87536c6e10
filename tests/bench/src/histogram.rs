//! Latencies, to three digits whatever their size.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer ones count as this long: calls are given up long before.
const LONGEST: Duration = Duration::from_mins(1);
/// Digits kept.
const DIGITS: u8 = 3;

/// How long calls took.
pub(crate) struct Latencies {
    /// In microseconds.
    histogram: Histogram<u64>,
}

/// What is told of them, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latencies {
    /// None yet.
    #[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes one")]
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, micros(LONGEST), DIGITS);
        Self { histogram: histogram.expect("bounds that a histogram can have") }
    }

    /// One more.
    pub(crate) fn record(&mut self, took: Duration) {
        self.histogram.saturating_record(micros(took).max(1));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// What is told of them.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let of = |quantile| milliseconds(self.histogram.value_at_quantile(quantile));
        Quantiles {
            p50: of(0.5),
            p90: of(0.9),
            p99: of(0.99),
            p999: of(0.999),
            max: milliseconds(self.histogram.max()),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_three_digits_from_microseconds_to_a_minute() {
        let mut latencies = Latencies::new();
        for _ in 0..98 {
            latencies.record(Duration::from_micros(250));
        }
        latencies.record(Duration::from_millis(1_234));
        latencies.record(Duration::from_hours(1));
        let told = latencies.quantiles();
        assert!((told.p50 - 0.25).abs() < 0.001, "{told:?}");
        assert!((told.p99 - 1_234.0).abs() < 2.0, "{told:?}");
        assert!((told.max / 60_000.0 - 1.0).abs() < 0.001, "{told:?}");
        assert_eq!(latencies.count(), 100);
    }
}
