//! `quorate-sidecar inspect DIR`: what a stopped member's data directory holds. Changes nothing by intent; opening
//! the files may replay what a crash left, as any start does.

use std::path::Path;

use quorate_raft::RaftId;
use quorate_store::{Directory, Opened, StoreError};
use serde::Serialize;

use crate::args::OutputFormat;
use crate::driver::storage_failure;
use crate::exit::Failure;
use crate::settings::MEMBER_DIRECTORY;

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    raft_id: String,
    incarnation: String,
    cluster_id: Option<String>,
    recovery_epoch: u64,
    cluster_version: Option<u32>,
    term: u64,
    vote: Option<String>,
    first_index: u64,
    last_log_term: u64,
    last_log_index: u64,
    commit_index: u64,
    durable_applied: String,
    log_bytes: u64,
    configuration: Vec<ServerLine>,
}

#[derive(Debug, Serialize)]
struct ServerLine {
    raft_id: String,
    incarnation: String,
    address: String,
    suffrage: &'static str,
}

/// The report on a data directory, or on the one `member` inside it.
pub fn inspect(directory: &Path, output: OutputFormat) -> Result<String, Failure> {
    let report = read(directory).map_err(|error| storage_failure(&error))?;
    Ok(match output {
        OutputFormat::Json => serde_json::json!(report).to_string(),
        OutputFormat::Text => report.to_text(),
    })
}

/// Opens a directory, or the one `member` inside it, whoever it belongs to; refused while a member runs on it.
pub(crate) fn open_stopped(directory: &Path) -> Result<Opened, StoreError> {
    let inner = directory.join(MEMBER_DIRECTORY);
    let directory = if inner.is_dir() { inner.as_path() } else { directory };
    if !directory.is_dir() || !Directory::exists(directory)? {
        return Err(StoreError::Missing { directory: directory.display().to_string() });
    }
    match Directory::open(directory, &placeholder()) {
        // Only the store knows whose directory it is: asked with a wrong name it says the right one.
        Err(StoreError::WrongIdentity { found, .. }) => Directory::open(directory, &found),
        other => other,
    }
}

fn read(directory: &Path) -> Result<Report, StoreError> {
    let opened = open_stopped(directory)?;
    let identity = opened.directory.identity();
    let stored = &opened.stored;
    let latest = stored.configurations.last().map(|latest| &latest.configuration);
    let configuration = latest.map(|latest| latest.servers().iter());
    Ok(Report {
        raft_id: identity.raft_id.to_string(),
        incarnation: identity.incarnation.to_string(),
        cluster_id: stored.cluster_id.map(|id| id.to_string()),
        recovery_epoch: identity.recovery_epoch.0,
        cluster_version: latest.map(|latest| latest.version().0),
        term: stored.hard_state.term.0,
        vote: stored.hard_state.vote.as_ref().map(ToString::to_string),
        first_index: opened.log.first().0,
        last_log_term: stored.last.term.0,
        last_log_index: stored.last.index.0,
        commit_index: stored.commit.0,
        durable_applied: stored.applied.to_string(),
        log_bytes: stored.log_bytes,
        configuration: configuration
            .into_iter()
            .flatten()
            .map(|server| ServerLine {
                raft_id: server.id.raft_id.to_string(),
                incarnation: server.id.incarnation.to_string(),
                address: server.address.to_string(),
                suffrage: match server.suffrage {
                    quorate_raft::Suffrage::Voter => "voter",
                    quorate_raft::Suffrage::NonVoter => "non-voter",
                    quorate_raft::Suffrage::Incoming => "incoming",
                    quorate_raft::Suffrage::Outgoing => "outgoing",
                },
            })
            .collect(),
    })
}

fn placeholder() -> RaftId {
    #[allow(clippy::expect_used)] // A constant of the right form: a letter first, then letters.
    RaftId::new("inspect").expect("a valid Raft ID")
}

impl Report {
    fn to_text(&self) -> String {
        let none = || "none".to_owned();
        let mut lines = vec![
            ("raft id", self.raft_id.clone()),
            ("incarnation", self.incarnation.clone()),
            ("cluster id", self.cluster_id.clone().unwrap_or_else(none)),
            ("recovery epoch", self.recovery_epoch.to_string()),
            ("cluster version", self.cluster_version.map_or_else(none, |version| version.to_string())),
            ("term", self.term.to_string()),
            ("vote", self.vote.clone().unwrap_or_else(none)),
            // Survivors are compared by it (K18): the greater term, then the greater index, is the better one.
            ("last log entry", format!("term {}, index {}", self.last_log_term, self.last_log_index)),
            ("log", format!("indexes {} to {}", self.first_index, self.last_log_index)),
            ("commit index", self.commit_index.to_string()),
            ("state", format!("synced up to {} (term/index)", self.durable_applied)),
            ("log bytes", self.log_bytes.to_string()),
        ];
        for server in &self.configuration {
            lines.push(("server", format!("{} {} at {}", server.raft_id, server.suffrage, server.address)));
        }
        let lines: Vec<_> = lines.into_iter().map(|(name, value)| format!("{name:<15} {value}")).collect();
        lines.join("\n")
    }
}
