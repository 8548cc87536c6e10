//! HTTP as Consul's clients speak it: `/v1/kv`, `/v1/session`, `/v1/txn`, `/v1/status`, `/v1/snapshot`, autopilot and the
//! servers; and the last three once more as Vault's do.
//!
//! Paths are matched here and not by a router: a key is whatever stands behind `/v1/kv/`, with `//`, `%2F` and all.
//! Every status, header and text is one that clients in the field act on; errors are bare texts, and never a redirect.
//!
//! Not here: the service catalog. It is answered 501 in plain words, so that a client stops at its first call and not in
//! the middle of something.

mod answer;
mod autopilot;
mod blocking;
mod fields;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
mod key;
mod kv;
mod operator;
mod params;
mod question;
mod refused;
mod session;
mod session_body;
mod snapshot;
mod token;
mod txn;
mod txn_body;
mod vault;
mod vault_raft;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::response::Response;

use quorate_machine::Mode;

use super::{Shared, mode};
use blocking::Watches;
use params::Params;
use refused::Refused;

/// What the HTTP API shares between requests.
struct Api {
    shared: Arc<Shared>,
    watches: Watches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Kv,
    SessionCreate,
    SessionDestroy,
    SessionRenew,
    SessionInfo,
    SessionNode,
    SessionList,
    Txn,
    StatusLeader,
    StatusPeers,
    AutopilotConfiguration,
    AutopilotHealth,
    AutopilotState,
    VaultAutopilotConfiguration,
    VaultAutopilotState,
    RaftConfiguration,
    RaftPeer,
    RaftTransferLeader,
    Snapshot,
    VaultRaftConfiguration,
    VaultRemovePeer,
    VaultSnapshot,
}

impl Endpoint {
    /// In the order of the `Allow` header.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Kv => &[Method::GET, Method::PUT, Method::DELETE],
            Self::SessionCreate | Self::SessionDestroy | Self::SessionRenew | Self::Txn => &[Method::PUT],
            Self::SessionInfo
            | Self::SessionNode
            | Self::SessionList
            | Self::StatusLeader
            | Self::StatusPeers
            | Self::AutopilotHealth
            | Self::AutopilotState
            | Self::VaultAutopilotState
            | Self::RaftConfiguration
            | Self::VaultRaftConfiguration => &[Method::GET],
            Self::RaftPeer => &[Method::DELETE],
            Self::RaftTransferLeader | Self::VaultRemovePeer => &[Method::POST, Method::PUT],
            Self::Snapshot | Self::AutopilotConfiguration => &[Method::GET, Method::PUT],
            // Vault takes either for a write.
            Self::VaultAutopilotConfiguration | Self::VaultSnapshot => {
                &[Method::GET, Method::POST, Method::PUT]
            }
        }
    }

    /// For metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::SessionCreate => "session/create",
            Self::SessionDestroy => "session/destroy",
            Self::SessionRenew => "session/renew",
            Self::SessionInfo => "session/info",
            Self::SessionNode => "session/node",
            Self::SessionList => "session/list",
            Self::Txn => "txn",
            Self::StatusLeader => "status/leader",
            Self::StatusPeers => "status/peers",
            Self::AutopilotConfiguration => "operator/autopilot/configuration",
            Self::AutopilotHealth => "operator/autopilot/health",
            Self::AutopilotState => "operator/autopilot/state",
            Self::VaultAutopilotConfiguration => "sys/storage/raft/autopilot/configuration",
            Self::VaultAutopilotState => "sys/storage/raft/autopilot/state",
            Self::RaftConfiguration => "operator/raft/configuration",
            Self::RaftPeer => "operator/raft/peer",
            Self::RaftTransferLeader => "operator/raft/transfer-leader",
            Self::Snapshot => "snapshot",
            Self::VaultRaftConfiguration => "sys/storage/raft/configuration",
            Self::VaultRemovePeer => "sys/storage/raft/remove-peer",
            Self::VaultSnapshot => "sys/storage/raft/snapshot",
        }
    }

    /// Whether only a cluster of mode `KeyValue` has it (K22).
    fn is_of_keys(self) -> bool {
        match self {
            Self::Kv
            | Self::SessionCreate
            | Self::SessionDestroy
            | Self::SessionRenew
            | Self::SessionInfo
            | Self::SessionNode
            | Self::SessionList
            | Self::Txn
            | Self::Snapshot
            | Self::VaultSnapshot => true,
            Self::StatusLeader
            | Self::StatusPeers
            | Self::AutopilotConfiguration
            | Self::AutopilotHealth
            | Self::AutopilotState
            | Self::VaultAutopilotConfiguration
            | Self::VaultAutopilotState
            | Self::RaftConfiguration
            | Self::RaftPeer
            | Self::RaftTransferLeader
            | Self::VaultRaftConfiguration
            | Self::VaultRemovePeer => false,
        }
    }

    /// Whether its clients are Vault's.
    fn is_vaults(self) -> bool {
        matches!(
            self,
            Self::VaultAutopilotConfiguration
                | Self::VaultAutopilotState
                | Self::VaultRaftConfiguration
                | Self::VaultRemovePeer
                | Self::VaultSnapshot
        )
    }
}

