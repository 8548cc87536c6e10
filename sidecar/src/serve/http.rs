//! HTTP connections with bounds: how many, and how long one may say nothing.
//!
//! The ops port is open to whoever reaches the Pod: a caller that opens connections and sends nothing must neither
//! use up the process's files nor keep the probes out for long.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::stopped;
use crate::limits::ACCEPT_ERROR_PAUSE;
use crate::tls;

/// What one port allows.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once; further ones wait in the listener's backlog.
    pub(super) connections_max: usize,
    /// A connection on which no request begins for so long is closed.
    pub(super) idle_max: Duration,
}

/// Answers until `stopping`, then until the requests under way are answered; whoever drops it ends those too.
pub(super) async fn serve(
    application: Router,
    listener: TcpListener,
    stopping: watch::Receiver<bool>,
    bounds: Bounds,
) -> Result<(), String> {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let mut connections = JoinSet::new();
    let mut stop = pin!(stopped(stopping.clone()));
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        connections.spawn(connection(application.clone(), stream, place, stopping.clone(), bounds.idle_max));
        while connections.try_join_next().is_some() {}
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        // The semaphore is never closed; if it were, accepting would just go on.
        let Ok(place) = Arc::clone(places).acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // Out of file descriptors, most likely; trying at once would only burn the CPU.
            Err(_) => tokio::time::sleep(ACCEPT_ERROR_PAUSE).await,
        }
    }
}

/// As [`serve`], on connections whose handshake is done and whose number is bounded already.
pub(super) async fn serve_tls(
    application: Router,
    mut accepted: ReceiverStream<io::Result<tls::Connection>>,
    stopping: watch::Receiver<bool>,
    idle_max: Duration,
) -> Result<(), String> {
    let mut connections = JoinSet::new();
    let mut stop = pin!(stopped(stopping.clone()));
    loop {
        let next = tokio::select! {
            next = accepted.next() => next,
            () = &mut stop => break,
        };
        match next {
            Some(Ok(stream)) => {
                connections.spawn(exchange(application.clone(), stream, stopping.clone(), idle_max));
            }
            Some(Err(_)) => {}
            None => break,
        }
        while connections.try_join_next().is_some() {}
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(
    application: Router,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    stopping: watch::Receiver<bool>,
    idle_max: Duration,
) {
    // Without it small answers wait for company; a connection that is gone already shows below.
    let _ = stream.set_nodelay(true);
    exchange(application, stream, stopping, idle_max).await;
}

/// Requests and answers of one connection, until either end has enough.
async fn exchange(
    application: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    stopping: watch::Receiver<bool>,
    idle_max: Duration,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(idle_max);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(application));
    let mut served = pin!(served);
    // How a connection ends is the caller's business: each answer was counted when it was made.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stopped(stopping) => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}
