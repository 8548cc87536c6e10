//! What this member answers: gRPC, HTTP as Consul's clients speak it, and the ops port.
//!
//! ```text
//!   127.0.0.1:7401  gRPC, plain   applications: data calls, and pictures that change nothing
//!   <Pod IP>:7401   gRPC, mTLS    the operator, by its certificate: everything (K23, K46); with clientAccess Cluster
//!                                 also others, by a reviewed token: as applications
//!   127.0.0.1:8500  HTTP, plain   applications: /v1/kv and what clients ask at start
//!   <Pod IP>:8500   HTTPS         with clientAccess Cluster only, by a reviewed token: as applications
//!   :7402           HTTP, plain   probes, metrics, status: changes nothing
//! ```
//!
//! Each edge translates into [`Handle`] calls, checks input and rights before them, and spells what comes back.
//! Not here: meaning. Which write succeeds is decided in the machine, who leads in the core.

mod archive;
mod consul;
mod duration;
mod grpc;
mod http;
pub mod limits;
mod metrics;
mod mode;
mod moment;
mod ops;
mod outside;
mod rights;

use std::sync::Arc;

use quorate_raft::Membership;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::autopilot::{Autopilot, WordsReceiver};
use crate::driver::Handle;
use crate::exit::{Code, Failure};
use crate::tls::{self, CredentialsReceiver, Door};
pub(crate) use grpc::shape;
use http::Bounds;
use metrics::Metrics;
use rights::Right;

pub use outside::{Outside, OutsideSettings};

/// What the answers are made from.
#[derive(Clone)]
pub struct Context {
    /// The way to the core and the machine.
    pub handle: Handle,
    /// The way to autopilot.
    pub autopilot: Autopilot,
    /// The member's name, as people see it.
    pub name: Arc<str>,
    /// The node it runs on; empty if unknown.
    pub node: Arc<str>,
    /// What it says of itself.
    pub words: WordsReceiver,
    /// Certificates of the port with TLS.
    pub credentials: CredentialsReceiver,
    /// The token that opens administrative calls on the plain port (K23).
    pub admin_token: Option<Arc<str>>,
    /// Admits clients from outside the Pod; none: nobody comes from there.
    pub outside: Option<Arc<Outside>>,
    /// How publishing to Kubernetes goes; none outside Kubernetes.
    pub publishing: Option<watch::Receiver<quorate_publish::Publishing>>,
    /// Whoever runs the member starts it anew for a recovery that was asked for here (K18).
    pub recovery: watch::Sender<Option<quorate_store::RecoveryRequest>>,
    /// Becomes true when the member stops: finish what is under way and take nothing new.
    pub stopping: watch::Receiver<bool>,
}

/// Bound ports.
pub struct Listeners {
    /// gRPC without TLS.
    pub grpc: Vec<TcpListener>,
    /// gRPC with TLS.
    pub grpc_tls: Vec<TcpListener>,
    /// HTTP with TLS, for clients from outside the Pod.
    pub https: Vec<TcpListener>,
    /// HTTP.
    pub http: Vec<TcpListener>,
    /// Probes, metrics, status.
    pub ops: TcpListener,
}

/// Applications of this Pod: blocking queries hold their connections.
const HTTP_BOUNDS: Bounds =
    Bounds { connections_max: limits::HTTP_CONNECTIONS_MAX, idle_max: limits::HTTP_IDLE_MAX };
/// Whoever reaches the Pod.
const OPS_BOUNDS: Bounds =
    Bounds { connections_max: limits::OPS_CONNECTIONS_MAX, idle_max: limits::OPS_IDLE_MAX };

/// Clients from outside the Pod: none of them shows a certificate.
const OUTSIDE_BOUNDS: tls::Bounds =
    tls::Bounds { all: limits::OUTSIDE_CONNECTIONS_MAX, unnamed: limits::OUTSIDE_CONNECTIONS_MAX };

/// Shared by everything that answers.
struct Shared {
    context: Context,
    metrics: Metrics,
    /// Places for `Kv.Watch` streams.
    watches: Arc<Semaphore>,
}

impl Shared {
    /// Why this member must not serve data any more, for good; none if it may (K1, K19).
    fn out_of_service(&self) -> Option<&'static str> {
        let view = self.context.handle.view();
        if view.status.membership == Membership::Removed {
            return Some("this member was removed from the cluster: use another member");
        }
        view.is_volume_lost.then_some(
            "the cluster knows this member with another volume: it serves nothing until it is replaced; use another member",
        )
    }

    /// The token that opens calls of this kind on the plain ports; none: the operator's certificate alone does. On
    /// Kubernetes nothing else than the resource may change settings or members: the operator would change them back.
    fn admin_token(&self, right: Right) -> Option<&str> {
        let is_the_operators =
            matches!(right, Right::Settings | Right::Membership) && self.context.autopilot.is_on_kubernetes();
        self.context.admin_token.as_deref().filter(|_| !is_the_operators)
    }

    /// Why the leader's view does not reach Kubernetes; empty if it does, or need not.
    fn publishing_error(&self) -> String {
        let publishing = self.context.publishing.as_ref();
        publishing.and_then(|publishing| publishing.borrow().last_error.clone()).unwrap_or_default()
    }
}

/// Answers until `stopping`; an error means that a port could not be served on.
pub async fn run(context: Context, listeners: Listeners) -> Result<(), Failure> {
    let watches = Arc::new(Semaphore::new(limits::KV_WATCHES_MAX));
    let shared = Arc::new(Shared { metrics: Metrics::new(), context, watches });
    let stopping = || shared.context.stopping.clone();
    let mut servers = JoinSet::new();
    for listener in listeners.grpc {
        servers.spawn(grpc::serve_plain(Arc::clone(&shared), listener));
    }
    for listener in listeners.grpc_tls {
        servers.spawn(grpc::serve_tls(Arc::clone(&shared), listener));
    }
    let application = consul::router(&shared);
    for listener in listeners.http {
        servers.spawn(http::serve(application.clone(), listener, stopping(), HTTP_BOUNDS));
    }
    if let Some(outside) = &shared.context.outside {
        let guarded = outside::behind_gate(application, Arc::clone(outside), Arc::clone(&shared));
        for listener in listeners.https {
            let connections =
                tls::accept(listener, shared.context.credentials.clone(), Door::Web, OUTSIDE_BOUNDS);
            servers.spawn(http::serve_tls(guarded.clone(), connections, stopping(), limits::HTTP_IDLE_MAX));
        }
    }
    servers.spawn(http::serve(ops::router(&shared), listeners.ops, stopping(), OPS_BOUNDS));
    while let Some(ended) = servers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(Failure::new(Code::Unavailable, reason)),
            Err(error) => return Err(Failure::new(Code::Unavailable, format!("a server ended: {error}"))),
        }
    }
    Ok(())
}

/// Resolves once the process is to stop.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody can ask any more: then it is over too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
