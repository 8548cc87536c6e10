//! A member's certificate, and when it is due for renewal.

use std::collections::BTreeSet;
use std::time::SystemTime;

use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// `tls.crt`.
    pub(crate) certificate_pem: String,
    /// `tls.key`.
    pub(crate) key_pem: String,
}

/// What is to be known of a certificate that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The Raft ID of its URI SAN.
    pub(crate) raft_id: Option<String>,
    /// The cluster ID of its URI SAN.
    pub(crate) cluster_id: Option<u128>,
    /// Its DNS SANs.
    pub(crate) dns_names: BTreeSet<String>,
    /// Seconds since the Unix epoch.
    pub(crate) not_before: i64,
    /// Seconds since the Unix epoch.
    pub(crate) not_after: i64,
}

impl Facts {
    /// Reads a certificate in PEM; `None` if it cannot be read.
    pub(crate) fn read(pem: &str) -> Option<Self> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
        let name = uri_name(&certificate);
        Some(Self {
            raft_id: name.as_ref().map(|name| name.raft_id.clone()),
            cluster_id: name.map(|name| name.cluster_id),
            dns_names: dns_names(&certificate),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// Good for nothing any more.
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.not_after <= seconds(now)
    }

    /// Past two thirds of its life, so that two renewals may fail before members stop talking (K46).
    pub(crate) fn is_past_two_thirds(&self, now: SystemTime) -> bool {
        let life = self.not_after.saturating_sub(self.not_before);
        seconds(now) >= self.not_before.saturating_add(life / 3 * 2)
    }
}

/// Since the Unix epoch; a clock before it counts as at it.
pub(super) fn seconds(now: SystemTime) -> i64 {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// The one name of ours in a certificate; none if there is none or more than one.
pub(crate) fn uri_name(certificate: &X509Certificate<'_>) -> Option<quorate_api::san::Name> {
    let names = certificate.subject_alternative_name().ok().flatten()?;
    let mut ours = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => quorate_api::san::parse(uri).ok(),
        _ => None,
    });
    let name = ours.next()?;
    ours.next().is_none().then_some(name)
}

fn dns_names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let all = names.iter().flat_map(|names| &names.value.general_names);
    all.filter_map(|name| match name {
        GeneralName::DNSName(dns) => Some((*dns).to_owned()),
        _ => None,
    })
    .collect()
}

/// Whether this leaf has to be made anew: past two thirds of its life, unreadable, or signed by another authority.
pub(crate) fn needs_renewal(leaf_pem: &str, authority_pem: &str, now: SystemTime) -> bool {
    let Some(facts) = Facts::read(leaf_pem) else { return true };
    facts.is_past_two_thirds(now) || !is_signed_by(leaf_pem, authority_pem)
}

pub(super) fn is_signed_by(leaf_pem: &str, authority_pem: &str) -> bool {
    let Ok((_, leaf)) = parse_x509_pem(leaf_pem.as_bytes()) else { return false };
    let Ok((_, authority)) = parse_x509_pem(authority_pem.as_bytes()) else { return false };
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf.contents) else { return false };
    let Ok((_, authority)) = X509Certificate::from_der(&authority.contents) else { return false };
    // Compared by key identifier: the same key signs the same way, and checking signatures is the members' work.
    let signer = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
            id.key_identifier.as_ref().map(|key| key.0.to_vec())
        }
        _ => None,
    });
    let key = authority.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    });
    signer.is_some() && signer == key
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::LEAF_LIFE;
    use crate::tls::Authority;

    const CLUSTER: u128 = 0x5f5f_5f5f;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn leaf(authority: &Authority) -> Leaf {
        let names = ["db-1.db-members.ns.svc.cluster.local".to_owned()];
        authority.issue(CLUSTER, "db-1-3f2a91c4", &names, now(), LEAF_LIFE).unwrap()
    }

    /// K23: the URI SAN names one member of one cluster; the Raft ID is also a DNS name, for K42's dialers.
    #[test]
    fn a_leaf_names_its_member_and_its_cluster() {
        let authority = Authority::new("db", now()).unwrap();
        let leaf = leaf(&authority);
        let facts = Facts::read(&leaf.certificate_pem).unwrap();
        assert_eq!(facts.raft_id.as_deref(), Some("db-1-3f2a91c4"));
        assert_eq!(facts.cluster_id, Some(CLUSTER));
        let dns: Vec<&str> = facts.dns_names.iter().map(String::as_str).collect();
        assert_eq!(dns, ["db-1-3f2a91c4", "db-1.db-members.ns.svc.cluster.local"]);
    }

    /// K46: renewed at two thirds of its life, not before and not only at its end.
    #[test]
    fn a_leaf_is_renewed_at_two_thirds_of_its_life() {
        let authority = Authority::new("db", now()).unwrap();
        let pem = leaf(&authority).certificate_pem;
        let due = |after: Duration| needs_renewal(&pem, authority.certificate_pem(), now() + after);
        assert!(!due(Duration::ZERO));
        assert!(!due(LEAF_LIFE / 2));
        assert!(due(LEAF_LIFE * 2 / 3 + Duration::from_mins(1)));
        assert!(due(LEAF_LIFE * 2));
    }

    /// K46: after the authority was made anew, leafs of the old one are replaced; so is what cannot be read.
    #[test]
    fn a_leaf_of_another_authority_or_an_unreadable_one_is_renewed() {
        let (ours, other) = (Authority::new("db", now()).unwrap(), Authority::new("db", now()).unwrap());
        let pem = leaf(&ours).certificate_pem;
        assert!(!needs_renewal(&pem, ours.certificate_pem(), now()));
        assert!(needs_renewal(&pem, other.certificate_pem(), now()));
        assert!(needs_renewal("", ours.certificate_pem(), now()));
        assert!(needs_renewal("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "", now()));
    }

    /// K46: what is stored is what is used after the operator's restart.
    #[test]
    fn an_authority_read_from_its_secret_issues_leafs_of_the_same_authority() {
        let made = Authority::new("db", now()).unwrap();
        let read = Authority::read("db-ca", made.certificate_pem(), &made.key_pem()).unwrap();
        let leaf = leaf(&read);
        assert!(!needs_renewal(&leaf.certificate_pem, made.certificate_pem(), now()));
        assert!(Authority::read("db-ca", made.certificate_pem(), "no key").is_err());
    }
}
