//! Opens a channel to one member.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use quorate_plan::children::names::GRPC_PORT;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity};

use super::verify::MemberVerifier;
use crate::limits::{ASK_TIMEOUT, OPERATOR_LEAF_LIFE};
use crate::tls::{Leaf, TlsError, Trust};

/// Where a member is and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberAddress {
    /// Its Pod.
    pub(crate) pod: String,
    /// `status.podIP`.
    pub(crate) ip: IpAddr,
    /// From the Pod's annotation.
    pub(crate) raft_id: String,
}

/// Dials the members of one cluster as the operator. Made anew each round: the leaf lives in memory only, and
/// making one costs less than keeping one per cluster.
pub(crate) struct Dialer {
    trusted_pem: String,
    cluster_id: u128,
    leaf: Leaf,
}

impl Dialer {
    /// None if there is nothing to prove with who we are: the certificates that `spec.tls` names cannot be used.
    pub(crate) fn new(
        trust: &Trust,
        brought: Option<&Leaf>,
        cluster_id: u128,
    ) -> Result<Option<Self>, TlsError> {
        let own = trust.current.authority.as_ref().or_else(|| trust.issuer().filter(|_| brought.is_none()));
        let leaf = match own {
            Some(authority) => {
                let (name, now) = (quorate_api::san::OPERATOR, SystemTime::now());
                Some(authority.issue(cluster_id, name, &[], now, OPERATOR_LEAF_LIFE)?)
            }
            None => brought.cloned(),
        };
        Ok(leaf.map(|leaf| Self { trusted_pem: trust.bundle(), cluster_id, leaf }))
    }

    /// A channel whose every call goes to exactly this member.
    pub(crate) async fn dial(&self, member: &MemberAddress) -> Result<Channel, tonic::Status> {
        let refused = |error: &dyn std::fmt::Display| {
            tonic::Status::unavailable(format!(
                "dialling {} at {} failed: {error}",
                member.raft_id, member.ip
            ))
        };
        let expected =
            quorate_api::san::Name { cluster_id: self.cluster_id, raft_id: member.raft_id.clone() };
        let verifier = MemberVerifier::new(&self.trusted_pem, expected).map_err(|error| refused(&error))?;
        let identity = Identity::from_pem(&self.leaf.certificate_pem, &self.leaf.key_pem);
        let tls = ClientTlsConfig::new().domain_name(member.raft_id.clone()).identity(identity);
        let endpoint = Endpoint::from_shared(url(member.ip))
            .and_then(|endpoint| endpoint.tls_config_with_verifier(tls, Arc::new(verifier)))
            .map_err(|error| refused(&chain(&error)))?
            .connect_timeout(ASK_TIMEOUT);
        endpoint.connect().await.map_err(|error| refused(&chain(&error)))
    }
}

fn url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("https://{ip}:{GRPC_PORT}"),
        IpAddr::V6(ip) => format!("https://[{ip}]:{GRPC_PORT}"),
    }
}

/// tonic says "transport error" and keeps the reason as the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}
