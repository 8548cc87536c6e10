//! The Quorate operator.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_operator::main()
}
