//! `/v1/status/*` and `/v1/operator/raft/configuration`: pictures, answered here.

use axum::response::Response;
use quorate_api::json;
use quorate_raft::{Server, ServerId};

use super::answer;
use super::params::Params;
use super::refused::Refused;
use crate::driver::View;
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

pub(super) fn raft_configuration(shared: &Shared, params: &Params) -> Result<Response, Refused> {
    let view = shared.context.handle.view();
    let Some(latest) = &view.status.latest else {
        let message = "this member is in no cluster yet: bootstrap it or add it first";
        return Err(Refused::Failed(message.to_owned()));
    };
    let leader = view.status.leader.as_ref().map(|leader| &leader.id);
    let servers = servers(&view).map(|server| json::RaftServer {
        id: server.id.raft_id.to_string(),
        node: server.id.raft_id.to_string(),
        address: server.address.to_string(),
        leader: leader == Some(&server.id),
        voter: server.suffrage.has_vote(),
        protocol_version: "3",
        last_index: last_index(&view, &server.id),
    });
    let body = json::RaftConfiguration { servers: servers.collect(), index: latest.index.0 };
    Ok(answer::json(200, &body, params))
}

fn servers(view: &View) -> impl Iterator<Item = &Server> {
    view.status.latest.iter().flat_map(|latest| latest.configuration.servers())
}

/// The server's last entry: our own, or what the leader knows of others.
fn last_index(view: &View, id: &ServerId) -> u64 {
    if *id == view.identity.server {
        return view.status.last.index.0;
    }
    view.status.peers.iter().find(|peer| peer.id == *id).map_or(0, |peer| peer.matched.0)
}
