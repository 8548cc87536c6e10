//! The token that comes with a request over HTTP, and what it opens (K23).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::params::Params;
use crate::serve::Shared;
use crate::serve::rights::{Credentials, Right, bearer};

/// Where clients put a token: Consul's, then Vault's.
const TOKEN_HEADERS: [&str; 2] = ["x-consul-token", "x-vault-token"];

/// In the order Consul looks.
pub(super) fn token(params: &Params, headers: &HeaderMap) -> Option<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = params.get("token").filter(|token| !token.is_empty());
    let given = given.or_else(|| TOKEN_HEADERS.into_iter().find_map(header));
    given.or_else(|| header(AUTHORIZATION.as_str()).and_then(bearer)).map(str::to_owned)
}

/// Whether whoever sent `token` may restore an archive or move leadership.
pub(super) fn check_admin(shared: &Shared, token: Option<&str>) -> Result<(), &'static str> {
    check(shared, Right::Admin, token)
}

/// Whether whoever sent `token` may change autopilot's settings.
pub(super) fn check_settings(shared: &Shared, token: Option<&str>) -> Result<(), &'static str> {
    check(shared, Right::Settings, token)
}

/// Whether whoever sent `token` may change who is a member.
pub(super) fn check_membership(shared: &Shared, token: Option<&str>) -> Result<(), &'static str> {
    check(shared, Right::Membership, token)
}

fn check(shared: &Shared, right: Right, token: Option<&str>) -> Result<(), &'static str> {
    let cluster_id = shared.context.handle.view().identity.cluster_id.0;
    Credentials { caller: None, token }.check(right, cluster_id, shared.admin_token(right))
}
