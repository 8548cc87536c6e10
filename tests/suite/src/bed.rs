//! The Kubernetes test bed, through its tool (`tests/bed`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{output, repository, run};

/// The bed tool's path; make builds it before any of our programs is started.
pub fn tool() -> String {
    repository().join("target/bed/bed").to_string_lossy().into_owned()
}

/// Brings the bed up, from a machine without any of what it needs.
pub fn up() -> Result<()> {
    bed(&["missing", "--install"])?;
    bed(&["up"])
}

/// Runs a verb of the bed with its output shown.
pub fn bed(words: &[&str]) -> Result<()> {
    run(&with_tool(&tool(), words))
}

/// Runs a verb of the bed and returns what it printed.
pub fn bed_output(words: &[&str]) -> Result<String> {
    output(&with_tool(&tool(), words))
}

/// Where the bed keeps a program that it built, which needs no running bed.
pub fn program(name: &str) -> Result<PathBuf> {
    let paths =
        bed_output(&["path"]).context("asking the bed where its programs are (`make bed` builds it)")?;
    let cache = paths.lines().find_map(|line| line.strip_prefix("cache "));
    let cache = cache.with_context(|| format!("`bed path` names no cache: {paths}"))?;
    let program = Path::new(cache).join("bin").join(name);
    if !program.exists() {
        bail!(
            "{} is missing: `make bed-build` builds it, about 10 minutes the first time",
            program.display()
        );
    }
    Ok(program)
}

fn with_tool<'a>(tool: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(tool).chain(words.iter().copied()).collect()
}
