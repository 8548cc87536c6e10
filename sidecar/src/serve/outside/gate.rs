//! The gate before the HTTP API for callers from outside the Pod: no request passes it without a good token.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::{Outside, TurnedAway};
use crate::serve::Shared;
use crate::serve::limits::HTTP_HOLD;
use crate::serve::rights::bearer;

/// Consul's clients send their token in it.
const TOKEN_HEADER: &str = "x-consul-token";

struct Gate {
    outside: Arc<Outside>,
    shared: Arc<Shared>,
}

/// `application`, for callers with a good token only.
pub(in crate::serve) fn behind_gate(
    application: Router,
    outside: Arc<Outside>,
    shared: Arc<Shared>,
) -> Router {
    application.layer(from_fn_with_state(Arc::new(Gate { outside, shared }), pass))
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let token = token(request.headers()).map(str::to_owned);
    let deadline = tokio::time::Instant::now() + HTTP_HOLD;
    match gate.outside.admit(token.as_deref(), deadline).await {
        Ok(_) => next.run(request).await,
        Err(turned_away) => {
            gate.shared.metrics.called("http", "other", "denied", started.elapsed());
            refusal(&turned_away)
        }
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    header(TOKEN_HEADER).or_else(|| header(AUTHORIZATION.as_str()).and_then(bearer))
}

/// As Consul's clients know refusals: bare texts; 500 for whatever could not be done, or they give up for good.
fn refusal(turned_away: &TurnedAway) -> Response {
    let (status, challenge) = match turned_away {
        TurnedAway::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, true),
        TurnedAway::Denied(_) => (StatusCode::FORBIDDEN, false),
        TurnedAway::Unavailable(_) => (StatusCode::INTERNAL_SERVER_ERROR, false),
    };
    let text = match turned_away {
        TurnedAway::Denied(message) => format!("Permission denied: {message}"),
        other => other.message().to_owned(),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    if challenge {
        response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
    }
    response
}
