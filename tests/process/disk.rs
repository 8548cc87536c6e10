//! A volume whose size the test says: what fills a disk is often not the one who writes.
//!
//! It is a tmpfs in mounts of its own, held by a process that does nothing else. The member enters them, so that the
//! volume outlives it, and goes with the holder when the test does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_store::{Disk, OsDisk};

use crate::ground::own_mounts;

/// A volume of a size of its own.
pub(crate) struct SmallDisk {
    holder: Child,
    mounted_at: PathBuf,
}

impl SmallDisk {
    /// A new, empty volume, mounted there for those that enter.
    pub(crate) fn new(mounted_at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(mounted_at).unwrap();
        let script = "mount -t tmpfs -o size=$1 quorate \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare"])
            .args(own_mounts().unwrap())
            .args(["sh", "-c", script, "sh", &bytes.to_string()])
            .arg(mounted_at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n", "the volume could not be mounted");
        Self { holder, mounted_at: mounted_at.to_owned() }
    }

    /// The words before a command that is to see the volume.
    pub(crate) fn enter(&self) -> Vec<String> {
        let mut words =
            vec!["nsenter".to_owned(), format!("--target={}", self.holder.id()), "--mount".to_owned()];
        if own_mounts().unwrap().contains(&"--map-root-user") {
            words.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words.push("--".to_owned());
        words
    }

    /// Makes so many bytes free, by changing how large the volume is.
    pub(crate) fn leave_free(&self, bytes: u64) {
        let size = self.used_bytes() + bytes;
        let enter = self.enter();
        let resized = Command::new(&enter[0])
            .args(&enter[1..])
            // All of it anew: what `mount` would take over names users by their number outside.
            .args(["mount", "-t", "tmpfs", "-o", &format!("remount,size={size}"), "quorate"])
            .arg(&self.mounted_at)
            .status()
            .unwrap();
        assert!(resized.success(), "the volume could not be resized: {resized}");
    }

    /// Bytes free.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.seen_from_outside().space().unwrap().free_bytes
    }

    fn used_bytes(&self) -> u64 {
        let space = self.seen_from_outside().space().unwrap();
        space.total_bytes - space.free_bytes
    }

    fn seen_from_outside(&self) -> OsDisk {
        let below = self.mounted_at.strip_prefix("/").unwrap();
        OsDisk::new(Path::new(&format!("/proc/{}/root", self.holder.id())).join(below)).unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
