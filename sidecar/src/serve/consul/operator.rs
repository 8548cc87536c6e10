//! `/v1/status/*`, `/v1/operator/raft/configuration` and `/v1/operator/autopilot/health`: pictures, answered here.

use std::time::SystemTime;

use axum::response::Response;
use quorate_api::json;
use quorate_autopilot::{NodeStatus, ServerRole, ServerState};
use quorate_raft::{Server, ServerId};

use super::answer;
use super::params::Params;
use super::refused::Refused;
use crate::autopilot::Conclusion;
use crate::driver::View;
use crate::serve::Shared;
use crate::serve::duration::format_duration;
use crate::serve::moment::rfc3339;

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

/// 200 when every server is healthy, 429 when not, with the same body.
pub(super) fn autopilot_health(shared: &Shared, params: &Params) -> Result<Response, Refused> {
    let Some(conclusion) = shared.context.autopilot.conclusion() else {
        return Err(Refused::Failed(why_no_health(&shared.context.handle.view())));
    };
    let state = &conclusion.state;
    let body = json::AutopilotHealth {
        healthy: state.is_healthy,
        failure_tolerance: state.failure_tolerance,
        servers: state.servers.iter().map(|server| health(&conclusion, server)).collect(),
    };
    Ok(answer::json(if state.is_healthy { 200 } else { 429 }, &body, params))
}

fn why_no_health(view: &View) -> String {
    match &view.status.leader {
        Some(leader) if leader.id != view.identity.server => {
            format!("health is known to the leader only: ask {}", leader.id.raft_id)
        }
        Some(_) => "health is not known yet: ask again in a moment".to_owned(),
        None => "No cluster leader".to_owned(),
    }
}

fn health(conclusion: &Conclusion, server: &ServerState) -> json::ServerHealth {
    let name = conclusion.facts.of(&server.id).map(|fact| fact.name.clone()).filter(|name| !name.is_empty());
    json::ServerHealth {
        id: server.id.raft_id.to_string(),
        name: name.unwrap_or_else(|| server.id.raft_id.to_string()),
        address: server.address.to_string(),
        serf_status: match server.status {
            NodeStatus::Alive => "alive",
            NodeStatus::Failed => "failed",
            NodeStatus::Left => "left",
            NodeStatus::Unknown => "unknown",
        },
        version: String::new(),
        leader: server.role == ServerRole::Leader,
        last_contact: server.stats.last_contact.map_or_else(|| "never".to_owned(), format_duration),
        last_term: server.stats.last.term.0,
        last_index: server.stats.last.index.0,
        healthy: server.health.is_healthy,
        voter: server.role.has_vote(),
        stable_since: rfc3339(SystemTime::now(), conclusion.state.at, server.health.stable_since),
    }
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
