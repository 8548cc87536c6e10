//! `sim-operator`: searches seeds of a cluster's whole life under the operator for a broken invariant, or replays one.

use std::process::ExitCode;

use quorate_tests::{operations, search};

fn main() -> ExitCode {
    search::main::<operations::Operations>()
}
