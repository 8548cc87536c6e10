//! Reaching one peer: the address that worked last first, then its name, resolved anew (K42).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use quorate_raft::{Address, ClusterId, ServerId};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::limits::{
    DIAL_ADDRESSES_MAX, DIAL_HINT_TIMEOUT, DIAL_TIMEOUT, LINK_KEEPALIVE, LINK_WINDOW_BYTES, RESOLVE_EVERY,
};
use crate::tls::{CredentialsReceiver, DialError, PeerIdentity, dial};

/// Dials one server at one address; shared by everything that talks to it.
pub(crate) struct Dialer {
    cluster_id: ClusterId,
    peer: ServerId,
    address: Address,
    credentials: CredentialsReceiver,
    memory: Mutex<Memory>,
}

/// What earlier dials found out.
#[derive(Default)]
struct Memory {
    /// Where the last successful connection went.
    hint: Option<SocketAddr>,
    /// What the name stood for, and when that was asked.
    resolved: Option<(Instant, Vec<SocketAddr>)>,
}

/// What a dial says of the process at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The expected peer is there.
    Answers,
    /// Its host is, and nothing listens.
    Refused,
    /// Neither was shown: no answer, a broken handshake, a name that leads nowhere.
    Unclear,
}

impl Dialer {
    pub(crate) fn new(
        cluster_id: ClusterId,
        peer: ServerId,
        address: Address,
        credentials: CredentialsReceiver,
    ) -> Self {
        Self { cluster_id, peer, address, credentials, memory: Mutex::default() }
    }

    pub(crate) fn peer(&self) -> &ServerId {
        &self.peer
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// An HTTP/2 connection of its own, made now: an error means that nothing was sent.
    pub(crate) async fn channel(self: &Arc<Self>) -> Result<Channel, String> {
        let dialer = Arc::clone(self);
        // The address in the URI is of no use: the connector below knows where to go.
        Endpoint::from_static("http://peer")
            .initial_stream_window_size(LINK_WINDOW_BYTES)
            .initial_connection_window_size(LINK_WINDOW_BYTES)
            .http2_keep_alive_interval(LINK_KEEPALIVE)
            .keep_alive_timeout(LINK_KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector(service_fn(move |_| {
                let dialer = Arc::clone(&dialer);
                async move { dialer.dial().await.map(TokioIo::new) }
            }))
            .await
            .map_err(|error| chain(&error))
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let hint = self.memory().hint;
        if let Some(address) = hint
            && let Ok(Ok(stream)) = timeout(DIAL_HINT_TIMEOUT, self.dial_at(address)).await
        {
            return Ok(stream);
        }
        let mut error = None;
        for address in self.resolve().await?.into_iter().take(DIAL_ADDRESSES_MAX) {
            match self.dial_at(address).await {
                Ok(stream) => {
                    self.memory().hint = Some(address);
                    return Ok(stream);
                }
                Err(found) => error = Some(found),
            }
        }
        Err(error.unwrap_or_else(|| self.unresolved("the name has no addresses")))
    }

    /// Dials where the last connection went, or if there was none wherever the name leads: all must refuse.
    pub(crate) async fn look(&self) -> Found {
        let hint = self.memory().hint;
        let addresses = match hint {
            Some(address) => vec![address],
            None => self.resolve().await.unwrap_or_default(),
        };
        let mut found = Found::Unclear;
        for address in addresses.into_iter().take(DIAL_ADDRESSES_MAX) {
            match self.dial_at(address).await {
                Ok(_) => return Found::Answers,
                Err(DialError::Connect { source, .. }) if source.kind() == ErrorKind::ConnectionRefused => {
                    found = Found::Refused;
                }
                Err(_) => return Found::Unclear,
            }
        }
        found
    }

    async fn dial_at(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>, DialError> {
        let credentials = self.credentials.borrow().clone();
        let expected = PeerIdentity::new(self.cluster_id.0, self.peer.raft_id.as_str());
        dial(address, &credentials, expected).await
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        if let Some((asked, addresses)) = &self.memory().resolved
            && asked.elapsed() < RESOLVE_EVERY
        {
            return Ok(addresses.clone());
        }
        let found = timeout(DIAL_TIMEOUT, tokio::net::lookup_host(self.address.as_str()))
            .await
            .map_err(|_| self.unresolved("no answer in time"))?
            .map_err(|error| self.unresolved(&error.to_string()))?;
        let addresses: Vec<_> = found.collect();
        self.memory().resolved = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    fn unresolved(&self, why: &str) -> DialError {
        DialError::Resolve { address: self.address.to_string(), why: why.to_owned() }
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes: tonic's own text is only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
