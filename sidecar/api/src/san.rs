//! The name in a certificate: `quorate://<cluster id>/<raft id>`, one URI SAN (K23).

use std::error::Error;
use std::fmt;

/// The Raft ID in the operator's own certificate.
pub const OPERATOR: &str = "operator";

/// Longest Raft ID accepted in a name.
pub const RAFT_ID_BYTES_MAX: usize = 128;

const SCHEME: &str = "quorate://";
const CLUSTER_ID_DIGITS: usize = 32;

/// A parsed name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The cluster.
    pub cluster_id: u128,
    /// The member, or [`OPERATOR`].
    pub raft_id: String,
}

/// A URI that is no name of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not of the form quorate://<32 hex digits of the cluster ID>/<raft id>")
    }
}

impl Error for NotAName {}

/// The URI for a member of a cluster.
pub fn format(cluster_id: u128, raft_id: &str) -> String {
    format!("{SCHEME}{cluster_id:032x}/{raft_id}")
}

/// Reads a URI; exactly what [`format`] writes is accepted, so one identity has one spelling.
pub fn parse(uri: &str) -> Result<Name, NotAName> {
    let (cluster_id, raft_id) =
        uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(NotAName)?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if cluster_id.len() != CLUSTER_ID_DIGITS || !cluster_id.bytes().all(is_hex) {
        return Err(NotAName);
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if raft_id.is_empty() || raft_id.len() > RAFT_ID_BYTES_MAX || !raft_id.bytes().all(is_allowed) {
        return Err(NotAName);
    }
    let cluster_id = u128::from_str_radix(cluster_id, 16).map_err(|_| NotAName)?;
    Ok(Name { cluster_id, raft_id: raft_id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K23: one identity, one spelling.
    #[test]
    fn a_name_is_read_back_as_written_and_in_no_other_spelling() {
        let uri = format(0xabc, "db-0-3f2a91c4");
        assert_eq!(uri, "quorate://00000000000000000000000000000abc/db-0-3f2a91c4");
        assert_eq!(parse(&uri), Ok(Name { cluster_id: 0xabc, raft_id: "db-0-3f2a91c4".to_owned() }));
        for bad in [
            "quorate://abc/db-0",
            "quorate://00000000000000000000000000000ABC/db-0",
            "quorate://00000000000000000000000000000abc/",
            "quorate://00000000000000000000000000000abc/a/b",
            "https://00000000000000000000000000000abc/db-0",
            "",
        ] {
            assert_eq!(parse(bad), Err(NotAName), "{bad}");
        }
    }
}
