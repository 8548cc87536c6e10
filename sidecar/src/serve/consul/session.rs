//! `/v1/session/*` (consul-http.md §5).

use axum::extract::Request;
use axum::response::Response;
use quorate_api::json;
use quorate_machine::{
    ApiIndex, Behavior, Command, Invalid, Outcome, Session, SessionId, SessionList, Tagged,
};

use super::Api;
use super::answer;
use super::key::decode_percent;
use super::kv::{body, hold};
use super::params::{Params, quoted};
use super::refused::Refused;
use super::session_body;
use crate::driver::{Consistency, ReadResult, State};

/// The one check there is: it always passes.
pub(super) const CHECK: &str = "serfHealth";

pub(super) async fn create(api: &Api, params: &Params, request: Request) -> Result<Response, Refused> {
    in_service(api)?;
    let body = body(request).await?;
    let id = SessionId::from_random(rand::random());
    let spec = session_body::parse(&body, id, &|node| resolve(api, node))?;
    let command = Command::CreateSession(Box::new(spec));
    command.validate().map_err(|invalid| match invalid {
        Invalid::SessionTtl { .. } => Refused::Failed(invalid.to_string()),
        other => Refused::from_invalid(&other),
    })?;
    match propose(api, command).await? {
        Outcome::SessionCreated { session } => {
            Ok(answer::json(200, &json::SessionCreated { id: session.to_string() }, params))
        }
        _ => Err(Refused::unexpected()),
    }
}

/// The node to bind a session to: this member if none is named; none if no member is called so.
fn resolve(api: &Api, node: Option<String>) -> Option<String> {
    let own = &*api.shared.context.name;
    let Some(node) = node.filter(|node| node != own) else { return Some(own.to_owned()) };
    let view = api.shared.context.handle.view();
    let latest = view.status.latest.as_ref()?;
    let is_member = latest.configuration.servers().iter().any(|server| server.id.raft_id.to_string() == node);
    is_member.then_some(node)
}

pub(super) async fn destroy(api: &Api, path: &str, params: &Params) -> Result<Response, Refused> {
    in_service(api)?;
    let text = last_part(path, "Missing session")?;
    if let Some(session) = SessionId::parse(&text) {
        match propose(api, Command::DestroySession { session }).await? {
            Outcome::Deleted { .. } => {}
            _ => return Err(Refused::unexpected()),
        }
    }
    // What cannot be a session is gone already.
    Ok(answer::json(200, &true, params))
}

pub(super) async fn renew(api: &Api, path: &str, params: &Params) -> Result<Response, Refused> {
    in_service(api)?;
    let text = last_part(path, "Missing session")?;
    let renewed = match SessionId::parse(&text) {
        Some(id) => api.shared.context.handle.renew_session(id, hold()).await?,
        None => None,
    };
    // Clients make a new session when they read this.
    let session =
        renewed.ok_or_else(|| Refused::NotFound(format!("Session id '{}' not found", quoted(&text))))?;
    Ok(answer::json(200, &[shape(&session)], params))
}

pub(super) async fn info(api: &Api, path: &str, params: &Params) -> Result<Response, Refused> {
    let text = last_part(path, "Missing session")?;
    read(api, Wanted::One(SessionId::parse(&text)), params).await
}

pub(super) async fn node(api: &Api, path: &str, params: &Params) -> Result<Response, Refused> {
    let text = last_part(path, "Missing node name")?;
    read(api, Wanted::Node(text), params).await
}

pub(super) async fn list(api: &Api, params: &Params) -> Result<Response, Refused> {
    read(api, Wanted::All, params).await
}

/// Which sessions are asked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// None: it was named by what is no ID.
    One(Option<SessionId>),
    Node(String),
    All,
}

