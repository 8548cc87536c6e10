//! Probes and metrics on port 8080.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::limits::OPS_PORT;
use crate::metrics::Metrics;

/// What the probes answer from.
#[derive(Clone, Debug)]
pub(crate) struct Ops {
    pub(crate) metrics: Metrics,
    /// The API server was reached and the Lease's task runs. A standby is ready: it takes over when asked.
    pub(crate) is_ready: Arc<AtomicBool>,
}

/// Serves until the process ends.
pub(crate) async fn serve(ops: Ops) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, OPS_PORT)).await?;
    axum::serve(listener, router(ops)).await
}

fn router(ops: Ops) -> Router {
    Router::new()
        // That it answers is the answer: a watch or the Lease's task that ends, ends the process.
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(ops)
}

async fn readyz(State(ops): State<Ops>) -> (StatusCode, &'static str) {
    if ops.is_ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the Kubernetes API was not reached yet")
    }
}

async fn metrics(State(ops): State<Ops>) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], ops.metrics.text())
}
