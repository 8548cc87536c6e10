//! A throw-away certificate authority for `dev` and for tests: lives in memory, signs for one cluster.

use std::sync::Arc;

use quorate_api::san;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::tls::{Credentials, CredentialsError};

/// Signs certificates that prove membership of one cluster.
pub struct Authority {
    cluster_id: u128,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM, and the CA that signed it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The CA's certificate.
    pub ca_pem: String,
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl Issued {
    /// Ready to use.
    pub fn credentials(&self) -> Result<Arc<Credentials>, CredentialsError> {
        Credentials::from_pem(
            self.ca_pem.as_bytes(),
            self.certificate_pem.as_bytes(),
            self.key_pem.as_bytes(),
        )
        .map(Arc::new)
    }
}

impl Authority {
    /// A new CA for this cluster.
    pub fn new(cluster_id: u128) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "quorate dev CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { cluster_id, certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// A certificate for one member, or for `operator`.
    pub fn issue(&self, raft_id: &str) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, raft_id);
        let uri = san::format(self.cluster_id, raft_id);
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            ca_pem: self.certificate_pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}
