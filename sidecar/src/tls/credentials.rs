//! One set of certificate files, turned into configurations for both ends of a connection.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::identity::PeerIdentity;
use super::verify::PeerVerifier;

/// What is offered in the TLS handshake of gRPC.
const ALPN_H2: &[u8] = b"h2";
/// What is offered in the TLS handshake of the HTTP API.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// Whom a listener lets through its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// gRPC for whoever shows a certificate of this CA, and nobody else.
    Certified,
    /// gRPC for anyone; a certificate that is shown must be of this CA. Who shows none has to prove himself by a token
    /// with each call (K46).
    Anyone,
    /// HTTP/1.1 for anyone; no certificate is asked for, and each request needs a token.
    Web,
}

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file is missing or can't be read.
    #[error("cannot read {path}: {source}; mount the member's certificate Secret there")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not PEM, or no certificate or key in it.
    #[error("cannot parse {what}: {why}; it must be PEM")]
    Parse {
        /// Which of the three files.
        what: &'static str,
        /// What the parser said.
        why: String,
    },
    /// The certificate has no usable identity.
    #[error("the certificate names no member: {why}; it needs one URI SAN quorate://<cluster id>/<raft id>")]
    NoIdentity {
        /// What is wrong with its SANs.
        why: String,
    },
    /// Key and certificate don't belong together, or the CA is unusable.
    #[error("cannot use the certificates: {why}")]
    Unusable {
        /// What rustls said.
        why: String,
    },
}

/// A member's certificate and key, and the CA it trusts.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    identity: PeerIdentity,
    hash: String,
    certified: Arc<ServerConfig>,
    anyone: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
}

impl Credentials {
    /// Parses PEM texts: the CA's certificates, the own chain (leaf first), the own key.
    pub fn from_pem(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let hash = quorate_api::credentials::hash(ca, chain);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for root in certificates("ca.crt", ca)? {
            roots.add(root).map_err(|error| parse("ca.crt", &error))?;
        }
        let chain = certificates("tls.crt", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| parse("tls.key", &error))?;
        let leaf = chain.first().ok_or_else(|| parse("tls.crt", &"it holds no certificate"))?;
        let identity = PeerIdentity::of(leaf).map_err(|why| CredentialsError::NoIdentity { why })?;
        let roots = Arc::new(roots);
        let server = |door| server_config(&provider, &roots, (&chain, &key), door).map(Arc::new);
        let (certified, anyone, web) = (server(Door::Certified)?, server(Door::Anyone)?, server(Door::Web)?);
        Ok(Self { provider, roots, chain, key, identity, hash, certified, anyone, web })
    }

    /// Who this certificate says we are.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// Names the files these came from, for the operator: who uses what it wrote.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// For listeners.
    pub fn server(&self, door: Door) -> Arc<ServerConfig> {
        Arc::clone(match door {
            Door::Certified => &self.certified,
            Door::Anyone => &self.anyone,
            Door::Web => &self.web,
        })
    }

    /// For dialing exactly `expected`: any other certificate ends the handshake (K23).
    pub fn client(&self, expected: PeerIdentity) -> Result<Arc<ClientConfig>, CredentialsError> {
        let verifier = PeerVerifier::new(&self.provider, Arc::clone(&self.roots), expected);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .dangerous() // The verifier below checks chain, dates and identity; only DNS names are not asked for.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    (chain, key): (&[CertificateDer<'static>], &PrivateKeyDer<'static>),
    door: Door,
) -> Result<ServerConfig, CredentialsError> {
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let callers = match door {
        Door::Certified => callers.build(),
        Door::Anyone => callers.allow_unauthenticated().build(),
        Door::Web => Ok(WebPkiClientVerifier::no_client_auth()),
    };
    let callers = callers.map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![if door == Door::Web { ALPN_HTTP } else { ALPN_H2 }.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| parse(what, &error))?;
    if found.is_empty() {
        return Err(parse(what, &"it holds no certificate"));
    }
    Ok(found)
}

fn parse(what: &'static str, why: &dyn std::fmt::Display) -> CredentialsError {
    CredentialsError::Parse { what, why: why.to_string() }
}

fn unusable(why: &dyn std::fmt::Display) -> CredentialsError {
    CredentialsError::Unusable { why: why.to_string() }
}
