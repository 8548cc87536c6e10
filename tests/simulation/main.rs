//! `sim`: searches seeds of whole clusters for a broken invariant, or replays one.

use std::process::ExitCode;

use quorate_tests::{search, simulation};

fn main() -> ExitCode {
    search::main::<simulation::Clusters>()
}
