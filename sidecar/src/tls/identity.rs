//! Who is at the other end: the URI SAN of its certificate (K23).

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use quorate_api::san;

/// A certificate's cluster and Raft ID (or `operator`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster it belongs to.
    pub cluster_id: u128,
    /// The member it belongs to; [`san::OPERATOR`] for the operator.
    pub raft_id: String,
}

impl PeerIdentity {
    /// A member of a cluster.
    pub fn new(cluster_id: u128, raft_id: impl Into<String>) -> Self {
        Self { cluster_id, raft_id: raft_id.into() }
    }

    /// Whether a certificate of this name is good for `other`: the very same, or one shared by all members (K23).
    pub fn stands_for(&self, other: &Self) -> bool {
        self.cluster_id == other.cluster_id && san::stands_for(&self.raft_id, &other.raft_id)
    }

    /// What the certificate says; it must have exactly one URI SAN of ours.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            parse_x509_certificate(certificate).map_err(|error| format!("not a certificate: {error}"))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| format!("unreadable names: {error}"))?
            .ok_or("it has no alternative names")?;
        let mut found = None;
        for name in &names.value.general_names {
            let GeneralName::URI(uri) = name else { continue };
            let Ok(parsed) = san::parse(uri) else { continue };
            if found.replace(parsed).is_some() {
                // Two identities in one certificate could be played against each other.
                return Err("it has more than one quorate:// name".to_owned());
            }
        }
        let found = found.ok_or("it has no quorate:// name")?;
        Ok(Self { cluster_id: found.cluster_id, raft_id: found.raft_id })
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&san::format(self.cluster_id, &self.raft_id))
    }
}
