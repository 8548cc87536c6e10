//! Whole clusters in one process: real ports, mutual TLS, redb files; only the operator is played.
#![allow(clippy::unwrap_used)] // A failed step of a test is a failed test; its helpers are no #[test] themselves.

mod autopilot;
mod faults;
mod identity;
mod membership;
mod played_disk;
mod recovery;
mod relay;
mod restore;
mod sessions;
mod snapshots;
mod stopping;
mod versions;
mod writes;

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{Command, Tagged};
use quorate_sidecar::dev::Cluster;
use quorate_sidecar::driver::{Applied, CallError, Consistency, Handle};
use tempfile::TempDir;
use tokio::time::Instant;

/// Generous: these machines are shared, and a test that waits longer has failed for another reason.
const PATIENCE: Duration = Duration::from_mins(1);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A cluster whose members all vote.
async fn cluster(count: usize) -> (Cluster, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(count, directory.path()).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    (cluster, directory)
}

fn put(key: &str, value: impl Into<Bytes>) -> Tagged {
    let command = Command::Put { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into(), flags: 0 };
    Tagged { tag: None, command }
}

async fn write(handle: &Handle, key: &str, value: &str) -> Result<Applied, CallError> {
    handle.propose(&put(key, value.to_owned()), soon()).await
}

/// A linearizable read through this member.
async fn read(handle: &Handle, key: &str) -> Option<String> {
    let key = key.to_owned();
    let read =
        handle.read(Consistency::Linearizable, soon(), move |state| state.get(key.as_bytes())).await.unwrap();
    read.value.entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}
