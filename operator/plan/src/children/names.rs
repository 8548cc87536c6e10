//! The names of children (K45) and the fixed names inside a Pod (K43).

use crate::observed::Ordinal;

/// The sidecar's container.
pub const SIDECAR: &str = "quorate-sidecar";
/// Peers: Raft messages and snapshots, mutual TLS.
pub const PEER_PORT: i32 = 7400;
/// gRPC: data calls in plain on localhost, everything with the operator's certificate on the Pod IP.
pub const GRPC_PORT: i32 = 7401;
/// Probes, metrics, status.
pub const OPS_PORT: i32 = 7402;
/// The Consul-compatible HTTP API: in plain on localhost, with TLS on the Pod IP where `clientAccess` opens it.
pub const HTTP_PORT: i32 = 8500;
/// The name of [`GRPC_PORT`] in Pods and Services.
pub const GRPC_PORT_NAME: &str = "q-grpc";
/// The name of [`HTTP_PORT`] in Pods and Services.
pub const HTTP_PORT_NAME: &str = "q-http";

/// A member's Pod, and its name in status.
pub fn pod(cluster: &str, ordinal: Ordinal) -> String {
    format!("{cluster}-{ordinal}")
}

/// A member's volume claim.
pub fn claim(cluster: &str, ordinal: Ordinal) -> String {
    format!("raft-{cluster}-{ordinal}")
}

/// The ordinal a Pod's name ends in, if it is one of this cluster's.
pub fn ordinal_of_pod(cluster: &str, pod: &str) -> Option<Ordinal> {
    parse_ordinal(pod.strip_prefix(cluster)?.strip_prefix('-')?)
}

/// The ordinal in the name of a member's certificate Secret, if it is one of this cluster's.
pub fn ordinal_of_tls_secret(cluster: &str, secret: &str) -> Option<Ordinal> {
    ordinal_of_pod(cluster, secret.strip_suffix("-tls")?)
}

/// The ordinal a claim's name ends in, if it is one of this cluster's.
pub fn ordinal_of_claim(cluster: &str, claim: &str) -> Option<Ordinal> {
    ordinal_of_pod(cluster, claim.strip_prefix("raft-")?)
}

/// `07` and `+7` are other objects than `7`.
fn parse_ordinal(text: &str) -> Option<Ordinal> {
    let ordinal = Ordinal(text.parse().ok()?);
    (ordinal.to_string() == text && ordinal.0 < crate::limits::ORDINALS_MAX).then_some(ordinal)
}

/// The headless Service that gives members their addresses.
pub fn members_service(cluster: &str) -> String {
    format!("{cluster}-members")
}

/// The Service, `EndpointSlice` and Lease that follow the leader.
pub fn leader(cluster: &str) -> String {
    format!("{cluster}-leader")
}

/// The Service of all ready members.
pub fn read_service(cluster: &str) -> String {
    format!("{cluster}-read")
}

/// The `NetworkPolicy` of the members.
pub fn network_policy(cluster: &str) -> String {
    members_service(cluster)
}

/// The disruption budget of the voters.
pub fn budget(cluster: &str) -> String {
    format!("{cluster}-voters")
}

/// The members' account, Role and binding.
pub fn access(cluster: &str) -> String {
    format!("{cluster}-member")
}

/// The Secret of the cluster's certificate authority.
pub fn ca_secret(cluster: &str) -> String {
    format!("{cluster}-ca")
}

/// The `ConfigMap` with the certificates that clients outside the Pods trust the members by.
pub fn published_authority(cluster: &str) -> String {
    ca_secret(cluster)
}

/// The operator's own certificate, where cert-manager issues it.
pub fn operator_certificate(cluster: &str) -> String {
    format!("{cluster}-operator")
}

/// The Secret that cert-manager puts a certificate into; from there it is copied once it was checked.
pub fn issued_secret(certificate: &str) -> String {
    format!("{certificate}-issued")
}

/// The Secret of a member's certificate.
pub fn tls_secret(cluster: &str, ordinal: Ordinal) -> String {
    format!("{cluster}-{ordinal}-tls")
}

/// A member's DNS name, without the final dot.
pub fn dns_name(cluster: &str, namespace: &str, domain: &str, ordinal: Ordinal) -> String {
    format!("{}.{}.{namespace}.svc.{domain}", pod(cluster, ordinal), members_service(cluster))
}

/// A member's address in the Raft configuration (K42): the final dot spares every dial the search list.
pub fn address(cluster: &str, namespace: &str, domain: &str, ordinal: Ordinal) -> String {
    format!("{}.:{PEER_PORT}", dns_name(cluster, namespace, domain, ordinal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_cluster_have_an_ordinal() {
        assert_eq!(ordinal_of_pod("db", "db-3"), Some(Ordinal(3)));
        assert_eq!(ordinal_of_claim("db", "raft-db-12"), Some(Ordinal(12)));
        for other in ["db-03", "db-x", "db", "dbx-1", "db-1-2", "db--1", "db-4000000000"] {
            assert_eq!(ordinal_of_pod("db", other), None, "{other}");
        }
    }
}
