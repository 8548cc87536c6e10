//! The words of the core as types: terms, indexes, identities, time.
//!
//! Each number that could be mistaken for another one has its own type; identity is (Raft ID,
//! incarnation) and never an address (K1, K16). No type here derives serde: the edges that store
//! or send them translate.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use derive_more::Display;
use thiserror::Error;

use crate::limits::{ADDRESS_BYTES_MAX, RAFT_ID_BYTES_MAX, VERSION_MAX, VERSION_MIN};

/// An election period; it never falls on one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub struct Term(pub u64);

/// A position in the log. The first entry is at 1; 0 means "before the log".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub struct Index(pub u64);

/// Names one entry for ever: no two entries share both. Ordered by term, then index, which is
/// also the order in which one log is more up to date than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
#[display("{term}/{index}")]
pub struct LogId {
    /// The term of the leader that wrote the entry.
    pub term: Term,
    /// Its position.
    pub index: Index,
}

/// Who a server is, for people and certificates: `<pod>-<8 hex digits of its claim's UID>` on
/// Kubernetes. 1 to 128 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub struct RaftId(Arc<str>);

/// The random number a data directory was created with (K1): the same Raft ID on an emptied or
/// swapped disk is another server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
#[display("{_0:032x}")]
pub struct Incarnation(pub u128);

/// The random number a cluster was created with (K2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
#[display("{_0:032x}")]
pub struct ClusterId(pub u128);

/// How often the cluster was recovered from a lost quorum (K18). The core carries it in
/// [`Identity`] only; hello and store compare it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecoveryEpoch(pub u64);

/// One number for all formats, on disk and between members (K24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub struct Version(pub u32);

/// What a cluster is founded for (K22). The core carries it and never looks at it: what an entry means is the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub enum Mode {
    /// The built-in machine: keys, sessions, transactions.
    #[default]
    KeyValue,
    /// An application's own state machine: opaque entries, kept until it has them.
    Log,
}

/// What one build reads and writes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display)]
#[display("{min} to {max}")]
pub struct Versions {
    /// The oldest.
    pub min: Version,
    /// The newest.
    pub max: Version,
}

/// Identity of a server: whoever counts a vote or an acknowledgement compares both (K1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
// Eight digits tell two directories of one Raft ID apart; the whole number is in status.
#[display("{raft_id}@{:08x}", incarnation.0 >> 96)]
pub struct ServerId {
    /// The name.
    pub raft_id: RaftId,
    /// The directory behind it.
    pub incarnation: Incarnation,
}

/// Where a server is reached, `host:port`. Addresses may repeat and move (K16).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display)]
pub struct Address(Arc<str>);

/// Time since the process started. The core has no clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub Duration);

/// Names a caller that waits for an [`crate::Answer`]; the driver chooses it, unique while open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Numbers the writes handed to storage, from 1 up in each run of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Numbers a leader's replication to one peer, so that a late reply from before the peer was
/// removed and added again changes nothing (O5). Unique within a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Numbers a leader's heartbeat rounds, which confirm reads (K11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// Who this process is: fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it was started for; stored with the first write into an empty directory.
    pub cluster_id: ClusterId,
    /// The recovery epoch of its directory.
    pub recovery_epoch: RecoveryEpoch,
    /// Its own Raft ID and incarnation.
    pub server: ServerId,
    /// What this build speaks (K24).
    pub versions: Versions,
}

/// A text that is no Raft ID or address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Not a Raft ID.
    #[error(
        "`{0}` is no Raft ID: it needs 1 to {RAFT_ID_BYTES_MAX} of a-z, A-Z, 0-9, `.`, `_`, `-`, a letter or digit first"
    )]
    RaftId(String),
    /// Not an address.
    #[error("`{0}` is no address: it needs host:port with a port from 1 to 65535")]
    Address(String),
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Index {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; 0 stays 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Version {
    /// What the first release writes.
    pub const FIRST: Self = Self(1);

    /// The version after this one: the cluster goes one step at a time.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Versions {
    /// Those of this build.
    pub const OURS: Self = Self { min: VERSION_MIN, max: VERSION_MAX };

    /// Whether `version` is spoken.
    pub fn contains(self, version: Version) -> bool {
        self.min <= version && version <= self.max
    }

    /// Whether the two have a version in common.
    pub fn meets(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl LogId {
    /// Names the entry at `index` written in `term`.
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl RaftId {
    /// Checks and takes a name.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins_well && text.len() <= RAFT_ID_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::RaftId(text.chars().take(RAFT_ID_BYTES_MAX).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServerId {
    /// Joins a name and the directory behind it.
    pub const fn new(raft_id: RaftId, incarnation: Incarnation) -> Self {
        Self { raft_id, incarnation }
    }
}

impl Address {
    /// Checks and takes a `host:port`; an IPv6 host is written in brackets.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::Address(text.chars().take(ADDRESS_BYTES_MAX).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port_is_valid = port.parse::<u16>().is_ok_and(|port| port != 0);
        let host_is_valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            }
        };
        if text.len() <= ADDRESS_BYTES_MAX && port_is_valid && host_is_valid {
            Ok(Self(text.into()))
        } else {
            Err(invalid())
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Now {
    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_ids_and_addresses_are_checked_at_the_edge() {
        for good in ["db-0-3f2a91c4", "a", "Node.1_x"] {
            assert!(RaftId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a/b", &"x".repeat(129)] {
            assert!(RaftId::new(bad).is_err(), "{bad}");
        }
        for good in ["db-0.db-members.ns.svc.cluster.local.:7400", "10.0.0.1:1", "[::1]:7400"] {
            assert!(Address::new(good).is_ok(), "{good}");
        }
        for bad in ["", "host", "host:0", "host:65536", ":7400", "::1:7400", "[::x]:1", "a b:1"] {
            assert!(Address::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_is_more_up_to_date_by_term_then_index() {
        assert!(LogId::new(Term(3), Index(1)) > LogId::new(Term(2), Index(9)));
        assert!(LogId::new(Term(3), Index(2)) > LogId::new(Term(3), Index(1)));
    }
}
