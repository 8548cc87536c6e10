//! `/v1/kv/<key>`: GET, PUT, DELETE (consul-http.md §4).

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use quorate_machine::limits::VALUE_BYTES_MAX;
use quorate_machine::{ApiIndex, Command, Outcome, SessionId, Tagged};
use tokio::time::Instant;

use super::Api;
use super::answer;
use super::key::parse_key;
use super::params::{Params, ReadParams, quoted};
use super::question::{Answer, Question};
use super::refused::Refused;
use crate::driver::{Consistency, ReadResult};
use crate::serve::limits::HTTP_HOLD;

pub(super) async fn serve(
    api: &Api,
    method: &Method,
    raw_key: &str,
    params: &Params,
    request: Request,
) -> Result<Response, Refused> {
    let key = parse_key(raw_key)?;
    let read = params.read()?;
    if let Some(why) = api.shared.out_of_service() {
        return Err(Refused::Failed(why.to_owned()));
    }
    if *method == Method::PUT {
        put(api, key, params, request).await
    } else if *method == Method::DELETE {
        delete(api, key, params).await
    } else {
        get(api, key, params, read).await
    }
}

async fn get(api: &Api, key: Bytes, params: &Params, read: ReadParams) -> Result<Response, Refused> {
    let question = Question::parse(key, params)?;
    // Waiting begins before the first look, so that no change falls between the two.
    let watch = if read.index > 0 { Some(api.watches.keys(read.wait)?) } else { None };
    let mut answer = ask(api, &question, read.consistency).await?;
    if let Some(mut watch) = watch
        && answer.value.index.0 <= read.index
    {
        // A missing key is woken by its creation only, not by writes to others.
        let was_missing = answer.value.is_missing_key();
        while watch.changed().await {
            let (index, exists) = glance(api, &question).await?;
            if index.0 > read.index && (exists || !was_missing) {
                break;
            }
        }
        answer = ask(api, &question, read.consistency).await?;
    }
    if answer.value.is_cut {
        return Err(Refused::list_too_large());
    }
    let mut response = answer.value.respond(params);
    answer::index_headers(&mut response, answer.value.index.0, read.consistency, &answer);
    Ok(response)
}

async fn ask(
    api: &Api,
    question: &Question,
    consistency: Consistency,
) -> Result<ReadResult<Answer>, Refused> {
    let question = question.clone();
    Ok(api.shared.context.handle.read(consistency, hold(), move |state| question.ask(state)).await?)
}

/// What a waiter compares after each change: this member's own state is enough to see whether it is worth asking.
async fn glance(api: &Api, question: &Question) -> Result<(ApiIndex, bool), Refused> {
    let question = question.clone();
    let handle = &api.shared.context.handle;
    Ok(handle.read(Consistency::Stale, hold(), move |state| question.glance(state)).await?.value)
}

async fn put(api: &Api, key: Bytes, params: &Params, request: Request) -> Result<Response, Refused> {
    params.at_most_one_of(&["cas", "acquire", "release"])?;
    if key.is_empty() {
        return Err(Refused::missing_key());
    }
    let flags = params.number("flags")?.unwrap_or(0);
    let expected = params.number("cas")?.map(ApiIndex);
    let value = body(request).await?;
    let command = if let Some(text) = params.get("acquire") {
        let session = session(text)?.ok_or_else(|| invalid_session(text))?;
        Command::Acquire { key, value, flags, session }
    } else if let Some(text) = params.get("release") {
        // Of what is no session nothing is held.
        let Some(session) = session(text)? else { return Ok(answer::json(200, &false, params)) };
        Command::Release { key, value, flags, session }
    } else if let Some(expected) = expected {
        Command::CompareAndSet { key, value, flags, expected }
    } else {
        Command::Put { key, value, flags }
    };
    write(api, command, params).await
}

/// The session a client named; none if it can't be one.
fn session(text: &str) -> Result<Option<SessionId>, Refused> {
    if text.is_empty() {
        return Err(Refused::Failed("missing session".to_owned()));
    }
    Ok(SessionId::parse(text))
}

/// Patroni looks for a 500 that begins so.
fn invalid_session(text: &str) -> Refused {
    Refused::Failed(format!("invalid session \"{}\"", quoted(text)))
}

async fn delete(api: &Api, key: Bytes, params: &Params) -> Result<Response, Refused> {
    params.at_most_one_of(&["cas", "recurse"])?;
    let expected = params.number("cas")?.map(ApiIndex);
    if params.has("recurse") {
        return write(api, Command::DeletePrefix { prefix: key }, params).await;
    }
    if key.is_empty() {
        return Err(Refused::missing_key());
    }
    write(api, Command::Delete { key, expected }, params).await
}

async fn write(api: &Api, command: Command, params: &Params) -> Result<Response, Refused> {
    command.validate().map_err(|invalid| Refused::from_invalid(&invalid))?;
    let command = Tagged { tag: None, command };
    let applied = api.shared.context.handle.propose(&command, hold()).await?;
    match applied.outcome {
        Outcome::Written { .. } | Outcome::Deleted { .. } | Outcome::Acquired { .. } => {
            Ok(answer::json(200, &true, params))
        }
        Outcome::Mismatch { .. } | Outcome::NotAcquired(_) | Outcome::NotHeld => {
            Ok(answer::json(200, &false, params))
        }
        Outcome::Refused(refusal) => Err(Refused::Failed(refusal.to_string())),
        Outcome::Txn(_)
        | Outcome::TxnFailed(_)
        | Outcome::Registered { .. }
        | Outcome::SessionCreated { .. } => Err(Refused::unexpected()),
    }
}

/// The whole body if it is within the limit, whatever its content type says.
pub(super) async fn body(request: Request) -> Result<Bytes, Refused> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|bytes: u64| bytes > VALUE_BYTES_MAX as u64) {
        return Err(Refused::body_too_large(length));
    }
    match Limited::new(request.into_body(), VALUE_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::body_too_large(None)),
        Err(_) => Err(Refused::Bad("the request's body broke off: send it again; not applied".to_owned())),
    }
}

/// How long a call waits for a leader and its commit.
pub(super) fn hold() -> Instant {
    Instant::now() + HTTP_HOLD
}
