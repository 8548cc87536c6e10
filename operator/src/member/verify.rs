//! Checks that the server at an address is the member meant (K42).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The usual checks against the cluster's authority, and then the one URI SAN in place of a DNS name: a certificate of the
/// right authority for another member, or for a cluster that shares a Secret, is refused. One that all members share (K23)
/// is good for each.
#[derive(Debug)]
pub(crate) struct MemberVerifier {
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
    expected: quorate_api::san::Name,
}

impl MemberVerifier {
    pub(crate) fn new(
        authority_pem: &str,
        expected: quorate_api::san::Name,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self { provider, roots, expected })
    }

    fn names_the_member(&self, certificate: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(certificate)
            .ok()
            .and_then(|(_, certificate)| crate::tls::uri_name(&certificate))
            .is_some_and(|name| {
                name.cluster_id == self.expected.cluster_id
                    && quorate_api::san::stands_for(&name.raft_id, &self.expected.raft_id)
            })
    }
}

impl ServerCertVerifier for MemberVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if self.names_the_member(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::limits::LEAF_LIFE;
    use crate::tls::Authority;

    const CLUSTER: u128 = 7;

    fn verdict(authority: &Authority, issued: (u128, &str), dialled: &str) -> Result<(), Error> {
        let leaf = authority.issue(issued.0, issued.1, &[], SystemTime::now(), LEAF_LIFE).unwrap();
        let expected = quorate_api::san::Name { cluster_id: CLUSTER, raft_id: dialled.to_owned() };
        let trusted = Authority::read("db-ca", TRUSTED.certificate_pem(), &TRUSTED.key_pem()).unwrap();
        let verifier = MemberVerifier::new(trusted.certificate_pem(), expected).unwrap();
        let der = CertificateDer::from_pem_slice(leaf.certificate_pem.as_bytes()).unwrap();
        let name = ServerName::try_from(dialled.to_owned()).unwrap();
        verifier.verify_server_cert(&der, &[], &name, &[], UnixTime::now()).map(|_| ())
    }

    static TRUSTED: std::sync::LazyLock<Authority> =
        std::sync::LazyLock::new(|| Authority::new("db", SystemTime::now()).unwrap());

    /// K42, K23: an address reused by another member, another cluster's member under the same authority, and a
    /// member of another authority are all refused.
    #[test]
    fn only_the_member_meant_is_accepted() {
        let stranger = Authority::new("db", SystemTime::now()).unwrap();
        assert!(verdict(&TRUSTED, (CLUSTER, "db-1-3f2a91c4"), "db-1-3f2a91c4").is_ok());
        assert!(verdict(&TRUSTED, (CLUSTER, "db-2-c01d77aa"), "db-1-3f2a91c4").is_err());
        assert!(verdict(&TRUSTED, (CLUSTER + 1, "db-1-3f2a91c4"), "db-1-3f2a91c4").is_err());
        assert!(verdict(&stranger, (CLUSTER, "db-1-3f2a91c4"), "db-1-3f2a91c4").is_err());
        assert!(verdict(&TRUSTED, (CLUSTER, "*"), "db-1-3f2a91c4").is_ok(), "shared by all members");
        assert!(verdict(&TRUSTED, (CLUSTER + 1, "*"), "db-1-3f2a91c4").is_err());
    }
}
