//! The first words on a connection: who we are, and whether the other end may talk to us.
//!
//! Nobody refuses a caller because of the configuration he himself holds (K1): only the cluster, the
//! recovery epoch, the version and the certificate decide.

use quorate_raft::{Identity, RaftId, Version, Versions};

use super::wire::Hello;
use crate::tls::PeerIdentity;

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
    /// No version in common (K24, S27).
    #[error(
        "{caller} speaks versions {theirs} and {called} speaks {ours}, none of them the same: update the older one, by one \
         minor release at a time; nothing is lost"
    )]
    Version {
        /// Who is refused.
        caller: RaftId,
        /// What it speaks.
        theirs: Versions,
        /// Who refuses.
        called: RaftId,
        /// What that one speaks.
        ours: Versions,
    },
    /// The cluster has moved on to a version that it does not speak (K24, S27).
    #[error(
        "{caller} speaks versions {theirs}, but the cluster is at version {cluster} ({called} speaks {ours}): start it with a \
         release that speaks {cluster}; nothing is lost"
    )]
    TooOld {
        /// Who is refused.
        caller: RaftId,
        /// What it speaks.
        theirs: Versions,
        /// What the cluster is at.
        cluster: Version,
        /// Who refuses.
        called: RaftId,
        /// What that one speaks.
        ours: Versions,
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
        versions: identity.versions,
        cluster_id: identity.cluster_id,
        recovery_epoch: identity.recovery_epoch,
        sender: identity.server.clone(),
        expected,
    }
}

/// Whether `theirs` may talk to us; `certificate` is what TLS has shown, `cluster` the version of the cluster as
/// far as we know it.
pub(super) fn check(
    ours: &Identity,
    cluster: Option<Version>,
    theirs: &Hello,
    certificate: &PeerIdentity,
) -> Result<(), Refused> {
    check_words(ours, cluster, theirs)?;
    let said = PeerIdentity::new(theirs.cluster_id.0, theirs.sender.raft_id.as_str());
    if !certificate.stands_for(&said) {
        return Err(Refused::Certificate { said: said.to_string(), certificate: certificate.to_string() });
    }
    Ok(())
}

/// What needs no certificate: each end asks it of the other's hello.
pub(super) fn check_words(ours: &Identity, cluster: Option<Version>, theirs: &Hello) -> Result<(), Refused> {
    let (caller, called) = (theirs.sender.raft_id.clone(), ours.server.raft_id.clone());
    if theirs.cluster_id != ours.cluster_id {
        return Err(Refused::Cluster(theirs.cluster_id.to_string()));
    }
    if theirs.recovery_epoch != ours.recovery_epoch {
        return Err(Refused::RecoveryEpoch {
            caller,
            theirs: theirs.recovery_epoch.0,
            called,
            ours: ours.recovery_epoch.0,
        });
    }
    let (theirs, ours) = (theirs.versions, ours.versions);
    if !theirs.meets(ours) {
        return Err(Refused::Version { caller, theirs, called, ours });
    }
    // Who is too new for what we know may know better: a lagging member must not refuse it.
    match cluster.filter(|cluster| theirs.max < *cluster) {
        Some(cluster) => Err(Refused::TooOld { caller, theirs, cluster, called, ours }),
        None => Ok(()),
    }
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
            versions: Versions::OURS,
        }
    }

    fn versions(min: u32, max: u32) -> Versions {
        Versions { min: Version(min), max: Version(max) }
    }

    /// K24, S27: who has no version in common with us, or none that the cluster still writes, is told both ranges and
    /// the way out. Who is newer than what we know is not refused for it: we may be the one that lags.
    #[test]
    fn a_member_outside_the_range_is_told_both_ranges_and_the_way_out() {
        let us = Identity { versions: versions(2, 3), ..identity(1, "a") };
        let refuse = |cluster: Option<u32>, min, max| {
            let theirs = Hello { versions: versions(min, max), ..ours(&identity(1, "b"), None) };
            check_words(&us, cluster.map(Version), &theirs).map_err(|refused| refused.to_string())
        };
        for (min, max) in [(1, 2), (2, 3), (3, 4)] {
            assert_eq!(refuse(None, min, max), Ok(()));
            assert_eq!(refuse(Some(2), min, max), Ok(()));
        }
        assert_eq!(
            refuse(Some(3), 1, 2).unwrap_err(),
            "b speaks versions 1 to 2, but the cluster is at version 3 (a speaks 2 to 3): start it with a release that \
             speaks 3; nothing is lost"
        );
        for (min, max) in [(1, 1), (4, 5)] {
            assert_eq!(
                refuse(Some(2), min, max).unwrap_err(),
                format!(
                    "b speaks versions {min} to {max} and a speaks 2 to 3, none of them the same: update the older one, \
                     by one minor release at a time; nothing is lost"
                )
            );
        }
    }

    /// K23: the acceptor compares hello with certificate; K1, K18, K24, S27: nothing else refuses a caller.
    #[test]
    fn a_caller_is_refused_by_cluster_epoch_version_or_certificate_and_nothing_else() {
        let us = identity(1, "a");
        let good = ours(&identity(1, "b"), None);
        let certificate = PeerIdentity::new(1, "b");
        assert_eq!(check(&us, None, &good, &certificate), Ok(()));
        let other_cluster = Hello { cluster_id: ClusterId(2), ..good.clone() };
        assert!(matches!(check(&us, None, &other_cluster, &certificate), Err(Refused::Cluster(_))));
        let recovered = Hello { recovery_epoch: RecoveryEpoch(1), ..good.clone() };
        let refused = check(&us, None, &recovered, &certificate).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "b is at recovery epoch 1 and a at 0: the one of the lower epoch is from before a quorum recovery and must \
             rejoin empty, under a new Raft ID"
        );
        let recovered = Identity { recovery_epoch: RecoveryEpoch(1), ..us.clone() };
        assert!(matches!(check(&recovered, None, &good, &certificate), Err(Refused::RecoveryEpoch { .. })));
        let newer = Hello { versions: versions(2, 3), ..good.clone() };
        assert!(matches!(check(&us, None, &newer, &certificate), Err(Refused::Version { .. })));
        let stolen = PeerIdentity::new(1, "c");
        assert!(matches!(check(&us, None, &good, &stolen), Err(Refused::Certificate { .. })));
    }
}
