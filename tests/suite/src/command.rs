//! Commands of other programs: started, shown while they run, counted.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::count::Count;

/// The root of the repository, wherever make was called from.
pub fn repository() -> PathBuf {
    // As cargo says it now, not as it was when this was compiled: clones share one build cache, and cargo takes what
    // another clone built for its own.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    // This crate lies at tests/suite.
    let here = Path::new(&here);
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// What cargo tells a program that it runs, and a build script of a dependency looks at. A cargo that such a program
/// starts would find them changed and build half of everything anew, and so would the next one started by hand.
const TOLD_BY_CARGO: [&str; 7] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// A command of the given words, run at the repository's root.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(repository());
    for variable in TOLD_BY_CARGO {
        command.env_remove(variable);
    }
    // A test that returns an error says what it waited for; fifty frames of the test runner would hide it.
    command.env("RUST_LIB_BACKTRACE", "0");
    command
}

/// Prints a heading for what comes next.
pub fn say(what: &str) {
    println!("\n==> {what}");
    // Nothing is lost if this fails: the heading only arrives later.
    let _ = std::io::stdout().flush();
}

/// Runs to the end with its output shown; an unsuccessful end is an error that names the command.
pub fn run(words: &[&str]) -> Result<()> {
    let status = command(words).status().with_context(|| format!("starting `{}`", words.join(" ")))?;
    if !status.success() {
        bail!("`{}` ended with {status}", words.join(" "));
    }
    Ok(())
}

/// Runs to the end and returns what it printed, without the final line break.
pub fn output(words: &[&str]) -> Result<String> {
    let output = command(words)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{}`", words.join(" ")))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", words.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs a test runner with its output shown, and counts its tests. A runner that ends unsuccessfully without
/// counting a failure (it did not compile, say) counts as one failure.
pub fn run_counted(words: &[&str]) -> Result<Count> {
    let mut child = command(words)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{}`", words.join(" ")))?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("reading the runner's output")?;
            println!("{line}");
            count += Count::of_line(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        count += Count::failed(format!("`{}` ended with {status}", words.join(" ")));
    }
    Ok(count)
}

/// Ends one of our programs: an error is printed in one line, not as a trace of our own code.
pub fn ended(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One named part of a run: prints its heading, its result and how long it took.
pub fn part(name: &str, work: impl FnOnce() -> Result<Count>) -> Count {
    say(name);
    let started = Instant::now();
    let count = work().unwrap_or_else(|error| {
        println!("{error:#}");
        Count::failed(format!("{name}: {error:#}"))
    });
    println!("--- {name}: {count} in {:.0} s", started.elapsed().as_secs_f32());
    count
}