const KV: &str = "/v1/kv/";

/// Endpoints that end in what is asked about.
const SESSIONS: [(&str, Endpoint); 4] = [
    ("/v1/session/destroy/", Endpoint::SessionDestroy),
    ("/v1/session/renew/", Endpoint::SessionRenew),
    ("/v1/session/info/", Endpoint::SessionInfo),
    ("/v1/session/node/", Endpoint::SessionNode),
];

/// Where a path leads.
fn endpoint(path: &str) -> Result<Endpoint, Refused> {
    match path {
        "/v1/status/leader" => return Ok(Endpoint::StatusLeader),
        "/v1/status/peers" => return Ok(Endpoint::StatusPeers),
        "/v1/operator/autopilot/configuration" => return Ok(Endpoint::AutopilotConfiguration),
        "/v1/operator/autopilot/health" => return Ok(Endpoint::AutopilotHealth),
        "/v1/operator/autopilot/state" => return Ok(Endpoint::AutopilotState),
        "/v1/sys/storage/raft/autopilot/configuration" => return Ok(Endpoint::VaultAutopilotConfiguration),
        "/v1/sys/storage/raft/autopilot/state" => return Ok(Endpoint::VaultAutopilotState),
        "/v1/operator/raft/configuration" => return Ok(Endpoint::RaftConfiguration),
        "/v1/operator/raft/peer" => return Ok(Endpoint::RaftPeer),
        "/v1/operator/raft/transfer-leader" => return Ok(Endpoint::RaftTransferLeader),
        "/v1/sys/storage/raft/configuration" => return Ok(Endpoint::VaultRaftConfiguration),
        "/v1/sys/storage/raft/remove-peer" => return Ok(Endpoint::VaultRemovePeer),
        "/v1/sys/storage/raft/snapshot" => return Ok(Endpoint::VaultSnapshot),
        "/v1/snapshot" => return Ok(Endpoint::Snapshot),
        "/v1/session/create" => return Ok(Endpoint::SessionCreate),
        "/v1/session/list" => return Ok(Endpoint::SessionList),
        "/v1/txn" => return Ok(Endpoint::Txn),
        _ if path.starts_with(KV) => return Ok(Endpoint::Kv),
        _ => {}
    }
    if let Some((_, endpoint)) = SESSIONS.iter().find(|(prefix, _)| path.starts_with(prefix)) {
        return Ok(*endpoint);
    }
    let under = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    if under(&["/v1/agent/", "/v1/catalog/", "/v1/health/"]) {
        Err(Refused::NotSupported("service catalog not supported"))
    } else if under(&["/v1/operator/raft/", "/v1/sys/storage/raft/"]) {
        Err(Refused::NotSupported("not supported over HTTP: use gRPC (Membership)"))
    } else if under(&["/v1/acl/"]) {
        Err(Refused::AclDisabled)
    } else {
        Err(Refused::UnknownPath)
    }
}

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let api = Api { shared: Arc::clone(shared), watches: Watches::new(&shared.context.handle) };
    // Bodies have a limit of their own, with a text of its own.
    Router::new().fallback(serve).with_state(Arc::new(api)).layer(DefaultBodyLimit::disable())
}

async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    if path == "/" {
        return answer::text(200, "Quorate: keys are at /v1/kv/, status is on port 7402 at /status\n");
    }
    let found = endpoint(&path);
    let name = found.as_ref().map_or("other", |endpoint| endpoint.name());
    let is_vaults = found.as_ref().is_ok_and(|endpoint| endpoint.is_vaults());
    let result = match found {
        Ok(endpoint) => dispatch(&api, endpoint, &path, request).await,
        Err(refused) => Err(refused),
    };
    let label = match &result {
        Ok(response) if response.status().as_u16() == 429 => "not_healthy",
        Ok(response) if response.status().as_u16() == 405 => "invalid",
        Ok(_) => "ok",
        Err(refused) => refused.label(),
    };
    api.shared.metrics.called("http", name, label, started.elapsed());
    let refuse = |refused: Refused| {
        if is_vaults { refused.into_vaults_response() } else { refused.into_response() }
    };
    let mut response = result.unwrap_or_else(refuse);
    // Clients read it on every answer; there are no ACLs, so everything is allowed.
    answer::header(&mut response, "x-consul-default-acl-policy", "allow");
    response
}

