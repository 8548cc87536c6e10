//! `/v1/snapshot`: the whole state as one archive of our own (consul-http.md §8).

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tokio::time::Instant;

use super::Api;
use super::answer;
use super::params::Params;
use super::refused::Refused;
use super::token::{check_admin, token};
use crate::driver::{ErrorKind, ReadResult};
use crate::limits::REQUEST_TIMEOUT_MAX;
use crate::serve::archive;

/// Saves: streamed, and whole only if the transfer ends as HTTP says that it should.
pub(super) async fn save(api: &Api, params: &Params) -> Result<Response, Refused> {
    let consistency = params.read()?.consistency;
    if let Some(why) = api.shared.out_of_service() {
        return Err(Refused::Failed(why.to_owned()));
    }
    let handle = &api.shared.context.handle;
    // A large state takes its time to be copied, and nothing is said to the caller until then.
    let snapshot = handle.snapshot(consistency, Instant::now() + REQUEST_TIMEOUT_MAX).await?;
    let header = snapshot.file.header();
    let index = header.last.index.0 + header.index_base;
    let view = handle.view();
    let read = ReadResult {
        value: (),
        applied: header.last,
        leader_known: view.status.leader.is_some(),
        last_contact: view.leader_silence(),
    };
    let mut response = answer::respond(200, Body::from_stream(archive::stream(snapshot)));
    answer::header(&mut response, "content-type", "application/x-gzip");
    answer::index_headers(&mut response, index, consistency, &read);
    Ok(response)
}

/// Restores: an archive of ours takes the place of all keys (K17). Needs the admin token (K23); anything else than one of
/// our archives is 400, and nothing changes.
pub(super) async fn restore(api: &Api, params: &Params, request: Request) -> Result<Response, Refused> {
    if let Some(why) = api.shared.out_of_service() {
        return Err(Refused::Failed(why.to_owned()));
    }
    let handle = &api.shared.context.handle;
    check_admin(&api.shared, token(params, request.headers()).as_deref()).map_err(Refused::denied)?;
    let body = request.into_body().into_data_stream();
    let restored = archive::restore(handle, body).await.map_err(|error| match error.kind {
        ErrorKind::Invalid => Refused::Bad(error.message),
        _ => Refused::Call(error),
    })?;
    let mut response = answer::text(200, "");
    answer::header(&mut response, "x-consul-index", &restored.api_index.to_string());
    Ok(response)
}
