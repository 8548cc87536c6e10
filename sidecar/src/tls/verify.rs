//! Checks a listener's certificate: signed by our CA, in date, and naming the expected peer (K23).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::identity::PeerIdentity;

/// Accepts one identity under one CA, or a certificate that all members of its cluster share.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
    roots: Arc<RootCertStore>,
    expected: PeerIdentity,
}

impl PeerVerifier {
    pub(super) fn new(provider: &CryptoProvider, roots: Arc<RootCertStore>, expected: PeerIdentity) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, roots, expected }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        match PeerIdentity::of(end_entity) {
            Ok(found) if found.stands_for(&self.expected) => Ok(ServerCertVerified::assertion()),
            Ok(found) => Err(Error::General(format!("reached {found} where {} was expected", self.expected))),
            Err(_) => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