async fn read(api: &Api, wanted: Wanted, params: &Params) -> Result<Response, Refused> {
    let read = params.read()?;
    in_service(api)?;
    // Waiting begins before the first look, so that no change falls between the two.
    let watch = if read.index > 0 { Some(api.watches.sessions(read.wait)?) } else { None };
    let mut answer = ask(api, &wanted, read.consistency).await?;
    if let Some(mut watch) = watch
        && answer.value.index.0 <= read.index
    {
        // A missing session is woken by nothing that concerns others: its ID will never live.
        let was_missing = matches!(wanted, Wanted::One(_)) && answer.value.sessions.is_empty();
        while watch.changed().await {
            let (index, exists) = glance(api, &wanted).await?;
            if index.0 > read.index && (exists || !was_missing) {
                break;
            }
        }
        answer = ask(api, &wanted, read.consistency).await?;
    }
    let sessions: Vec<_> = answer.value.sessions.iter().map(shape).collect();
    let mut response = answer::json(200, &sessions, params);
    answer::index_headers(&mut response, answer.value.index.0, read.consistency, &answer);
    Ok(response)
}

async fn ask(
    api: &Api,
    wanted: &Wanted,
    consistency: Consistency,
) -> Result<ReadResult<SessionList>, Refused> {
    let wanted = wanted.clone();
    let look = move |state: &State| {
        let index = state.sessions_index();
        Ok(match wanted {
            Wanted::One(id) => {
                let found = id.map(|id| state.session(id)).transpose()?.flatten();
                SessionList { sessions: found.into_iter().collect(), index }
            }
            Wanted::Node(node) => {
                let mut list = state.sessions()?;
                list.sessions.retain(|session| session.spec.node == node);
                list
            }
            Wanted::All => state.sessions()?,
        })
    };
    Ok(api.shared.context.handle.read(consistency, hold(), look).await?)
}

/// What a waiter compares after each change: the index alone, and for a single session whether it lives.
async fn glance(api: &Api, wanted: &Wanted) -> Result<(ApiIndex, bool), Refused> {
    let one = match wanted {
        Wanted::One(id) => *id,
        Wanted::Node(_) | Wanted::All => None,
    };
    let look = move |state: &State| {
        let found = one.map(|id| state.session(id)).transpose()?.flatten();
        Ok((state.sessions_index(), found.is_some()))
    };
    Ok(api.shared.context.handle.read(Consistency::Stale, hold(), look).await?.value)
}

async fn propose(api: &Api, command: Command) -> Result<Outcome, Refused> {
    let applied = api.shared.context.handle.propose(&Tagged { tag: None, command }, hold()).await?;
    match applied.outcome {
        Outcome::Refused(refusal) => Err(Refused::Failed(refusal.to_string())),
        outcome => Ok(outcome),
    }
}

fn in_service(api: &Api) -> Result<(), Refused> {
    api.shared.out_of_service().map_or(Ok(()), |why| Err(Refused::Failed(why.to_owned())))
}

/// What the path ends in, decoded.
fn last_part(path: &str, missing: &str) -> Result<String, Refused> {
    let raw = path.rsplit('/').next().unwrap_or_default();
    let bytes = decode_percent(raw).ok_or(Refused::UnprintablePath)?;
    let text = String::from_utf8(bytes).map_err(|_| Refused::UnprintablePath)?;
    if text.is_empty() { Err(Refused::Bad(missing.to_owned())) } else { Ok(text) }
}

fn shape(session: &Session) -> json::Session {
    let spec = &session.spec;
    json::Session {
        id: spec.id.to_string(),
        name: spec.name.clone(),
        node: spec.node.clone(),
        lock_delay: u64::try_from(spec.lock_delay.as_nanos()).unwrap_or(u64::MAX),
        behavior: match spec.behavior {
            Behavior::Release => "release",
            Behavior::Delete => "delete",
        },
        ttl: spec.ttl.text.clone(),
        node_checks: if spec.checks.node { vec![CHECK] } else { Vec::new() },
        service_checks: spec.checks.service.then_some([]),
        checks: spec.checks.named.then(|| vec![CHECK]),
        create_index: session.create_index.0,
        modify_index: session.create_index.0,
    }
}
