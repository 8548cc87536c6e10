//! Answers: JSON as Consul writes it, bare texts, and the headers clients cannot do without (consul-http.md §1.1).

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::params::Params;
use crate::driver::{Consistency, ReadResult};

/// A bare text.
pub(super) fn text(status: u16, message: &str) -> Response {
    let mut response = respond(status, message.to_owned().into());
    header(&mut response, "content-type", "text/plain; charset=utf-8");
    response
}

/// JSON: compact and without a newline, or for people.
pub(super) fn json(status: u16, value: &impl Serialize, params: &Params) -> Response {
    let mut bytes = Vec::new();
    let written = if params.has("pretty") {
        let formatter = PrettyFormatter::with_indent(b"    ");
        let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
        bytes.push(b'\n');
        written
    } else {
        value.serialize(&mut Serializer::new(&mut bytes))
    };
    debug_assert!(written.is_ok(), "our shapes have string keys, and a Vec takes every byte");
    let mut response = respond(status, bytes.into());
    header(&mut response, "content-type", "application/json");
    response
}

/// 200 or 405 with the methods that are allowed.
pub(super) fn allow(status: u16, methods: &[Method], message: &str) -> Response {
    let mut response = text(status, message);
    let allowed = methods.iter().fold("OPTIONS".to_owned(), |all, method| format!("{all},{method}"));
    header(&mut response, "allow", &allowed);
    response
}

/// What every read carries, on 404 too. A linearizable answer was just confirmed by the leader: its contact is 0.
pub(super) fn index_headers<T>(
    response: &mut Response,
    index: u64,
    consistency: Consistency,
    read: &ReadResult<T>,
) {
    header(response, "x-consul-index", &index.max(1).to_string());
    contact_headers(response, consistency, read);
    header(response, "x-consul-query-backend", "blocking-query");
}

/// What says how fresh a read is.
pub(super) fn contact_headers<T>(response: &mut Response, consistency: Consistency, read: &ReadResult<T>) {
    let is_confirmed = consistency == Consistency::Linearizable;
    let leader_known = is_confirmed || read.leader_known;
    header(response, "x-consul-knownleader", if leader_known { "true" } else { "false" });
    let last_contact = read.last_contact.filter(|_| !is_confirmed).map_or(0, |contact| contact.as_millis());
    header(response, "x-consul-lastcontact", &last_contact.to_string());
}

pub(super) fn respond(status: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Sets a header to a value of visible ASCII.
pub(super) fn header(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
