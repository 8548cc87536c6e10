//! What happened so far: told when it ends badly.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Lines kept of a story.
const LINES_MAX: usize = 2_000;

/// One story. Clones tell the same one.
#[derive(Clone)]
pub struct Story {
    name: String,
    last: String,
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Story {
    /// Begins a story. `last` is what to say at its end, of how to see it again.
    pub fn new(name: impl Into<String>, last: impl Into<String>) -> Self {
        Self { name: name.into(), last: last.into(), began: Instant::now(), lines: Arc::default() }
    }

    /// Adds a line.
    pub fn tell(&self, what: impl Into<String>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(format!("{:8.3} s  {}", self.began.elapsed().as_secs_f64(), what.into()));
        }
    }

    /// Says something that a person wants to know also when all went well.
    pub fn say(&self, what: &str) {
        self.tell(what);
        println!("{}: {what}", self.name);
    }

    /// Prints everything so far.
    pub fn print(&self) {
        println!("\n==== {} ====", self.name);
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            println!("{line}");
        }
        println!("{}", self.last);
    }
}
