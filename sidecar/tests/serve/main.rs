//! What applications, probes and the operator see: real HTTP and gRPC against whole clusters in one process.

// A test that meets what it does not expect has failed; so have its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_server;
mod grpc;
mod grpc_input;
mod grpc_log;
mod grpc_pipeline;
mod grpc_watch;
mod health;
mod http_autopilot;
mod http_blocking;
mod http_client;
mod http_input;
mod http_kv;
mod http_servers;
mod http_session;
mod http_snapshot;
mod http_txn;
mod leaderless;
mod operator_port;
mod ops;
mod outside;

use std::time::Duration;

use quorate_sidecar::dev::Cluster;
use tempfile::TempDir;

/// Generous: these machines are shared, and a test that waits longer has failed for another reason.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster whose members all vote.
async fn cluster(count: usize) -> (Cluster, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(count, directory.path()).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    (cluster, directory)
}

/// A member that does not lead.
async fn follower(cluster: &Cluster) -> usize {
    (cluster.leader(PATIENCE).await.unwrap() + 1) % cluster.len()
}
