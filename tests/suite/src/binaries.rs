//! Our programs, built once for everything that runs them.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{repository, run, say};

/// The crates whose binaries are in the images.
const SHIPPED: [&str; 6] = ["-p", "quorate-operator", "-p", "quorate-sidecar", "-p", "quorate-client"];

/// Builds our binaries with `profile`.
pub fn build(profile: &str) -> Result<()> {
    say(&format!("our binaries (profile {profile})"));
    // The tests are built as one workspace: the same selection means the same features, and nothing is built again.
    let selection: &[&str] = if profile == "bed" { &["--workspace"] } else { &SHIPPED };
    run(&[&["cargo", "build", "--profile", profile, "--bins", "--examples"], selection].concat())
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}
