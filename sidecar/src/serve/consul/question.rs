//! What a GET of `/v1/kv` asks, what it found, and how that is told.

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_api::json;
use quorate_machine::{ApiIndex, KvEntry, PageLimit};

use super::answer;
use super::params::Params;
use super::refused::Refused;
use crate::driver::{QueryError, State};
use crate::serve::limits::{HTTP_LIST_BYTES_MAX, HTTP_LIST_ROWS_MAX};

#[derive(Clone, Debug)]
pub(super) enum Question {
    One(Bytes),
    Tree(Bytes),
    Keys { prefix: Bytes, separator: Bytes },
}

enum Found {
    One(Option<KvEntry>),
    Tree(Vec<KvEntry>),
    Keys {
        keys: Vec<Bytes>,
        /// The prefix was empty: then no keys are an empty list, and not a 404 (vector 14).
        is_everything: bool,
    },
}

pub(super) struct Answer {
    found: Found,
    pub(super) index: ApiIndex,
    /// There was more than one answer may hold.
    pub(super) is_cut: bool,
}

impl Question {
    /// `keys` beats `recurse`, and `separator` its old misspelling.
    pub(super) fn parse(key: Bytes, params: &Params) -> Result<Self, Refused> {
        if params.has("keys") {
            let separator = params.get("separator").or_else(|| params.get("seperator")).unwrap_or_default();
            return Ok(Self::Keys { prefix: key, separator: Bytes::copy_from_slice(separator.as_bytes()) });
        }
        if params.has("recurse") {
            return Ok(Self::Tree(key));
        }
        if key.is_empty() {
            return Err(Refused::missing_key());
        }
        Ok(Self::One(key))
    }

    pub(super) fn ask(&self, state: &State) -> Result<Answer, QueryError> {
        match self {
            Self::One(key) => {
                let read = state.get(key)?;
                Ok(Answer { found: Found::One(read.entry), index: read.index, is_cut: false })
            }
            Self::Tree(prefix) => {
                let limit = PageLimit { rows_max: HTTP_LIST_ROWS_MAX, bytes_max: HTTP_LIST_BYTES_MAX };
                let list = state.list(prefix, None, limit)?;
                Ok(Answer { found: Found::Tree(list.entries), index: list.index, is_cut: list.is_cut })
            }
            Self::Keys { prefix, separator } => {
                let separator = Some(&separator[..]).filter(|separator| !separator.is_empty());
                let list = state.keys(prefix, separator, None, HTTP_LIST_ROWS_MAX)?;
                let found = Found::Keys { keys: list.keys, is_everything: prefix.is_empty() };
                Ok(Answer { found, index: list.index, is_cut: list.is_cut })
            }
        }
    }

    /// The index alone, and for a single key whether it exists.
    pub(super) fn glance(&self, state: &State) -> Result<(ApiIndex, bool), QueryError> {
        match self {
            Self::One(key) => {
                let read = state.get(key)?;
                Ok((read.index, read.entry.is_some()))
            }
            Self::Tree(prefix) | Self::Keys { prefix, .. } => Ok((state.prefix_index(prefix)?, true)),
        }
    }
}

impl Answer {
    /// A single key was asked for and is not there.
    pub(super) fn is_missing_key(&self) -> bool {
        matches!(self.found, Found::One(None))
    }

    /// The answer without its headers of freshness.
    pub(super) fn respond(&self, params: &Params) -> Response {
        match &self.found {
            Found::One(Some(entry)) if params.has("raw") => raw(entry.value.clone()),
            Found::One(Some(entry)) => answer::json(200, &[shape(entry)], params),
            Found::Tree(entries) if !entries.is_empty() => {
                answer::json(200, &entries.iter().map(shape).collect::<Vec<_>>(), params)
            }
            Found::Keys { keys, is_everything } if *is_everything || !keys.is_empty() => {
                answer::json(200, &keys.iter().map(|key| text(key)).collect::<Vec<_>>(), params)
            }
            Found::One(None) | Found::Tree(_) | Found::Keys { .. } => answer::respond(404, Body::empty()),
        }
    }
}

fn raw(value: Bytes) -> Response {
    let mut response = answer::respond(200, value.into());
    answer::header(&mut response, "content-type", "text/plain");
    // A browser must not run what somebody stored.
    answer::header(&mut response, "x-content-type-options", "nosniff");
    answer::header(&mut response, "content-security-policy", "sandbox");
    response
}

pub(super) fn shape(entry: &KvEntry) -> json::KvEntry {
    json::KvEntry {
        lock_index: entry.lock_index,
        key: text(&entry.key),
        flags: entry.flags,
        value: (!entry.value.is_empty()).then(|| STANDARD.encode(&entry.value)),
        session: entry.session.map(|session| session.to_string()),
        create_index: entry.create_index.0,
        modify_index: entry.modify_index.0,
    }
}

/// Keys written over gRPC may be any bytes; JSON can't say them exactly.
fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
