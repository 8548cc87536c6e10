//! Accepting connections behind TLS: who called is known before the first request is read.
//!
//! Handshakes run side by side, so that a caller who says nothing holds up nobody; their number and that
//! of open connections is bounded, and at the bound new callers wait in the listener's backlog. Callers without a
//! certificate have a bound of their own below it: strangers never take the places of the operator and of peers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::debug;

use super::credentials::Door;
use super::identity::PeerIdentity;
use super::reload::CredentialsReceiver;
use crate::limits::{ACCEPT_ERROR_PAUSE, ACCEPTED_WAITING_MAX, HANDSHAKE_TIMEOUT};

/// Who is at the other end of a connection behind TLS. In the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// As its certificate says.
    Certified(PeerIdentity),
    /// It showed no certificate, which [`Door::Anyone`] and [`Door::Web`] allow.
    Unnamed,
}

/// How many connections may be open at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In all; further callers wait in the listener's backlog.
    pub all: usize,
    /// Of callers without a certificate; further ones are closed.
    pub unnamed: usize,
}

/// An accepted connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// Accepts on `listener` whom the door lets through, until the stream is dropped.
pub fn accept(
    listener: TcpListener,
    credentials: CredentialsReceiver,
    door: Door,
    bounds: Bounds,
) -> ReceiverStream<io::Result<Connection>> {
    let (accepted, stream) = mpsc::channel(ACCEPTED_WAITING_MAX);
    let open = Arc::new(Semaphore::new(bounds.all));
    let unnamed = Arc::new(Semaphore::new(bounds.unnamed));
    tokio::spawn(async move {
        loop {
            // The semaphore is never closed; if it were, accepting would end.
            let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
            let connection = tokio::select! {
                connection = listener.accept() => connection,
                () = accepted.closed() => return,
            };
            match connection {
                Ok((tcp, remote)) => {
                    let credentials = credentials.borrow().clone();
                    let (accepted, unnamed) = (accepted.clone(), Arc::clone(&unnamed));
                    tokio::spawn(async move {
                        match handshake(tcp, &credentials.server(door), permit, unnamed).await {
                            Ok(connection) => {
                                // Nobody listens any more: the connection just closes.
                                let _ = accepted.send(Ok(connection)).await;
                            }
                            Err(error) => refused(remote, &error),
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely; trying at once would only burn the CPU.
                    debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(stream)
}

fn refused(remote: SocketAddr, error: &io::Error) {
    debug!(%remote, %error, "refused a connection");
}

async fn handshake(
    tcp: TcpStream,
    config: &Arc<rustls::ServerConfig>,
    permit: OwnedSemaphorePermit,
    unnamed: Arc<Semaphore>,
) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    let handshake = TlsAcceptor::from(Arc::clone(config)).accept(tcp);
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let (caller, place) = if let Some(leaf) = certificates.first() {
        (Caller::Certified(PeerIdentity::of(leaf).map_err(io::Error::other)?), None)
    } else {
        // The door was asked already: it let nobody without a certificate through unless it is open to them.
        let full = |_| io::Error::other("too many connections of callers without a certificate");
        (Caller::Unnamed, Some(unnamed.try_acquire_owned().map_err(full)?))
    };
    Ok(Connection { stream, caller, _places: (permit, place) })
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
