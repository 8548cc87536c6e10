//! `/v1/sys/storage/raft/{configuration,remove-peer,snapshot}`, as Vault's clients ask them (api.md).
//!
//! The same calls as Consul's view of them, in Vault's shapes. An unknown server is a 400 here, where Vault says yes: a
//! name that was mistyped must not look like a removal.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use quorate_api::json::{VaultRaft, VaultRaftConfiguration, VaultRaftServer};
use serde_json::Value;

use super::Api;
use super::answer;
use super::kv::{body, hold};
use super::params::Params;
use super::refused::Refused;
use super::snapshot;
use super::token::{check_admin, check_membership, token};
use super::vault::{denied, wrapped};
use crate::driver::{Consistency, ErrorKind, ServerList, ServerName};

/// The leader's configuration.
pub(super) async fn configuration(api: &Api, params: &Params) -> Result<Response, Refused> {
    let list = api.shared.context.handle.servers(Consistency::Linearizable, hold()).await?;
    Ok(wrapped(vault_configuration(list), params))
}

/// 204 once the server that the body names is out; needs the admin token, and on Kubernetes is the operator's alone.
pub(super) async fn remove_peer(api: &Api, params: &Params, request: Request) -> Result<Response, Refused> {
    check_membership(&api.shared, token(params, request.headers()).as_deref()).map_err(denied)?;
    let name = ServerName::RaftId(server_id(&body(request).await?)?);
    match api.shared.context.handle.remove_server(&name, hold()).await {
        Ok(_) => Ok(answer::respond(204, Body::empty())),
        Err(error) if error.kind == ErrorKind::Invalid => Err(Refused::Bad(error.message)),
        Err(error) => Err(error.into()),
    }
}

/// All keys as one archive.
pub(super) async fn save(api: &Api, params: &Params) -> Result<Response, Refused> {
    let mut response = snapshot::save(api, params).await?;
    answer::header(&mut response, "content-type", "application/gzip");
    answer::header(&mut response, "content-disposition", "attachment");
    Ok(response)
}

/// 204 once an archive has taken the place of all keys.
pub(super) async fn restore(api: &Api, params: &Params, request: Request) -> Result<Response, Refused> {
    check_admin(&api.shared, token(params, request.headers()).as_deref()).map_err(denied)?;
    snapshot::restore(api, params, request).await?;
    Ok(answer::respond(204, Body::empty()))
}

/// Whom a body names.
fn server_id(body: &[u8]) -> Result<String, Refused> {
    let fields = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(Refused::Bad("error parsing JSON: the body is not an object".to_owned())),
        Err(error) => return Err(Refused::Bad(format!("error parsing JSON: {error}"))),
    };
    match fields.get("server_id") {
        Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
        None | Some(Value::Null | Value::String(_)) => Err(Refused::Bad("no server id provided".to_owned())),
        Some(_) => Err(Refused::Bad("server_id is not a string; nothing was changed".to_owned())),
    }
}

fn vault_configuration(list: ServerList) -> VaultRaft {
    let servers = list.servers.into_iter().map(|server| VaultRaftServer {
        node_id: server.raft_id,
        address: server.address,
        leader: server.is_leader,
        protocol_version: "3",
        voter: server.has_vote,
    });
    VaultRaft { config: VaultRaftConfiguration { servers: servers.collect(), index: list.index.0 } }
}

#[cfg(test)]
mod tests {
    use super::super::operator::tests::list;
    use super::*;

    /// api.md: every field, in the spelling of Vault.
    #[test]
    fn a_configuration_is_spelled_as_vault_spells_it() {
        assert_eq!(
            serde_json::to_string(&vault_configuration(list())).unwrap(),
            concat!(
                r#"{"config":{"servers":[{"node_id":"db-0","address":"db-0.db:7400","leader":true,"#,
                r#""protocol_version":"3","voter":true},{"node_id":"db-1","address":"db-1.db:7400","leader":false,"#,
                r#""protocol_version":"3","voter":false}],"index":42}}"#
            )
        );
    }

    /// P10: what names nobody is refused before anybody is asked.
    #[test]
    fn a_body_names_one_server() {
        assert_eq!(server_id(br#"{"server_id":"db-1","dr_operation_token":""}"#), Ok("db-1".to_owned()));
        for (body, text) in [
            ("", "error parsing JSON"),
            ("[]", "not an object"),
            ("{}", "no server id provided"),
            (r#"{"server_id":null}"#, "no server id provided"),
            (r#"{"server_id":""}"#, "no server id provided"),
            (r#"{"server_id":7}"#, "server_id is not a string"),
        ] {
            let refused = server_id(body.as_bytes()).unwrap_err();
            assert!(matches!(&refused, Refused::Bad(found) if found.contains(text)), "{body}: {refused:?}");
        }
    }
}
