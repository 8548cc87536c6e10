//! Dialing a peer: TCP, then mutual TLS that demands its identity.
//!
//! Invariant: what comes back is connected to the expected peer; a reused IP address fails here (K16, K42).

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::credentials::{Credentials, CredentialsError};
use super::identity::PeerIdentity;
use crate::limits::{DIAL_TIMEOUT, HANDSHAKE_TIMEOUT};

/// Why a peer can't be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing answered in time.
    #[error("{address} did not answer within {DIAL_TIMEOUT:?}")]
    Timeout {
        /// Where.
        address: SocketAddr,
    },
    /// The connection was refused or broke.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody answered, but not the expected peer, or it doesn't trust us.
    #[error("cannot agree on TLS with {address}: {why}")]
    Handshake {
        /// Where.
        address: SocketAddr,
        /// What rustls said.
        why: String,
    },
    /// The name leads nowhere.
    #[error("cannot resolve {address}: {why}")]
    Resolve {
        /// The address as the configuration has it.
        address: String,
        /// What the resolver said.
        why: String,
    },
    /// Our own certificates are unusable.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Connects to `address`, which must turn out to be `expected`.
pub async fn dial(
    address: SocketAddr,
    credentials: &Credentials,
    expected: PeerIdentity,
) -> Result<TlsStream<TcpStream>, DialError> {
    let config = credentials.client(expected)?;
    let tcp = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| DialError::Timeout { address })?
        .map_err(|source| DialError::Connect { address, source })?;
    // Small messages matter more than full packets: an acknowledgement must not wait for company.
    tcp.set_nodelay(true).map_err(|source| DialError::Connect { address, source })?;
    // The verifier asks for the identity, so the name sent is of no use; an IP sends none.
    let name = rustls_pki_types::ServerName::IpAddress(address.ip().into());
    let handshake = TlsConnector::from(config).connect(name, tcp);
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
        .await
        .map_err(|_| DialError::Timeout { address })?
        .map_err(|error| DialError::Handshake { address, why: error.to_string() })
}
