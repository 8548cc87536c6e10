//! The binary `quorate-sidecar`: parses the command line, runs the verb, ends with its exit code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use quorate_sidecar::args::{Command, CommandLine, LogFormat};
use quorate_sidecar::exit::{Code, Failure, TERMINATION_LOG};
use quorate_sidecar::settings::CONTROL_SOCKET;
use quorate_sidecar::{control, dev, inspect, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version are asked for; everything else is a usage error.
            let _ = error.print();
            let code = if error.use_stderr() { Code::Usage.number() } else { 0 };
            return ExitCode::from(code);
        }
    };
    match dispatch(&command_line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "quorate-sidecar: {failure}");
            failure.leave_termination_message(Path::new(TERMINATION_LOG));
            ExitCode::from(failure.code.number())
        }
    }
}

fn dispatch(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => {
            log(args.log_format, "info");
            runtime()?.block_on(run::run(args))
        }
        Command::Dev(args) => {
            log(LogFormat::Text, "warn");
            runtime()?.block_on(dev::dev(args))
        }
        Command::PreStop(args) => {
            let socket = args.data_dir.join(CONTROL_SOCKET);
            print(&runtime()?.block_on(control::pre_stop(&socket))?)
        }
        Command::Inspect(args) => print(&inspect::inspect(&args.directory, args.output)?),
        Command::Version => print(concat!("quorate-sidecar ", env!("CARGO_PKG_VERSION"))),
    }
}

/// One thread runs everything asynchronous; storage and machine have threads of their own.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Unavailable, format!("cannot start the runtime: {error}")))
}

/// Logs go to stderr; `QUORATE_LOG` filters them (`debug`, `quorate_sidecar::link=debug,info`).
fn log(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Failure::new(Code::Unavailable, format!("cannot write to stdout: {error}")))
}
