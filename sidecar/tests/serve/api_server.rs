//! A stand-in for the API server: HTTPS on loopback, with an authority and a token of its own. It answers `TokenReviews`
//! as a real one does, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use quorate_publish::Connection;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the member itself comes with.
const MEMBERS_TOKEN: &str = "the member's own";

/// How it feels about reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    /// The member's account lacks the right.
    Forbids,
    /// It is overwhelmed.
    Fails,
}

struct Holds {
    /// User names and audiences by token.
    tokens: BTreeMap<String, (String, String)>,
    mood: Mood,
    asked: Vec<String>,
}

/// It runs until it is dropped.
pub(crate) struct ApiServer {
    holds: Arc<Mutex<Holds>>,
    port: u16,
    credentials: TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let credentials = tempfile::tempdir().unwrap();
        write(credentials.path(), "ca.crt", &certificate.pem());
        write(credentials.path(), "token", MEMBERS_TOKEN);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let holds =
            Arc::new(Mutex::new(Holds { tokens: BTreeMap::new(), mood: Mood::Answers, asked: Vec::new() }));
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .with_state(Arc::clone(&holds));
        let serving = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(settings)), router));
        Self { holds, port, credentials, serving }
    }

    /// As a Pod would reach it.
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            credentials: self.credentials.path().to_owned(),
        }
    }

    /// A token is issued.
    pub(crate) fn issue(&self, token: &str, user: &str, audience: &str) {
        let mut holds = self.holds.lock().unwrap();
        holds.tokens.insert(token.to_owned(), (user.to_owned(), audience.to_owned()));
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.holds.lock().unwrap().mood = mood;
    }

    /// The tokens it was asked about, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.holds.lock().unwrap().asked.clone()
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.spawn(async move {
            // A caller that breaks off is its own business.
            if let Ok(stream) = acceptor.accept(tcp).await {
                let service = TowerToHyperService::new(router);
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}

async fn review(
    State(holds): State<Arc<Mutex<Holds>>>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut holds = holds.lock().unwrap();
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {MEMBERS_TOKEN}")) {
        return refusal(401, "Unauthorized");
    }
    match holds.mood {
        Mood::Answers => {}
        Mood::Forbids => return refusal(403, "cannot create resource \"tokenreviews\""),
        Mood::Fails => return refusal(503, "the server is too busy"),
    }
    let token = asked["spec"]["token"].as_str().unwrap().to_owned();
    holds.asked.push(token.clone());
    let wanted = asked["spec"]["audiences"].clone();
    let is_for = |audience: &str| wanted.as_array().unwrap().iter().any(|wanted| wanted == audience);
    let status = match holds.tokens.get(&token) {
        Some((user, audience)) if is_for(audience) => {
            json!({ "authenticated": true, "user": { "username": user }, "audiences": [audience] })
        }
        Some(_) => {
            json!({ "authenticated": false, "error": "token audiences are invalid for the target audiences" })
        }
        None => json!({ "authenticated": false, "error": "invalid bearer token" }),
    };
    let answer = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": asked["spec"], "status": status,
    });
    (StatusCode::CREATED, Json(answer))
}

fn refusal(code: u16, message: &str) -> (StatusCode, Json<Value>) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message, "reason": "Refused",
    });
    (StatusCode::from_u16(code).unwrap(), Json(status))
}
