//! A stand-in for the API server: it records what was asked and answers from a table. Tests only.
//!
//! It shows what is sent and how answers are taken, nothing about the API server's own rules; those are tested on
//! a real one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};

use crate::target::Target;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// Requests so far, and the answers still to give.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
}

impl FakeApi {
    pub(crate) fn answer(&self, code: u16, body: Value) {
        self.answers.lock().unwrap().push_back((code, body));
    }

    pub(crate) fn refuse(&self, code: u16, field: &str) {
        self.answer(
            code,
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "refused",
                "reason": if code == 404 { "NotFound" } else { "Refused" }, "details": { "causes": [{ "field": field, "message": "m", "reason": "r" }] } }),
        );
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = api.clone();
            async move { api.take(request).await }
        });
        Client::new(service, "ns")
    }

    async fn take(
        &self,
        request: http::Request<kube::client::Body>,
    ) -> Result<http::Response<kube::client::Body>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        self.asked.lock().unwrap().push(Asked {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        });
        let (code, answer) = self.answers.lock().unwrap().pop_front().expect("an unexpected request");
        let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
        Ok(http::Response::builder().status(code).body(body).unwrap())
    }
}

pub(crate) fn target() -> Target {
    Target {
        namespace: "ns".to_owned(),
        cluster: "db".to_owned(),
        cluster_uid: "uid-of-db".to_owned(),
        pod: "db-0".to_owned(),
        pod_uid: None,
        pod_ip: "10.0.0.7".to_owned(),
        lease: "db-leader".to_owned(),
        leader_slice: Some("db-leader".to_owned()),
    }
}
