//! Counts of passed, failed and skipped tests, read off what the runners print, and why the failed ones did.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
    /// Tests that could not run here; the reason was printed.
    pub skipped: u32,
    /// What the failed ones said: it is said again at the end of a long run.
    pub reasons: Vec<String>,
}

impl Count {
    /// One check that stands for itself, such as the formatter, and holds.
    pub fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One failure, and why.
    pub fn failed(reason: String) -> Self {
        Self { failed: 1, reasons: vec![reason], ..Self::default() }
    }

    /// What one line of a runner's output adds: `cargo test` sums up per binary, `go test -v` says it per test.
    pub fn of_line(line: &str) -> Self {
        if let Some(rest) = line.strip_prefix("test result: ") {
            return Self::of_cargo(rest);
        }
        // Subtests are indented by go and belong to the test above them.
        Self {
            passed: u32::from(line.starts_with("--- PASS: ")),
            failed: u32::from(line.starts_with("--- FAIL: ")),
            skipped: u32::from(line.starts_with("--- SKIP: ")),
            reasons: if is_reason(line) { vec![line.to_owned()] } else { Vec::new() },
        }
    }

    /// `ok. 12 passed; 0 failed; 1 ignored; ...`
    fn of_cargo(rest: &str) -> Self {
        let number_before = |word: &str| {
            rest.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            passed: number_before("passed"),
            failed: number_before("failed"),
            skipped: number_before("ignored"),
            reasons: Vec::new(),
        }
    }

    /// Whether nothing ran at all: a suite that ran nothing has shown nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A runner names the failed test; a test on the bed says why itself.
fn is_reason(line: &str) -> bool {
    line.starts_with("--- FAIL: ") || line.ends_with(" ... FAILED") || line.contains("  FAILED: ")
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_and_go_lines_are_counted_and_others_are_not() {
        let of = Count::of_line;
        let cargo = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s";
        assert_eq!(of(cargo), Count { passed: 12, failed: 2, skipped: 1, ..Count::default() });
        assert_eq!(of("--- PASS: TestImage (0.00s)").passed, 1);
        assert_eq!(of("--- FAIL: TestImage (0.00s)").failed, 1);
        assert_eq!(of("--- SKIP: TestBed (0.00s)").skipped, 1);
        assert!(of("    --- PASS: TestImage/layers (0.00s)").is_empty());
        assert!(of("test a ... ok").is_empty());
    }

    #[test]
    fn reasons_are_kept_for_the_end() {
        let mut sum = Count::of_line("cut-x7   12 s  FAILED: waited 15 s for db-1");
        sum += Count::of_line("test cuts_a_node::cut ... FAILED");
        sum += Count::of_line("test result: FAILED. 0 passed; 1 failed; 0 ignored");
        sum += Count::failed("the bed did not come up".to_owned());
        assert_eq!(sum.failed, 2);
        assert_eq!(
            sum.reasons,
            [
                "cut-x7   12 s  FAILED: waited 15 s for db-1",
                "test cuts_a_node::cut ... FAILED",
                "the bed did not come up"
            ]
        );
    }

    #[test]
    fn the_sum_is_the_plain_line_that_ci_reads() {
        let mut sum = Count::passed();
        sum += Count { passed: 2, failed: 1, ..Count::default() };
        assert_eq!(sum.to_string(), "3 passed, 1 failed");
        sum += Count { skipped: 4, ..Count::default() };
        assert_eq!(sum.to_string(), "3 passed, 1 failed, 4 skipped");
    }
}
