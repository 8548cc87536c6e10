//! Who may reach the members over the network (`spec.networkPolicy`), beside the certificates that decide in any case.
//!
//! ```text
//!   7400        the cluster's own Pods
//!   7401        the operator's Pods; with clientAccess Cluster also the namespaces of the accounts named there, and 8500
//!   7402        anyone: probes, Prometheus; it changes nothing
//!   ports that the application's containers declare: anyone, as without a policy
//! ```
//! Outwards only members without an application are held: to each other, DNS and the API server, whose address is not
//! known here. What an application calls is its own business.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use quorate_crds::RaftCluster;

use super::metadata::{label_keys, metadata, selector};
use super::names;
use super::rendering::hash;

/// Every namespace has its own name as this label.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
const DNS_PORT: i32 = 53;
/// Where API servers listen: behind their Service, and themselves.
const API_SERVER_PORTS: [i32; 2] = [443, 6443];

/// The policy; `operator_namespace` is where the operator runs.
pub fn network_policy(cluster: &RaftCluster, operator_namespace: &str) -> NetworkPolicy {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let containers = application(cluster);
    let mut ingress = vec![
        from(vec![own_pods(name)], vec![tcp(names::PEER_PORT)]),
        from(vec![operator(operator_namespace)], vec![tcp(names::GRPC_PORT)]),
        from(Vec::new(), vec![tcp(names::OPS_PORT)]),
    ];
    let clients = clients(cluster);
    if !clients.is_empty() {
        ingress.push(from(clients, vec![tcp(names::GRPC_PORT), tcp(names::HTTP_PORT)]));
    }
    let declared = declared_ports(containers);
    if !declared.is_empty() {
        ingress.push(from(Vec::new(), declared));
    }
    let egress = containers.is_empty().then(|| egress(name));
    let types: &[&str] = if egress.is_some() { &["Ingress", "Egress"] } else { &["Ingress"] };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(name)),
        policy_types: Some(types.iter().map(|&kind| kind.to_owned()).collect()),
        ingress: Some(ingress),
        egress,
    };
    let mut metadata = metadata(cluster, names::network_policy(name));
    metadata.annotations = Some([(label_keys::RENDERED.to_owned(), hash(&spec))].into());
    NetworkPolicy { metadata, spec: Some(spec) }
}

/// What tells one rendering from another.
pub fn rendered(policy: &NetworkPolicy) -> Option<&String> {
    policy.metadata.annotations.as_ref()?.get(label_keys::RENDERED)
}

fn application(cluster: &RaftCluster) -> &[Container] {
    let template = cluster.spec.template.as_ref().and_then(|template| template.spec.as_ref());
    template.map_or(&[], |pod| pod.containers.as_slice())
}

fn declared_ports(containers: &[Container]) -> Vec<NetworkPolicyPort> {
    let all = containers.iter().flat_map(|container| container.ports.iter().flatten());
    let each: BTreeSet<(String, i32)> = all
        .map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.container_port))
        .collect();
    each.into_iter().map(|(protocol, number)| port(&protocol, number)).collect()
}

/// A policy knows no accounts: the namespaces they are of are let in, and their tokens decide.
fn clients(cluster: &RaftCluster) -> Vec<NetworkPolicyPeer> {
    let access = &cluster.spec.client_access;
    let own = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = |account: &String| match account.split_once('/') {
        Some((namespace, _)) => namespace.to_owned(),
        None => own.to_owned(),
    };
    let namespaces: BTreeSet<String> =
        access.service_accounts.iter().filter(|_| access.is_open()).map(namespace).collect();
    namespaces
        .iter()
        .map(|name| NetworkPolicyPeer {
            namespace_selector: Some(labelled(&[(NAMESPACE_NAME, name)])),
            ..NetworkPolicyPeer::default()
        })
        .collect()
}

fn egress(name: &str) -> Vec<NetworkPolicyEgressRule> {
    let to = |peers: Vec<NetworkPolicyPeer>, ports| NetworkPolicyEgressRule {
        to: (!peers.is_empty()).then_some(peers),
        ports: Some(ports),
    };
    vec![
        to(vec![own_pods(name)], vec![tcp(names::PEER_PORT)]),
        to(Vec::new(), vec![port("UDP", DNS_PORT), tcp(DNS_PORT)]),
        to(Vec::new(), API_SERVER_PORTS.map(tcp).to_vec()),
    ]
}

/// No peers: from anywhere.
fn from(peers: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: (!peers.is_empty()).then_some(peers), ports: Some(ports) }
}

fn own_pods(name: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(name)), ..NetworkPolicyPeer::default() }
}

fn operator(namespace: &str) -> NetworkPolicyPeer {
    let labels = [("app.kubernetes.io/component", "operator"), ("app.kubernetes.io/part-of", "quorate")];
    NetworkPolicyPeer {
        namespace_selector: Some(labelled(&[(NAMESPACE_NAME, namespace)])),
        pod_selector: Some(labelled(&labels)),
        ip_block: None,
    }
}

fn labelled(labels: &[(&str, &str)]) -> LabelSelector {
    let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn tcp(number: i32) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
