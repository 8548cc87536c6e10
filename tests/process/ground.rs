//! Mounts of a process's own: an `/etc/hosts` that leads elsewhere, a volume that is small.
//!
//! They are seen by nobody else and go with the last process that has them, so that there is nothing to clean up,
//! whatever happens to the test. Root may have them everywhere, others where the system has user namespaces.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How `unshare` gives a process mounts of its own here.
static WAY: OnceLock<Option<&[&str]>> = OnceLock::new();

/// As root, or as root of a user namespace of its own.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];

/// The flags of `unshare` for mounts of its own; none if they cannot be had.
pub(crate) fn own_mounts() -> Option<&'static [&'static str]> {
    let works = |way: &&&'static [&'static str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(**way).args(["mount", "-t", "tmpfs", "none", "/tmp"]).stderr(Stdio::null());
        unshare.status().is_ok_and(|status| status.success())
    };
    *WAY.get_or_init(|| WAYS.iter().find(works).copied())
}

/// The words before a command that is to have this `/etc/hosts`.
pub(crate) fn own_hosts(hosts: &Path) -> Vec<String> {
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    let mut words = vec!["unshare"];
    words.extend(own_mounts().unwrap());
    words.extend(["sh", "-c", script, "sh", hosts.to_str().unwrap()]);
    words.into_iter().map(ToOwned::to_owned).collect()
}

/// Whether the test has to be left out: it needs mounts of its own, and they cannot be had. In CI that fails.
pub(crate) fn is_missing(test: &str) -> bool {
    if own_mounts().is_some() {
        return false;
    }
    let reason = "needs root or user namespaces, for mounts of its own (`unshare --mount`)";
    assert!(std::env::var_os("CI").is_none(), "{test} {reason}: CI has to offer that");
    // Not by `println`, which is shown of tests that fail only.
    let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, {reason}");
    true
}
