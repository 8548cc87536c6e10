//! Certificates asked of cert-manager: one for each member and one for the operator (K46).
//!
//! Its API is spoken without a crate of its own: a `Certificate` is a few fields, and the Secret it leads to is read and
//! checked like any other that others brought.

use quorate_crds::{IssuerRef, TlsMode};
use serde::Serialize;

use crate::children::names;
use crate::children::rendering::hash;
use crate::plan::Ensure;
use crate::round::Round;
use crate::upkeep::dns_names;

/// A `Certificate` of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// The Secret it leads to.
    pub secret: String,
    /// Its URI SAN (K23).
    pub uri: String,
    /// Its DNS SANs.
    pub dns_names: Vec<String>,
    /// Who issues it.
    pub issuer: IssuerRef,
}

impl Request {
    /// What tells one from another: an annotation of the object.
    pub fn rendered(&self) -> String {
        hash(self)
    }
}

/// Asks for what was not asked for yet, or otherwise.
pub(crate) fn request(round: &mut Round<'_>) {
    let tls = &round.spec().tls;
    let (Some(issuer), Some(cluster_id)) = (&tls.issuer_ref, round.cluster_id.clone()) else { return };
    if tls.mode != TlsMode::CertManager {
        return;
    }
    let observed = round.observed;
    let wanted = |name: String, raft_id: &str, dns_names: Vec<String>| Request {
        secret: names::issued_secret(&name),
        uri: format!("quorate://{cluster_id}/{raft_id}"),
        dns_names,
        issuer: issuer.clone(),
        name,
    };
    let mut all = vec![wanted(names::operator_certificate(observed.name()), "operator", Vec::new())];
    for (ordinal, _, claim) in round.live() {
        let raft_id = round.raft_id(ordinal, claim);
        all.push(wanted(round.pod_name(ordinal), &raft_id, dns_names(round, ordinal, &raft_id)));
    }
    let asked = &observed.children.authority.asked;
    all.retain(|request| asked.get(&request.name) != Some(&request.rendered()));
    round.ensures.extend(all.into_iter().map(|request| Ensure::RequestCertificate(Box::new(request))));
}
