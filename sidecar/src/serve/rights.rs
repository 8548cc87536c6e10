//! Who may call what (K23): by the port a call came in on, the caller's certificate, or the admin token.
//!
//! | caller | data calls | pictures | administrative calls |
//! |---|---|---|---|
//! | plain port | yes | yes | with the admin token |
//! | TLS, certificate of the operator | yes | yes | yes |
//! | TLS, certificate of a member | no | its own status only | no |
//! | TLS, no certificate, a token that was reviewed | yes | yes | no |
//!
//! Of callers without a certificate only those whose token was reviewed come as far as this (`outside`).

use quorate_api::san;

use crate::tls::Caller;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Reads and writes keys.
    Data,
    /// Looks at the cluster.
    Picture,
    /// Looks at this member alone.
    Status,
    /// Changes the cluster itself.
    Admin,
    /// Changes autopilot's settings, which on Kubernetes the resource alone has.
    Settings,
    /// Changes who is a member, which on Kubernetes the operator alone does (K15).
    Membership,
}

impl Right {
    /// Whether it takes more than to be in the same Pod.
    fn is_administrative(self) -> bool {
        match self {
            Self::Admin | Self::Settings | Self::Membership => true,
            Self::Data | Self::Picture | Self::Status => false,
        }
    }
}

/// What came with a call to tell who makes it.
pub(super) struct Credentials<'a> {
    /// The certificate's identity; none on a plain port.
    pub(super) caller: Option<&'a Caller>,
    /// The token sent, if any.
    pub(super) token: Option<&'a str>,
}

impl Credentials<'_> {
    /// Whether they are good for `right` on a member of the cluster `cluster_id`. The error is a reason for people.
    pub(super) fn check(
        &self,
        right: Right,
        cluster_id: u128,
        admin_token: Option<&str>,
    ) -> Result<(), &'static str> {
        match self.caller {
            Some(Caller::Certified(identity)) if identity.cluster_id != cluster_id => {
                Err("the certificate is another cluster's: use this cluster's")
            }
            Some(Caller::Certified(identity)) if identity.raft_id == san::OPERATOR => Ok(()),
            Some(Caller::Certified(_)) if right == Right::Status => Ok(()),
            Some(Caller::Certified(_)) => Err(
                "a member's certificate opens the peer port only: use the operator's, or 127.0.0.1 inside the Pod",
            ),
            // One without a certificate comes as far as this with a reviewed token only, and then is as one in the Pod.
            None | Some(Caller::Unnamed) if !right.is_administrative() => Ok(()),
            Some(Caller::Unnamed) => {
                Err("a token opens data calls only: edit the RaftCluster and let the operator do it")
            }
            None if admin_token.is_some_and(|expected| self.has_token(expected)) => Ok(()),
            None if right == Right::Settings => Err(
                "on Kubernetes autopilot's settings are those of the RaftCluster: edit its spec.autopilot, and the operator sets them here; elsewhere send the admin token",
            ),
            None if right == Right::Membership => Err(
                "on Kubernetes the operator alone adds and removes members: change spec.replicas of the RaftCluster, or annotate it with quorate.dev/replace; elsewhere send the admin token",
            ),
            None => Err(
                "this port takes data calls only: edit the RaftCluster and let the operator do it, or send the admin token outside Kubernetes",
            ),
        }
    }

    /// Compares without telling by its time how much of a guess was right.
    fn has_token(&self, expected: &str) -> bool {
        let token = self.token.unwrap_or_default().as_bytes();
        let expected = expected.as_bytes();
        let difference = token.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        token.len() == expected.len() && difference == 0
    }
}

/// The token of an `Authorization` header's value.
pub(super) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::PeerIdentity;

    const CLUSTER: u128 = 7;
    const TOKEN: &str = "0123456789abcdef";

    fn check(caller: Option<(u128, &str)>, token: Option<&str>, right: Right) -> bool {
        let caller = caller.map(|(cluster, raft_id)| Caller::Certified(PeerIdentity::new(cluster, raft_id)));
        let credentials = Credentials { caller: caller.as_ref(), token };
        credentials.check(right, CLUSTER, Some(TOKEN)).is_ok()
    }

    /// K23: the table above, line by line.
    #[test]
    fn each_caller_may_do_what_the_table_says() {
        let rights = [Right::Data, Right::Picture, Right::Status, Right::Admin];
        let allowed = |caller, token| rights.map(|right| check(caller, token, right));
        assert_eq!(allowed(None, None), [true, true, true, false]);
        assert_eq!(allowed(None, Some("0123456789abcdeF")), [true, true, true, false]);
        assert_eq!(allowed(None, Some("0123456789abcde")), [true, true, true, false]);
        assert_eq!(allowed(None, Some(TOKEN)), [true, true, true, true]);
        assert_eq!(allowed(Some((CLUSTER, "operator")), None), [true, true, true, true]);
        assert_eq!(allowed(Some((CLUSTER, "db-0-3f2a91c4")), None), [false, false, true, false]);
        assert_eq!(allowed(Some((8, "operator")), None), [false, false, false, false]);
        assert_eq!(allowed(Some((CLUSTER, "db-0")), Some(TOKEN)), [false, false, true, false]);
        let reviewed = Credentials { caller: Some(&Caller::Unnamed), token: Some(TOKEN) };
        let outside = rights.map(|right| reviewed.check(right, CLUSTER, Some(TOKEN)).is_ok());
        assert_eq!(outside, [true, true, true, false]);
        for right in [Right::Settings, Right::Membership] {
            let may = |caller, token| check(caller, token, right);
            assert!(reviewed.check(right, CLUSTER, Some(TOKEN)).is_err());
            assert!(may(None, Some(TOKEN)) && may(Some((CLUSTER, "operator")), None));
            assert!(!may(None, None) && !may(Some((CLUSTER, "db-0")), Some(TOKEN)));
        }
    }

    /// K23: no token set means that none opens anything, the empty one included.
    #[test]
    fn without_a_token_set_no_token_opens_anything() {
        let credentials = Credentials { caller: None, token: Some("") };
        assert!(credentials.check(Right::Admin, CLUSTER, None).is_err());
    }
}
