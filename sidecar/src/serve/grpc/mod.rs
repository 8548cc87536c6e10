//! The gRPC services of `quorate.v1`, on the plain and on the TLS port.

mod autopilot;
mod call;
mod cluster;
#[cfg(test)]
mod hostile;
mod kv;
mod log;
mod membership;
mod pipeline;
mod refused;
mod session;
pub(crate) mod shape;
mod subscription;
mod watch;
mod write;

use std::sync::Arc;

use quorate_api::v1::autopilot_server::AutopilotServer;
use quorate_api::v1::cluster_server::ClusterServer;
use quorate_api::v1::kv_server::KvServer;
use quorate_api::v1::log_server::LogServer;
use quorate_api::v1::membership_server::MembershipServer;
use quorate_api::v1::session_server::SessionServer;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};

use super::limits::{
    GRPC_MESSAGE_BYTES_MAX, GRPC_STREAMS_MAX, GRPC_TLS_CONNECTIONS_MAX, OUTSIDE_CONNECTIONS_MAX,
};
use super::{Shared, stopped};
use crate::tls::{self, Bounds, Door};

/// One implementation of all services.
#[derive(Clone)]
struct Service {
    shared: Arc<Shared>,
}

fn router(shared: &Arc<Shared>) -> Router {
    let service = Service { shared: Arc::clone(shared) };
    let bytes = GRPC_MESSAGE_BYTES_MAX;
    Server::builder()
        .max_concurrent_streams(GRPC_STREAMS_MAX)
        .add_service(
            KvServer::new(service.clone()).max_decoding_message_size(bytes).max_encoding_message_size(bytes),
        )
        .add_service(
            SessionServer::new(service.clone())
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes),
        )
        .add_service(
            LogServer::new(service.clone()).max_decoding_message_size(bytes).max_encoding_message_size(bytes),
        )
        .add_service(MembershipServer::new(service.clone()).max_decoding_message_size(bytes))
        .add_service(AutopilotServer::new(service.clone()).max_decoding_message_size(bytes))
        .add_service(ClusterServer::new(service).max_decoding_message_size(bytes))
}

pub(super) async fn serve_plain(shared: Arc<Shared>, listener: TcpListener) -> Result<(), String> {
    let stopping = stopped(shared.context.stopping.clone());
    // Set here: the server's own setting is for sockets it binds itself. Without it answers wait for the caller's delayed
    // acknowledgement, 40 ms on Linux, whenever two leave close together.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    router(&shared)
        .serve_with_incoming_shutdown(incoming, stopping)
        .await
        .map_err(|error| format!("the gRPC port ended: {error}"))
}

pub(super) async fn serve_tls(shared: Arc<Shared>, listener: TcpListener) -> Result<(), String> {
    let stopping = stopped(shared.context.stopping.clone());
    let unnamed = if shared.context.outside.is_some() { OUTSIDE_CONNECTIONS_MAX } else { 0 };
    let door = if unnamed > 0 { Door::Anyone } else { Door::Certified };
    let bounds = Bounds { all: GRPC_TLS_CONNECTIONS_MAX + unnamed, unnamed };
    let connections = tls::accept(listener, shared.context.credentials.clone(), door, bounds);
    router(&shared)
        .serve_with_incoming_shutdown(connections, stopping)
        .await
        .map_err(|error| format!("the gRPC port with TLS ended: {error}"))
}