async fn dispatch(api: &Api, endpoint: Endpoint, path: &str, request: Request) -> Result<Response, Refused> {
    let method = request.method().clone();
    if method == Method::OPTIONS {
        return Ok(answer::allow(200, endpoint.methods(), ""));
    }
    if !endpoint.methods().contains(&method) {
        return Ok(answer::allow(405, endpoint.methods(), &format!("method {method} not allowed")));
    }
    let view = api.shared.context.handle.view();
    if let Some(why) = mode::refusal(&view, Mode::KeyValue).filter(|_| endpoint.is_of_keys()) {
        return Err(Refused::Bad(why));
    }
    let params = Params::parse(request.uri().query().unwrap_or_default())?;
    params.check(request.headers())?;
    match endpoint {
        Endpoint::Kv => kv::serve(api, &method, &path[KV.len()..], &params, request).await,
        Endpoint::SessionCreate => session::create(api, &params, request).await,
        Endpoint::SessionDestroy => session::destroy(api, path, &params).await,
        Endpoint::SessionRenew => session::renew(api, path, &params).await,
        Endpoint::SessionInfo => session::info(api, path, &params).await,
        Endpoint::SessionNode => session::node(api, path, &params).await,
        Endpoint::SessionList => session::list(api, &params).await,
        Endpoint::Txn => txn::serve(api, &params, request).await,
        Endpoint::StatusLeader => Ok(operator::status_leader(&api.shared, &params)),
        Endpoint::StatusPeers => Ok(operator::status_peers(&api.shared, &params)),
        Endpoint::AutopilotConfiguration if method == Method::PUT => {
            autopilot::set_configuration(api, &params, request).await
        }
        Endpoint::AutopilotConfiguration => autopilot::configuration(api, &params).await,
        Endpoint::AutopilotHealth => autopilot::health(api, &params).await,
        Endpoint::AutopilotState => autopilot::state(api, &params).await,
        Endpoint::VaultAutopilotConfiguration if method != Method::GET => {
            vault::set_configuration(api, &params, request).await
        }
        Endpoint::VaultAutopilotConfiguration => vault::configuration(api, &params).await,
        Endpoint::VaultAutopilotState => vault::state(api, &params).await,
        Endpoint::RaftConfiguration => operator::raft_configuration(api, &params).await,
        Endpoint::RaftPeer => operator::remove_peer(api, &params, request.headers()).await,
        Endpoint::RaftTransferLeader => operator::transfer_leader(api, &params, request.headers()).await,
        Endpoint::VaultRaftConfiguration => vault_raft::configuration(api, &params).await,
        Endpoint::VaultRemovePeer => vault_raft::remove_peer(api, &params, request).await,
        Endpoint::VaultSnapshot if method == Method::GET => vault_raft::save(api, &params).await,
        Endpoint::VaultSnapshot => vault_raft::restore(api, &params, request).await,
        Endpoint::Snapshot if method == Method::PUT => snapshot::restore(api, &params, request).await,
        Endpoint::Snapshot => snapshot::save(api, &params).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors 27 and 85: what is not here says so in the way its clients understand.
    #[test]
    fn each_path_leads_to_its_endpoint_or_an_honest_refusal() {
        assert_eq!(endpoint("/v1/kv/a//b").ok(), Some(Endpoint::Kv));
        assert_eq!(endpoint("/v1/kv/").ok(), Some(Endpoint::Kv));
        assert_eq!(endpoint("/v1/status/leader").ok(), Some(Endpoint::StatusLeader));
        let status = |path: &str| endpoint(path).unwrap_err().into_response().status().as_u16();
        assert_eq!(endpoint("/v1/session/renew/").ok(), Some(Endpoint::SessionRenew));
        assert_eq!(endpoint("/v1/txn").ok(), Some(Endpoint::Txn));
        for unknown in ["/v1/nope", "/v1/kv", "/v1/event/list", "/v1/session/nope", "/"] {
            assert_eq!(status(unknown), 404, "{unknown}");
        }
        assert_eq!(status("/v1/catalog/services"), 501);
        assert_eq!(status("/v1/sys/storage/raft/join"), 501);
        assert_eq!(status("/v1/acl/tokens"), 401);
    }
}
