//! A small web application whose data is kept by Quorate: it counts visits and remembers a greeting.
//!
//! Every replica of it talks to the sidecar in its own Pod and nothing else; whichever replica one asks, the
//! answer is the same, and no visit is lost when a Pod, or the leader, goes away.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the greeting and the number of this visit |
//! | `GET /visits` | the number of visits, without counting one |
//! | `GET /greeting`, `PUT /greeting` | the greeting; the body is the new one |
//! | `GET /whoami` | which member answers, and who leads (JSON) |
//! | `GET /healthz` | 200 while the process runs |
//!
//! `QUORATE_EXAMPLE_ADDR` is where it listens (0.0.0.0:8080), `QUORATE_GRPC_ADDR` where its sidecar does.

mod visits;

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use quorate_client::{Client, Error};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

const LISTEN_DEFAULT: &str = "0.0.0.0:8080";
const GREETING_KEY: &str = "example/greeting";
const GREETING_DEFAULT: &str = "Hello from Quorate";

/// A greeting is a line, not a document.
const GREETING_BYTES_MAX: usize = 1_024;

/// The program ends on failure to listen only; a sidecar that is away is an answer of 503 meanwhile.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::var("QUORATE_EXAMPLE_ADDR").unwrap_or_else(|_| LISTEN_DEFAULT.to_owned());
    let address: SocketAddr =
        address.parse().with_context(|| format!("QUORATE_EXAMPLE_ADDR={address} is not ip:port"))?;
    let client = Client::from_env()?;
    let application = Router::new()
        .route("/", get(visit))
        .route("/visits", get(visits_so_far))
        .route("/greeting", get(greeting).put(set_greeting))
        .route("/whoami", get(whoami))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(client);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is the port taken?"))?;
    println!("listening on {address}");
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    axum::serve(listener, application).with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn visit(State(client): State<Client>) -> Result<String, Failed> {
    let greeting = read_greeting(&client).await?;
    let number = visits::count_one(&client).await?;
    Ok(format!("{greeting}\nvisit {number}\n"))
}

async fn visits_so_far(State(client): State<Client>) -> Result<String, Failed> {
    Ok(format!("{}\n", visits::so_far(&client).await?))
}

async fn greeting(State(client): State<Client>) -> Result<String, Failed> {
    Ok(format!("{}\n", read_greeting(&client).await?))
}

async fn set_greeting(State(client): State<Client>, text: String) -> Result<String, Failed> {
    let text = text.trim_end().to_owned();
    if text.is_empty() || text.len() > GREETING_BYTES_MAX {
        return Err(Failed::Input(format!(
            "the greeting is {} bytes, it needs 1 to {GREETING_BYTES_MAX}: send another one; not applied",
            text.len()
        )));
    }
    client.put(GREETING_KEY, text).await?;
    Ok("ok\n".to_owned())
}

/// What `GET /whoami` says.
#[derive(Serialize)]
struct WhoAmI {
    member: String,
    raft_id: String,
    role: &'static str,
    leader: Option<String>,
    term: u64,
}

async fn whoami(State(client): State<Client>) -> Result<Json<WhoAmI>, Failed> {
    let member = client.member().await?;
    Ok(Json(WhoAmI {
        member: member.name,
        raft_id: member.raft_id,
        role: member.role.as_str(),
        leader: member.leader,
        term: member.term,
    }))
}

async fn read_greeting(client: &Client) -> Result<String, Error> {
    let entry = client.get(GREETING_KEY).await?;
    Ok(entry.map_or_else(
        || GREETING_DEFAULT.to_owned(),
        |entry| String::from_utf8_lossy(&entry.value).into_owned(),
    ))
}

/// A request that did not work out.
enum Failed {
    /// The caller's doing.
    Input(String),
    /// The cluster's.
    Cluster(Error),
    /// Another application wrote something else where the number should be.
    Foreign(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Cluster(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (code, text) = match self {
            Self::Input(text) => (StatusCode::BAD_REQUEST, text),
            Self::Foreign(text) => (StatusCode::INTERNAL_SERVER_ERROR, text),
            Self::Cluster(error @ Error::Invalid { .. }) => (StatusCode::BAD_REQUEST, error.to_string()),
            Self::Cluster(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        (code, format!("{text}\n")).into_response()
    }
}
