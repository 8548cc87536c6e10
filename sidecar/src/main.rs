//! The binary `quorate-sidecar`: parses the command line, runs the verb, ends with its exit code.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use quorate_sidecar::args::{Command, CommandLine, LogFormat};
use quorate_sidecar::exit::{Code, Failure, TERMINATION_LOG};
use quorate_sidecar::settings::CONTROL_SOCKET;
use quorate_sidecar::{control, dev, inspect, recover, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    abort_on_panic();
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
            block_on(run::run(args))
        }
        Command::Dev(args) => {
            log(LogFormat::Text, "warn");
            block_on(dev::dev(args))
        }
        Command::PreStop(args) => {
            let socket = args.data_dir.join(CONTROL_SOCKET);
            print(&block_on(control::pre_stop(&socket))?)
        }
        Command::Recover(args) => print(&recover::recover(args)?),
        Command::Inspect(args) => print(&inspect::inspect(&args.directory, args.output)?),
        Command::Version => print(concat!("quorate-sidecar ", env!("CARGO_PKG_VERSION"))),
    }
}

/// One thread runs everything asynchronous; storage and machine have threads of their own.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Unavailable, format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    // A name that is just being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}

/// A panic is a mistake of ours: the process ends, the other members carry on, and the restart recovers from what
/// is durable. A member without its driver or storage thread would be worse than none.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
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
