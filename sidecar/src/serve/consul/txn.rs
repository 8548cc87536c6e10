//! `/v1/txn` (consul-http.md §6).

use axum::extract::Request;
use axum::response::Response;
use quorate_api::json;
use quorate_machine::{Command, Outcome, Tagged, TxnOp};

use super::Api;
use super::answer;
use super::kv::{body, hold};
use super::params::Params;
use super::question::shape;
use super::refused::Refused;
use super::txn_body::{self, Parsed};

pub(super) async fn serve(api: &Api, params: &Params, request: Request) -> Result<Response, Refused> {
    let read = params.read()?;
    if let Some(why) = api.shared.out_of_service() {
        return Err(Refused::Failed(why.to_owned()));
    }
    let ops = match txn_body::parse(&body(request).await?)? {
        Parsed::Ops(ops) => ops,
        Parsed::Wrong(errors) => return Ok(failed(errors, params)),
    };
    let command = Command::Txn(ops.clone());
    command.validate().map_err(|invalid| Refused::from_invalid(&invalid))?;
    let handle = &api.shared.context.handle;
    if ops.iter().any(TxnOp::is_write) {
        let applied = handle.propose(&Tagged { tag: None, command }, hold()).await?;
        return respond(applied.outcome, params);
    }
    let found = handle.read(read.consistency, hold(), move |state| state.read_txn(&ops)).await?;
    let mut response = respond(found.value.clone(), params)?;
    answer::contact_headers(&mut response, read.consistency, &found);
    Ok(response)
}

fn respond(outcome: Outcome, params: &Params) -> Result<Response, Refused> {
    match outcome {
        Outcome::Txn(entries) => {
            let results = entries.iter().map(|entry| json::TxnResult { kv: shape(entry) }).collect();
            Ok(answer::json(200, &json::Txn { results: Some(results), errors: None }, params))
        }
        Outcome::TxnFailed(failures) => {
            let error = |failure: quorate_machine::TxnFailure| json::TxnError {
                op_index: failure.op_index,
                what: failure.reason.to_string(),
            };
            Ok(failed(failures.into_iter().map(error).collect(), params))
        }
        Outcome::Refused(refusal) => Err(Refused::Failed(refusal.to_string())),
        _ => Err(Refused::unexpected()),
    }
}

/// 409: nothing was changed.
fn failed(errors: Vec<json::TxnError>, params: &Params) -> Response {
    answer::json(409, &json::Txn { results: None, errors: Some(errors) }, params)
}
