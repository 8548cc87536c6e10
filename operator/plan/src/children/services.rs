//! Services: one that gives members their addresses, one that follows the leader, one for reads (K40).
//!
//! ```text
//!   <c>-members   headless, not-ready members too: peers must find each other before anyone is ready
//!   <c>-leader    no selector: the leader itself writes the endpoints of the one EndpointSlice
//!   <c>-read      selects ready members
//! ```
//! The last two carry the application containers' named ports, and the sidecar's own where `clientAccess` opens them to
//! the cluster; without any there are no such Services.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use quorate_crds::RaftCluster;

use super::metadata::{metadata, selector_map};
use super::names;

/// The ports of the Services: the sidecar's, if they are open to the cluster, and the application's named ones; of two with
/// one name, the first.
pub fn named_ports(cluster: &RaftCluster) -> Vec<(String, ContainerPort)> {
    let own = |(name, port): (&str, i32)| {
        (name.to_owned(), ContainerPort { container_port: port, ..ContainerPort::default() })
    };
    let open = [(names::GRPC_PORT_NAME, names::GRPC_PORT), (names::HTTP_PORT_NAME, names::HTTP_PORT)];
    let is_open = cluster.spec.client_access.is_open();
    let mut ports: Vec<(String, ContainerPort)> = open.into_iter().filter(|_| is_open).map(own).collect();
    let template = cluster.spec.template.as_ref().and_then(|template| template.spec.as_ref());
    let containers: &[Container] = template.map_or(&[], |pod| pod.containers.as_slice());
    for port in containers.iter().flat_map(|container| container.ports.iter().flatten()) {
        if let Some(name) = port.name.clone().filter(|name| !ports.iter().any(|(seen, _)| seen == name)) {
            ports.push((name, port.clone()));
        }
    }
    ports
}

fn service_ports(cluster: &RaftCluster) -> Vec<ServicePort> {
    let port = |(name, port): (String, ContainerPort)| ServicePort {
        name: Some(name),
        port: port.container_port,
        protocol: Some(port.protocol.unwrap_or_else(|| "TCP".to_owned())),
        target_port: Some(IntOrString::Int(port.container_port)),
        ..ServicePort::default()
    };
    named_ports(cluster).into_iter().map(port).collect()
}

/// The headless Service that gives members their addresses.
pub fn members(cluster: &RaftCluster) -> Service {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let peer = ServicePort {
        name: Some("peer".to_owned()),
        port: names::PEER_PORT,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(names::PEER_PORT)),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(cluster, names::members_service(name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector_map(name)),
            ports: Some(vec![peer]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service that follows the leader; none without named ports.
pub fn leader(cluster: &RaftCluster) -> Option<Service> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ports = service_ports(cluster);
    (!ports.is_empty()).then(|| Service {
        metadata: metadata(cluster, names::leader(name)),
        spec: Some(ServiceSpec { ports: Some(ports), ..ServiceSpec::default() }),
        status: None,
    })
}

/// The Service of all ready members; none without named ports.
pub fn read(cluster: &RaftCluster) -> Option<Service> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ports = service_ports(cluster);
    (!ports.is_empty()).then(|| Service {
        metadata: metadata(cluster, names::read_service(name)),
        spec: Some(ServiceSpec {
            ports: Some(ports),
            selector: Some(selector_map(name)),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// The leader's `EndpointSlice`, empty: only the leader fills it. None without named ports.
pub fn leader_slice(cluster: &RaftCluster) -> Option<EndpointSlice> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ports: Vec<EndpointPort> = named_ports(cluster)
        .into_iter()
        .map(|(name, port)| EndpointPort {
            name: Some(name),
            port: Some(port.container_port),
            protocol: Some(port.protocol.unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: None,
        })
        .collect();
    if ports.is_empty() {
        return None;
    }
    let mut meta = metadata(cluster, names::leader(name));
    let labels = meta.labels.get_or_insert_default();
    labels.insert("kubernetes.io/service-name".to_owned(), names::leader(name));
    // Another value than Kubernetes' own controllers use, so that none of them takes the slice for its own.
    labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), "quorate-sidecar".to_owned());
    Some(EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Vec::new(),
        metadata: meta,
        ports: Some(ports),
    })
}

/// The leader's Lease, empty: the leader renews it, and its silence wakes the operator (K32).
pub fn leader_lease(cluster: &RaftCluster) -> Lease {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    Lease { metadata: metadata(cluster, names::leader(name)), spec: None }
}
