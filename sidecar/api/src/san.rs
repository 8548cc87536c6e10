//! The name in a certificate: `quorate://<cluster id>/<raft id>`, one URI SAN (K23).

use std::error::Error;
use std::fmt;

/// The Raft ID in the operator's own certificate.
pub const OPERATOR: &str = "operator";

/// In place of a Raft ID where one certificate is shared by all members (one Secret brought by the user): it proves the
/// cluster only.
pub const ANY_MEMBER: &str = "*";

/// Longest Raft ID accepted in a name.
pub const RAFT_ID_BYTES_MAX: usize = 128;

const SCHEME: &str = "quorate://";
const CLUSTER_ID_DIGITS: usize = 32;

/// A parsed name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The cluster.
    pub cluster_id: u128,
    /// The member, [`OPERATOR`] or [`ANY_MEMBER`].
    pub raft_id: String,
}

/// Whether a certificate for `shown` is good for `raft_id` of the same cluster. One that is shared by all members is good for
/// each of them, and never for the operator.
pub fn stands_for(shown: &str, raft_id: &str) -> bool {
    shown == raft_id || (shown == ANY_MEMBER && raft_id != OPERATOR)
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
    let is_whole = raft_id == ANY_MEMBER || raft_id.bytes().all(is_allowed);
    if raft_id.is_empty() || raft_id.len() > RAFT_ID_BYTES_MAX || !is_whole {
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
            "quorate://00000000000000000000000000000abc/db-*",
            "https://00000000000000000000000000000abc/db-0",
            "",
        ] {
            assert_eq!(parse(bad), Err(NotAName), "{bad}");
        }
    }

    /// K23: a shared certificate is any member's, and never the operator's.
    #[test]
    fn a_shared_certificate_is_any_members_and_never_the_operators() {
        assert_eq!(parse(&format(7, ANY_MEMBER)).map(|name| name.raft_id), Ok(ANY_MEMBER.to_owned()));
        assert!(stands_for("db-0", "db-0") && stands_for(ANY_MEMBER, "db-0"));
        assert!(
            !stands_for("db-0", "db-1") && !stands_for(ANY_MEMBER, OPERATOR) && !stands_for("db-0", OPERATOR)
        );
    }
}
