//! Certificates of others: checked before any member sees them (K23, K46).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quorate_plan::observed::Ordinal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore, ServerConfig};

use super::leaf::seconds;
use super::{Facts, Leaf};

/// What was brought, every part of it checked.
pub(crate) struct Brought {
    /// Whom members are to trust.
    pub(crate) authority_pem: String,
    /// One certificate for all members.
    pub(crate) shared: Option<Leaf>,
    /// One for each member, as far as they are there.
    pub(crate) each: BTreeMap<Ordinal, Leaf>,
    /// The operator's own.
    pub(crate) operator: Leaf,
}

impl Brought {
    /// A member's.
    pub(crate) fn of(&self, ordinal: Ordinal) -> Option<&Leaf> {
        self.each.get(&ordinal).or(self.shared.as_ref())
    }
}

/// What a certificate must be.
pub(crate) struct Wanted<'a> {
    /// Its cluster.
    pub(crate) cluster_id: u128,
    /// In its URI SAN.
    pub(crate) raft_id: &'a str,
    /// DNS SANs it needs at least.
    pub(crate) dns_names: &'a [String],
    /// Names of its two files, for the message.
    pub(crate) files: (&'static str, &'static str),
}

/// Whether a certificate and its key may be used. The error is what is wrong and what to do, for people.
pub(crate) fn check(
    leaf: &Leaf,
    authority_pem: &str,
    wanted: &Wanted<'_>,
    now: SystemTime,
) -> Result<(), String> {
    let (file, key_file) = wanted.files;
    let Some(facts) = Facts::read(&leaf.certificate_pem) else {
        return Err(format!("{file} holds no certificate that can be read: it must be PEM, the leaf first"));
    };
    let uri = quorate_api::san::format(wanted.cluster_id, wanted.raft_id);
    let found = facts.cluster_id.zip(facts.raft_id.as_deref());
    if found != Some((wanted.cluster_id, wanted.raft_id)) {
        let found = found.map_or_else(
            || "it has none of ours, or several".to_owned(),
            |(cluster_id, raft_id)| format!("it is {}", quorate_api::san::format(cluster_id, raft_id)),
        );
        return Err(format!("the URI SAN of {file} must be {uri}, but {found}: issue it with that name"));
    }
    let missing: BTreeSet<_> =
        wanted.dns_names.iter().filter(|name| !facts.dns_names.contains(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "{file} lacks the DNS SANs by which clients outside the Pods check it: {missing}; issue it with those names"
        ));
    }
    let seconds = seconds(now);
    if facts.is_expired(now) {
        return Err(format!("{file} has expired: renew it"));
    }
    if facts.not_before > seconds {
        return Err(format!("{file} is not valid yet: look at the clock of whoever issued it"));
    }
    let verified = verify(&leaf.certificate_pem, authority_pem, Duration::from_secs(seconds.unsigned_abs()));
    verified.map_err(|why| format!("{file} {why}"))?;
    fits(leaf)
        .map_err(|why| format!("{key_file} is not the key of {file}: {why}; put both of one issue there"))
}

fn verify(chain_pem: &str, authority_pem: &str, now: Duration) -> Result<(), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("cannot be read: {error}"))?;
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err("holds no certificate".to_owned());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        let certificate =
            certificate.map_err(|error| format!("cannot be checked, for ca.crt cannot be read: {error}"))?;
        roots.add(certificate).map_err(|error| format!("cannot be checked by ca.crt: {error}"))?;
    }
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| format!("cannot be read: {error}"))?;
    let time = UnixTime::since_unix_epoch(now);
    let verified = rustls::client::verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &roots,
        intermediates,
        time,
        algorithms.all,
    );
    verified.map_err(|error| match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "is not signed by ca.crt: put its authority there, and intermediates behind the leaf".to_owned()
        }
        error => format!("is refused: {error}; it needs the usages server auth and client auth"),
    })?;
    // Every member is a client of its peers as well.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| format!("cannot be checked by ca.crt: {error}"))?;
    let verified = callers.verify_client_cert(leaf, intermediates, time);
    verified.map(|_| ()).map_err(|error| format!("is refused: {error}; it needs the usage client auth, too"))
}

/// Whether key and certificate belong together.
fn fits(leaf: &Leaf) -> Result<(), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(leaf.certificate_pem.as_bytes()).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    config.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CLOCK_SKEW, LEAF_LIFE};
    use crate::tls::Authority;

    const CLUSTER: u128 = 7;

    /// K23, P10: what is wrong is named with the file, and with what to do.
    #[test]
    fn each_mistake_is_told_with_its_file_and_the_way_out() {
        let now = SystemTime::now();
        let [ours, other] = ["ours", "other"].map(|name| Authority::new(name, now).unwrap());
        let names = ["db-read.shop.svc".to_owned()];
        let issue = |authority: &Authority, cluster, raft_id| {
            authority.issue(cluster, raft_id, &[], now, LEAF_LIFE).unwrap()
        };
        let look = |leaf: &Leaf, dns_names: &[String], at| {
            let wanted =
                Wanted { cluster_id: CLUSTER, raft_id: "*", dns_names, files: ("tls.crt", "tls.key") };
            check(leaf, ours.certificate_pem(), &wanted, at)
        };
        // A DNS SAN of the Raft ID is what our own authority adds; a shared one has none of the kind.
        let good = issue(&ours, CLUSTER, "*");
        assert_eq!(look(&good, &[], now), Ok(()));
        let told = |leaf: &Leaf, dns_names: &[String], at, words: [&str; 2]| {
            let why = look(leaf, dns_names, at).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        };
        told(&issue(&ours, CLUSTER, "operator"), &[], now, ["tls.crt must be quorate://", "/operator"]);
        told(&issue(&ours, CLUSTER + 1, "*"), &[], now, ["URI SAN", "issue it with that name"]);
        told(&good, &names, now, ["DNS SANs", "db-read.shop.svc"]);
        told(&good, &[], now + LEAF_LIFE * 2, ["expired", "renew"]);
        told(&good, &[], now - CLOCK_SKEW * 2, ["not valid yet", "clock"]);
        told(&issue(&other, CLUSTER, "*"), &[], now, ["not signed by ca.crt", "intermediates"]);
        let key_pem = issue(&ours, CLUSTER, "*").key_pem;
        let mixed = Leaf { certificate_pem: good.certificate_pem.clone(), key_pem };
        told(&mixed, &[], now, ["tls.key is not the key of tls.crt", "both of one issue"]);
        let half = Leaf { certificate_pem: "half".to_owned(), key_pem: good.key_pem.clone() };
        told(&half, &[], now, ["tls.crt holds no certificate", "PEM"]);
    }
}
