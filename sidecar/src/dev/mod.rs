//! `quorate-sidecar dev`: a whole cluster in one process on localhost, as in production but for the platform.
//!
//! Members are real: real ports, mutual TLS from a throw-away CA, redb files. Only the operator is missing, and
//! [`Cluster`] plays its part: it bootstraps the first member and adds the others.
//! Tests use the same [`Cluster`].

mod authority;
mod cluster;
mod ports;
mod screen;

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use quorate_raft::Mode;

use crate::args::{DevArgs, DevMode};
use crate::exit::{Code, Failure};

pub use authority::{Authority, Issued};
pub use cluster::{Cluster, ClusterOptions};
pub use ports::MemberPorts;

/// How long all members may take to get their votes.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Runs a cluster until Ctrl-C.
pub async fn dev(args: &DevArgs) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::new(Code::Unavailable, format!("cannot listen for signals: {error}")))?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::new(Code::Unavailable, format!("cannot listen for signals: {error}")))?;
    let scratch = Scratch::new(args.data.as_deref())?;
    let members = usize::from(args.members);
    let screen = screen::Screen::new();
    screen.starting(members, scratch.path(), args.data.is_some());
    let mode = args.mode.map(|mode| match mode {
        DevMode::KeyValue => Mode::KeyValue,
        DevMode::Log => Mode::Log,
    });
    let options = ClusterOptions { ports: MemberPorts::standard, mode, ..ClusterOptions::default() };
    let start = Cluster::start_with(members, scratch.path(), options);
    let mut cluster = tokio::select! {
        cluster = start => cluster?,
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        ready = cluster.wait_until_all_vote(READY_TIMEOUT) => ready?,
        _ = interrupt.recv() => return { cluster.stop().await; Ok(()) },
    }
    screen.ready(&cluster, scratch.path());
    let failure = tokio::select! {
        failure = cluster.failed() => Some(failure),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    screen.stopping();
    cluster.stop().await;
    failure.map_or(Ok(()), Err)
}

/// Where data lives: the user's directory, or one that is removed at the end.
struct Scratch {
    path: std::path::PathBuf,
    is_temporary: bool,
}

impl Scratch {
    fn new(kept: Option<&Path>) -> Result<Self, Failure> {
        let path = kept.map_or_else(
            || std::env::temp_dir().join(format!("quorate-dev-{}", uuid::Uuid::new_v4().simple())),
            Path::to_path_buf,
        );
        std::fs::create_dir_all(&path).map_err(|error| {
            Failure::new(Code::CannotCreate, format!("cannot create {}: {error}", path.display()))
        })?;
        Ok(Self { path, is_temporary: kept.is_none() })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_temporary {
            // Left behind at worst in the system's temporary directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
