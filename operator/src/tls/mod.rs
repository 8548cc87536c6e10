//! Certificates of a cluster: an authority of its own, a leaf per member, and the operator's (K23, K46).
//!
//! ```text
//!   Secret <c>-ca      ca.crt, ca.key                made by POST: two operators cannot both win; two while one
//!                                                    follows another
//!   Secret <c>-<n>-tls ca.crt, tls.crt, tls.key      renewed at two thirds of its life
//!   in memory          the operator's leaf           one day
//! ```
//! Invariant: a leaf names exactly one (cluster ID, Raft ID) in its URI SAN; a certificate of another cluster is
//! signed by another authority and proves nothing here.
//! Certificates of others (`spec.tls`) are checked, and then copied into the members' Secrets: what is wrong with them
//! reaches no member, and a change of the source is a change of the authority like any other.
//! Not here: when an authority follows another, which the planner decides, and hot reload, which is the sidecar's.

mod authority;
mod brought;
pub(crate) mod issuance;
mod leaf;
mod trust;

pub(crate) use authority::Authority;
pub(crate) use brought::{Brought, Wanted, check};
pub(crate) use leaf::{Facts, Leaf, needs_renewal, uri_name};
pub(crate) use trust::{
    Anchor, CA_CERTIFICATE, CA_KEY, NEXT_CERTIFICATE, NEXT_KEY, PREVIOUS_CERTIFICATE, Trust,
};

/// Why a certificate cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The authority's Secret does not hold what it should.
    #[error(
        "secret {secret} holds no usable certificate authority: {why}; restore it from a backup, or delete it and leave \
             the members' -tls secrets alone: a new authority then takes over while members trust both"
    )]
    Authority {
        /// Its name.
        secret: String,
        /// What is wrong with it.
        why: String,
    },
    /// The cluster ID on record is not one.
    #[error(
        "the cluster ID on record is not 32 hexadecimal digits: {0:?}; status.clusterId was edited by hand, put \
             it back to what the claims' annotation quorate.dev/cluster-id says"
    )]
    ClusterId(String),
    /// The library refused: a name that is no DNS name, or no randomness.
    #[error("making a certificate failed: {0}")]
    Make(#[from] rcgen::Error),
}

/// The number behind 32 hexadecimal digits.
pub(crate) fn parse_cluster_id(text: &str) -> Result<u128, TlsError> {
    let is_valid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16)
        .ok()
        .filter(|_| is_valid)
        .ok_or_else(|| TlsError::ClusterId(text.to_owned()))
}
