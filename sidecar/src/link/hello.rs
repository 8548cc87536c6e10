//! The first words on a connection: who we are, and whether the other end may talk to us.
//!
//! Nobody refuses a caller because of the configuration he himself holds (K1): only the cluster, the
//! recovery epoch, the version and the certificate decide.

use quorate_raft::{Identity, RaftId};

use super::wire::Hello;
use crate::tls::PeerIdentity;

/// The version of the peer protocol this binary speaks.
pub(super) const VERSION: u32 = 1;

/// Why a connection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Another cluster.
    #[error("it belongs to cluster {0}: check the addresses")]
    Cluster(String),
    /// One of the two is from before a recovery (K18).
    #[error(
        "{caller} is at recovery epoch {theirs} and {called} at {ours}: the one of the lower epoch is from before a \
         quorum recovery and must rejoin empty, under a new Raft ID"
    )]
    RecoveryEpoch {
        /// Who is refused.
        caller: RaftId,
        /// The recovery epoch of its directory.
        theirs: u64,
        /// Who refuses.
        called: RaftId,
        /// The recovery epoch of its own directory.
        ours: u64,
    },
    /// No version in common (K24).
    #[error(
        "it speaks versions {min} to {max} of the peer protocol, we speak {VERSION}: update the older member"
    )]
    Version {
        /// Its oldest.
        min: u32,
        /// Its newest.
        max: u32,
    },
    /// Name and certificate differ (K23).
    #[error("it says it is {said}, but its certificate is for {certificate}")]
    Certificate {
        /// What it said.
        said: String,
        /// What its certificate says.
        certificate: String,
    },
}

/// Our own words to a peer.
pub(super) fn ours(identity: &Identity, expected: Option<quorate_raft::ServerId>) -> Hello {
    Hello {
        version_min: VERSION,
        version_max: VERSION,
        cluster_id: identity.cluster_id,
        recovery_epoch: identity.recovery_epoch,
        sender: identity.server.clone(),
        expected,
    }
}

/// Whether `theirs` may talk to us; `certificate` is what TLS has shown.
pub(super) fn check(ours: &Identity, theirs: &Hello, certificate: &PeerIdentity) -> Result<(), Refused> {
    check_words(ours, theirs)?;
    let said = PeerIdentity::new(theirs.cluster_id.0, theirs.sender.raft_id.as_str());
    if said != *certificate {
        return Err(Refused::Certificate { said: said.to_string(), certificate: certificate.to_string() });
    }
    Ok(())
}

/// What needs no certificate: each end asks it of the other's hello.
pub(super) fn check_words(ours: &Identity, theirs: &Hello) -> Result<(), Refused> {
    if theirs.cluster_id != ours.cluster_id {
        return Err(Refused::Cluster(theirs.cluster_id.to_string()));
    }
    if theirs.recovery_epoch != ours.recovery_epoch {
        return Err(Refused::RecoveryEpoch {
            caller: theirs.sender.raft_id.clone(),
            theirs: theirs.recovery_epoch.0,
            called: ours.server.raft_id.clone(),
            ours: ours.recovery_epoch.0,
        });
    }
    if theirs.version_min > VERSION || theirs.version_max < VERSION {
        return Err(Refused::Version { min: theirs.version_min, max: theirs.version_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_raft::{ClusterId, Incarnation, RecoveryEpoch, ServerId};

    use super::*;

    fn identity(cluster: u128, name: &str) -> Identity {
        Identity {
            cluster_id: ClusterId(cluster),
            recovery_epoch: RecoveryEpoch(0),
            server: ServerId::new(RaftId::new(name).unwrap(), Incarnation(7)),
        }
    }

    /// K23: the acceptor compares hello with certificate; K1, K18, K24, S27: nothing else refuses a caller.
    #[test]
    fn a_caller_is_refused_by_cluster_epoch_version_or_certificate_and_nothing_else() {
        let us = identity(1, "a");
        let good = ours(&identity(1, "b"), None);
        let certificate = PeerIdentity::new(1, "b");
        assert_eq!(check(&us, &good, &certificate), Ok(()));
        let other_cluster = Hello { cluster_id: ClusterId(2), ..good.clone() };
        assert!(matches!(check(&us, &other_cluster, &certificate), Err(Refused::Cluster(_))));
        let recovered = Hello { recovery_epoch: RecoveryEpoch(1), ..good.clone() };
        let refused = check(&us, &recovered, &certificate).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "b is at recovery epoch 1 and a at 0: the one of the lower epoch is from before a quorum recovery and must \
             rejoin empty, under a new Raft ID"
        );
        let recovered = Identity { recovery_epoch: RecoveryEpoch(1), ..us.clone() };
        assert!(matches!(check(&recovered, &good, &certificate), Err(Refused::RecoveryEpoch { .. })));
        let newer = Hello { version_min: VERSION + 1, version_max: VERSION + 2, ..good.clone() };
        assert!(matches!(check(&us, &newer, &certificate), Err(Refused::Version { .. })));
        let stolen = PeerIdentity::new(1, "c");
        assert!(matches!(check(&us, &good, &stolen), Err(Refused::Certificate { .. })));
    }
}
