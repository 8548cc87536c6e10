//! What happened, for people: one line per event, one column per member.
//!
//! ```text
//!   12.048213 │ m0 T4  LEAD   31/31  │ m1 T4  foll   31/29  │ m2 down  append_request m0 → m1
//! ```
//! A member's column shows term, role, last and commit index; `held` is a paused process.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Where lines go; clones are the same trace.
#[derive(Clone, Default)]
pub enum Trace {
    /// Nowhere: making them takes longer than the run itself.
    #[default]
    Off,
    /// To the terminal.
    Printed,
    /// Into memory.
    Kept(Rc<RefCell<Vec<String>>>),
}

impl Trace {
    /// Whether anybody reads it.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Adds a line.
    pub fn line(&self, now: Duration, event: &str, columns: &str) {
        let line = format!("{:>11.6} {columns} {event}", now.as_secs_f64());
        match self {
            Self::Off => {}
            Self::Printed => println!("{line}"),
            Self::Kept(lines) => lines.borrow_mut().push(line),
        }
    }

    /// The lines that were kept.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Off | Self::Printed => Vec::new(),
            Self::Kept(lines) => lines.borrow().clone(),
        }
    }
}
