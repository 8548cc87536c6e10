//! What happened, for people: one line per event, one column per member.
//!
//! ```text
//!   12.048213  │ db-0 T4 lead 31/31 │ db-1 T4 foll 31/29 │ db-2 down          │ deliver append_request db-0 → db-1
//! ```
//! A member's column shows term, role, last and commit index. All lines count towards the digest, by which two runs
//! of one seed are compared; the newest are kept for a failure's report.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// How many lines a failure shows.
const LINES_KEPT: usize = 60;

/// The lines of one run.
pub struct Trace {
    digest: DefaultHasher,
    newest: VecDeque<String>,
    prints: bool,
}

impl Trace {
    /// A trace that is printed as it grows, or only kept.
    pub fn new(prints: bool) -> Self {
        // `DefaultHasher::new` has fixed keys: equal lines give equal digests in every process.
        Self { digest: DefaultHasher::new(), newest: VecDeque::new(), prints }
    }

    /// Adds a line. Only `event` counts towards the digest.
    pub fn line(&mut self, now: Duration, event: &str, columns: impl FnOnce() -> String) {
        now.hash(&mut self.digest);
        event.hash(&mut self.digest);
        let line = format!("{:>11.6} {} {event}", now.as_secs_f64(), columns());
        if self.prints {
            println!("{line}");
        }
        if self.newest.len() == LINES_KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(line);
    }

    /// A number that is equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The newest lines, oldest first.
    pub fn newest(&self) -> impl Iterator<Item = &str> {
        self.newest.iter().map(String::as_str)
    }
}
