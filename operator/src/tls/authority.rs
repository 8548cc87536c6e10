//! A cluster's certificate authority.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::{Leaf, TlsError};
use crate::limits::{AUTHORITY_LIFE, CLOCK_SKEW};

/// The authority: its certificate and the key behind it.
pub(crate) struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority for the cluster of this name.
    pub(crate) fn new(cluster: &str, now: SystemTime) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "quorate");
        params.distinguished_name.push(DnType::CommonName, format!("{cluster} members"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, AUTHORITY_LIFE);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority as its Secret holds it.
    pub(crate) fn read(secret: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let refused =
            |why: rcgen::Error| TlsError::Authority { secret: secret.to_owned(), why: why.to_string() };
        let key = KeyPair::from_pem(key_pem).map_err(refused)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(refused)?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// `ca.crt`.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// `ca.key`.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A leaf for one identity: the URI SAN proves it (K23); the DNS SANs are what dialers ask for, the Raft ID
    /// itself among them (K42).
    pub(crate) fn issue(
        &self,
        cluster_id: u128,
        raft_id: &str,
        dns_names: &[String],
        now: SystemTime,
        life: Duration,
    ) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate()?;
        let mut names = vec![raft_id.to_owned()];
        names.extend(dns_names.iter().filter(|name| *name != raft_id).cloned());
        let mut params = CertificateParams::new(names)?;
        let uri = quorate_api::san::format(cluster_id, raft_id);
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "quorate");
        params.distinguished_name.push(DnType::CommonName, raft_id);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every member is a server to its peers and a client of them.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, life);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    // A clock before 1970 gives certificates from 1970, which members refuse as expired: visible, and harmless.
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since_epoch + life;
}
