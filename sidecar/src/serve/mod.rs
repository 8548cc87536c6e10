//! What clients, the operator and probes reach: gRPC, HTTP, ops.
//!
//! It decides who may call what, translates, and passes on to [`Handle`]; it owns no state.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::autopilot::Autopilot;
use crate::driver::Handle;
use crate::exit::Failure;
use crate::tls::CredentialsReceiver;

/// What serving needs of the member.
#[derive(Clone)]
pub struct Context {
    /// The way to everything replicated.
    pub handle: Handle,
    /// Autopilot's conclusions, and where facts go.
    pub autopilot: Autopilot,
    /// The member's name, as people see it.
    pub name: Arc<str>,
    /// The Kubernetes node; empty if unknown.
    pub node: Arc<str>,
    /// The zone; empty if unknown.
    pub zone: Arc<str>,
    /// For the ports behind TLS.
    pub credentials: CredentialsReceiver,
    /// Opens membership and autopilot writes on the plain ports (K23); none: they are refused there.
    pub admin_token: Option<Arc<str>>,
    /// How publishing to Kubernetes goes; none outside Kubernetes.
    pub publishing: Option<watch::Receiver<quorate_publish::Publishing>>,
    /// Becomes true when the member stops: finish what is under way and take nothing new.
    pub stopping: watch::Receiver<bool>,
}

/// Bound ports.
pub struct Listeners {
    /// gRPC without TLS, loopback only: data calls (K23).
    pub grpc: Vec<TcpListener>,
    /// gRPC with mutual TLS; see [`crate::tls::accept`].
    pub grpc_tls: Vec<TcpListener>,
    /// HTTP, loopback only.
    pub http: Vec<TcpListener>,
    /// Probes, metrics, status.
    pub ops: TcpListener,
}

/// Serves until `stopping`. An error means that a port can't be served.
pub async fn run(mut context: Context, listeners: Listeners) -> Result<(), Failure> {
    // An error means that the member is gone, which is a stop as well.
    let _ = context.stopping.wait_for(|stopping| *stopping).await;
    drop(listeners);
    Ok(())
}
