//! `/v1/status/*`, answered here, and `/v1/operator/raft/*`, which is the leader's business.

use axum::http::HeaderMap;
use axum::response::Response;
use quorate_api::json;
use quorate_raft::Server;

use super::Api;
use super::answer;
use super::kv::hold;
use super::params::Params;
use super::refused::Refused;
use super::token::{check_admin, check_membership, token};
use crate::driver::{ServerList, ServerName, View};
use crate::serve::Shared;

/// The leader's address, or an empty text.
pub(super) fn status_leader(shared: &Shared, params: &Params) -> Response {
    let view = shared.context.handle.view();
    let leader = view.status.leader.as_ref().and_then(|leader| leader.address.as_ref());
    answer::json(200, &leader.map(ToString::to_string).unwrap_or_default(), params)
}

/// The addresses of all servers.
pub(super) fn status_peers(shared: &Shared, params: &Params) -> Response {
    let view = shared.context.handle.view();
    let peers: Vec<String> = servers(&view).map(|server| server.address.to_string()).collect();
    answer::json(200, &peers, params)
}

fn servers(view: &View) -> impl Iterator<Item = &Server> {
    view.status.latest.iter().flat_map(|latest| latest.configuration.servers())
}

/// The leader's configuration; stale: this member's.
pub(super) async fn raft_configuration(api: &Api, params: &Params) -> Result<Response, Refused> {
    let consistency = params.read()?.consistency;
    let list = api.shared.context.handle.servers(consistency, hold()).await?;
    Ok(answer::json(200, &configuration(list), params))
}

/// Takes the server out that `?id` or `?address` names; needs the admin token, and on Kubernetes is the operator's alone.
pub(super) async fn remove_peer(
    api: &Api,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    check_membership(&api.shared, token(params, headers).as_deref()).map_err(Refused::denied)?;
    let name = match (params.get("id"), params.get("address")) {
        (Some(id), None) => ServerName::RaftId(id.to_owned()),
        (None, Some(address)) => ServerName::Address(address.to_owned()),
        (Some(_), Some(_)) => return bad("Must specify only one of ?id or ?address"),
        (None, None) => {
            return bad(
                "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
            );
        }
    };
    api.shared.context.handle.remove_server(&name, hold()).await?;
    Ok(answer::text(200, ""))
}

/// Hands leadership to `?id`, or to whoever is furthest; needs the admin token.
pub(super) async fn transfer_leader(
    api: &Api,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    check_admin(&api.shared, token(params, headers).as_deref()).map_err(Refused::denied)?;
    let target = params.get("id").filter(|id| !id.is_empty());
    api.shared.context.handle.give_leadership(target, hold()).await?;
    Ok(answer::json(200, &json::LeaderTransferred { success: true }, params))
}

fn bad(text: &str) -> Result<Response, Refused> {
    Err(Refused::Bad(text.to_owned()))
}

fn configuration(list: ServerList) -> json::RaftConfiguration {
    let servers = list.servers.into_iter().map(|server| json::RaftServer {
        node: server.raft_id.clone(),
        id: server.raft_id,
        address: server.address,
        leader: server.is_leader,
        voter: server.has_vote,
        protocol_version: "3",
        last_index: server.last_index.0,
    });
    json::RaftConfiguration { servers: servers.collect(), index: list.index.0 }
}

#[cfg(test)]
pub(super) mod tests {
    use quorate_raft::Index;

    use super::*;
    use crate::driver::ListedServer;

    /// A leader that votes and a newcomer that does not yet.
    pub(in super::super) fn list() -> ServerList {
        let server = |raft_id: &str, is_leader, last| ListedServer {
            raft_id: raft_id.to_owned(),
            address: format!("{raft_id}.db:7400"),
            is_leader,
            has_vote: is_leader,
            last_index: Index(last),
        };
        ServerList { index: Index(42), servers: vec![server("db-0", true, 99), server("db-1", false, 7)] }
    }

    /// consul-http.md §7: every field, in the order and spelling of Consul.
    #[test]
    fn a_configuration_is_spelled_as_consul_spells_it() {
        assert_eq!(
            serde_json::to_string(&configuration(list())).unwrap(),
            concat!(
                r#"{"Servers":[{"ID":"db-0","Node":"db-0","Address":"db-0.db:7400","Leader":true,"Voter":true,"#,
                r#""ProtocolVersion":"3","LastIndex":99},{"ID":"db-1","Node":"db-1","Address":"db-1.db:7400","#,
                r#""Leader":false,"Voter":false,"ProtocolVersion":"3","LastIndex":7}],"Index":42}"#
            )
        );
        assert_eq!(
            serde_json::to_string(&json::LeaderTransferred { success: true }).unwrap(),
            r#"{"Success":true}"#
        );
    }
}
