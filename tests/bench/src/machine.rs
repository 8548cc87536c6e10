//! On what was measured, and what.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use quorate_suite::command::output;
use serde::{Deserialize, Serialize};

/// The machine and the versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// Of the minute before: others that are at work spoil what is measured.
    pub(crate) load_average: f64,
    pub(crate) commit: String,
    pub(crate) ours: String,
    pub(crate) etcd: String,
}

impl Machine {
    /// This one.
    pub(crate) fn look(ours: &Path, etcd: &Path, directory: &Path) -> Result<Self> {
        let first_word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
        let memory_kib = field("/proc/meminfo", "MemTotal:")?;
        let directory = directory.to_string_lossy();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name\t:").unwrap_or_else(|_| "unknown".to_owned()),
            memory_gib: first_word(&memory_kib).parse::<u64>()? / (1024 * 1024),
            kernel: read("/proc/sys/kernel/osrelease")?,
            file_system: said(&["stat", "--file-system", "--format", "%T", directory.as_ref()])?,
            load_average: first_word(&read("/proc/loadavg")?).parse()?,
            commit: said(&["git", "describe", "--always", "--dirty"])
                .unwrap_or_else(|_| "unknown".to_owned()),
            ours: said(&[ours.to_string_lossy().as_ref(), "version"])?,
            etcd: said(&[etcd.to_string_lossy().as_ref(), "--version"])?,
        })
    }
}

fn read(path: &str) -> Result<String> {
    Ok(fs::read_to_string(path).with_context(|| format!("reading {path}"))?.trim().to_owned())
}

fn field(path: &str, name: &str) -> Result<String> {
    let text = read(path)?;
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(found.with_context(|| format!("{path} has no {name}"))?.trim().to_owned())
}

/// The first line that a command prints.
fn said(words: &[&str]) -> Result<String> {
    Ok(output(words)?.lines().next().unwrap_or_default().to_owned())
}
