//! Port 7402: probes, metrics, status. It changes nothing and asks nobody but this process.
//!
//! | path | 200 means | otherwise 503 |
//! |---|---|---|
//! | `/livez` | the driver's loop turns | it did not within [`LIVE_TIMEOUT`] |
//! | `/readyz` | caught up once since the start, and still a member (K38) | and why not yet |
//! | `/startupz` | the store is open | this port opens only after it |
//!
//! No probe depends on a leader: if it did, losing the quorum would take every member out of its Service at once.

mod gauges;
mod member;
mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::time::Instant;

use super::Shared;

/// A loop that has not turned for so long is stuck: it turns every heartbeat (100 ms).
const LIVE_TIMEOUT: Duration = Duration::from_secs(2);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Answerer = State<Arc<Shared>>;

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "not here: /livez, /readyz, /startupz, /metrics, /status\n")
        })
        .with_state(Arc::clone(shared))
}

async fn livez(State(shared): Answerer) -> Response {
    match shared.context.handle.status(Instant::now() + LIVE_TIMEOUT).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => unavailable(&error.to_string()),
    }
}

async fn readyz(State(shared): Answerer) -> Response {
    if let Some(why) = shared.out_of_service() {
        return unavailable(why);
    }
    if !shared.context.handle.view().is_ready {
        return unavailable("this member has not caught up yet since it started");
    }
    "ok\n".into_response()
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

async fn metrics(State(shared): Answerer) -> Response {
    match gauges::report(&shared) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics can't be written: {error}\n"))
            .into_response(),
    }
}

/// JSON for programs, a page for whoever comes with a browser.
async fn status(State(shared): Answerer, headers: HeaderMap) -> Response {
    let status = member::status(&shared);
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("text/html") {
        return ([(CONTENT_TYPE, "text/html; charset=utf-8")], page::page(&status)).into_response();
    }
    Json(status).into_response()
}
