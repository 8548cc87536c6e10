//! Who is in the group: servers, their suffrage, and what changes mean (S7, S8, K14, K15).
//!
//! A [`Configuration`] is checked once, when it is built: sorted, no Raft ID twice, a voter in each
//! half. Past that point it is trusted. Whether a change is *wise now* (K13) is judged in
//! `change.rs`, which knows who answers; here only what it means.
//!
//! ```text
//!             old half     new half
//! Voter       counts       counts
//! Outgoing    counts       is not in it      joint only: `replace.rs` says when
//! Incoming    no vote      counts            joint only
//! NonVoter    no vote      no vote
//! ```
//!
//! One list holds both halves; [`Configuration::majorities`] yields the sets that count, one or
//! two, and nothing that counts needs to know which.

use std::collections::BTreeSet;

use quorate_mutants::{Mutant, broken};
use thiserror::Error;

use crate::limits::SERVERS_MAX;
use crate::types::{Address, Mode, RaftId, RecoveryEpoch, ServerId, Term, Version, Versions};

/// Whether a server counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suffrage {
    /// Its votes and acknowledgements count.
    Voter,
    /// It receives the log and counts nowhere.
    NonVoter,
    /// While joint: it counts in the new half, and had no vote in the old one.
    Incoming,
    /// While joint: it counts in the old half, and is not in the new one.
    Outgoing,
}

/// What a non-voter is meant for (K15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// To get a vote once it is stable.
    Voter,
    /// To take the vote of this server. Once that one is out of the configuration it reads as `Voter`.
    ReplacementFor(ServerId),
    /// To serve reads and never vote.
    ReadReplica,
}

/// One member of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Who it is.
    pub id: ServerId,
    /// Where it is reached.
    pub address: Address,
    /// Whether it counts.
    pub suffrage: Suffrage,
    /// What it is meant for.
    pub intent: Intent,
}

/// A set of servers, in effect from the entry that brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Sorted by Raft ID, each once.
    servers: Vec<Server>,
    /// The recovery epoch it was made in (K18).
    recovery_epoch: RecoveryEpoch,
    /// The version of the cluster from its commit on (K24).
    version: Version,
    /// What the cluster was founded for (K22); it never changes.
    mode: Mode,
}

/// One change of membership. Each touches a single server, so that majorities before and after
/// always meet (S7), or goes through a joint configuration (K14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a server that counts nowhere yet.
    AddNonVoter {
        /// Who.
        id: ServerId,
        /// Where.
        address: Address,
        /// What for.
        intent: Intent,
        /// What it speaks (K24).
        versions: Versions,
    },
    /// Gives a non-voter its vote.
    Promote {
        /// Who.
        id: ServerId,
        /// The term in whose autopilot state it is stable (K13).
        stable_in_term: Term,
    },
    /// Takes a voter's vote.
    Demote {
        /// Who.
        id: ServerId,
    },
    /// Takes a server out.
    Remove {
        /// Who.
        id: ServerId,
        /// Why.
        reason: RemoveReason,
    },
    /// Swaps a voter for a caught-up non-voter in one change (K14): the number of voters stays.
    /// Answered once the configuration without the old one is committed.
    Replace {
        /// The voter that goes.
        old: ServerId,
        /// The non-voter that takes its vote.
        new: ServerId,
        /// The term in whose autopilot state the new one is stable (K13).
        stable_in_term: Term,
        /// Whether the old one was declared to go (`left`, K15): only then may it still answer.
        old_has_left: bool,
    },
    /// Raises the version of the cluster by one step (K24).
    RaiseVersion {
        /// To which.
        to: Version,
    },
    /// Records where a server is reached now (B5).
    SetAddress {
        /// Who.
        id: ServerId,
        /// Where.
        address: Address,
    },
}

/// Why a server is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveReason {
    /// Somebody asked for it: scale-in, replacement.
    Requested,
    /// It has been dead for long.
    Dead,
    /// Its volume is gone: refused while it still answers (K33).
    VolumeLost,
}

/// A set of servers, or a change, that means nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidChange {
    /// Nobody would be left to commit anything.
    #[error("no voter would be left: promote another server first")]
    NoVoterLeft,
    /// A Raft ID is there already, perhaps with another directory behind it.
    #[error(
        "{0} is already in the configuration: list the members; an emptied volume rejoins under a new Raft ID"
    )]
    AlreadyMember(ServerId),
    /// The server is not there, or only with another incarnation.
    #[error("{0} is not in the configuration: list the members and name one of them")]
    NotMember(ServerId),
    /// It votes already.
    #[error("{0} is a voter already: nothing to do")]
    AlreadyVoter(ServerId),
    /// It has no vote to lose.
    #[error("{0} is a non-voter already: nothing to do")]
    AlreadyNonVoter(ServerId),
    /// Read replicas are non-voters by their own wish.
    #[error("{0} is a read replica and never votes: remove it and add it with the intent to vote")]
    ReadReplica(ServerId),
    /// It has no vote to hand over.
    #[error("{0} has no vote to hand over: promote the new server instead")]
    NothingToReplace(ServerId),
    /// It waits for the one it replaces.
    #[error("{id} replaces {old}, which still votes: replace, remove or demote {old} first")]
    WaitsForReplaced {
        /// The replacement.
        id: ServerId,
        /// The one that still votes.
        old: ServerId,
    },
    /// One replacement for each old server (K15).
    #[error("{old} already has the replacement {other}: remove {other} first")]
    AlreadyReplaced {
        /// The server to be replaced.
        old: ServerId,
        /// Its replacement so far.
        other: ServerId,
    },
    /// The cluster's version goes up one step at a time.
    #[error("the cluster's version is {from} and goes to {}, not to {to}", from.next())]
    VersionStep {
        /// What it is.
        from: Version,
        /// What was asked for.
        to: Version,
    },
    /// Too many servers.
    #[error("the configuration would hold more than {SERVERS_MAX} servers: remove one first")]
    TooMany,
}

impl Configuration {
    /// Checks and sorts a set of servers of a cluster that was never recovered, in the first version.
    pub fn new(mut servers: Vec<Server>) -> Result<Self, InvalidChange> {
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        if servers.len() > SERVERS_MAX {
            return Err(InvalidChange::TooMany);
        }
        for pair in servers.windows(2) {
            if pair[0].id.raft_id == pair[1].id.raft_id {
                return Err(InvalidChange::AlreadyMember(pair[1].id.clone()));
            }
        }
        let addresses = || servers.iter().map(|server| server.address.as_str()).collect::<BTreeSet<_>>();
        if broken(Mutant::K16) && addresses().len() < servers.len() {
            return Err(InvalidChange::TooMany);
        }
        let configuration = Self {
            servers,
            recovery_epoch: RecoveryEpoch::default(),
            version: Version::FIRST,
            mode: Mode::default(),
        };
        if configuration.majorities().iter().any(BTreeSet::is_empty) {
            return Err(InvalidChange::NoVoterLeft);
        }
        Ok(configuration)
    }

    /// The same servers, in a recovery epoch (K18).
    #[must_use]
    pub fn in_epoch(self, recovery_epoch: RecoveryEpoch) -> Self {
        Self { recovery_epoch, ..self }
    }

    /// The recovery epoch it was made in: changes keep it, a recovery raises it (K18).
    pub const fn recovery_epoch(&self) -> RecoveryEpoch {
        self.recovery_epoch
    }

    /// The same servers, in a version of the cluster (K24).
    #[must_use]
    pub fn at_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The version of the cluster from its commit on.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The same servers, of a cluster founded for this (K22).
    #[must_use]
    pub fn for_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// What the cluster was founded for: changes and recoveries keep it (K22).
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// One half of this checked joint configuration: it has a voter and is sorted.
    pub(crate) const fn half(&self, servers: Vec<Server>) -> Self {
        Self { servers, recovery_epoch: self.recovery_epoch, version: self.version, mode: self.mode }
    }

    /// The servers of both halves, sorted by Raft ID.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server under exactly this identity (B15).
    pub fn get(&self, id: &ServerId) -> Option<&Server> {
        let is_it =
            |server: &&Server| server.id == *id || broken(Mutant::B15) && server.id.raft_id == id.raft_id;
        self.servers.iter().find(is_it)
    }

    /// The server under this Raft ID, whatever directory is behind it.
    pub fn by_raft_id(&self, raft_id: &RaftId) -> Option<&Server> {
        self.servers.iter().find(|server| server.id.raft_id == *raft_id)
    }

    /// Whether exactly this server is in it.
    pub fn contains(&self, id: &ServerId) -> bool {
        self.get(id).is_some()
    }

    /// Whether exactly this server counts, be it in one half only.
    pub fn is_voter(&self, id: &ServerId) -> bool {
        self.get(id).is_some_and(|server| server.suffrage.has_vote())
    }

    /// Those that count, be it in one half only.
    pub fn voters(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.suffrage.has_vote())
    }

    /// Whether it stands between two sets of voters (K14).
    pub fn is_joint(&self) -> bool {
        self.servers.iter().any(|server| matches!(server.suffrage, Suffrage::Incoming | Suffrage::Outgoing))
    }

    /// The sets of voters of which each must give a majority: the old half, and the new one while joint.
    pub fn majorities(&self) -> Vec<BTreeSet<&ServerId>> {
        let half = |other: Suffrage| {
            self.voters().filter(|server| server.suffrage != other).map(|server| &server.id).collect()
        };
        let old = half(Suffrage::Incoming);
        if self.is_joint() && !broken(Mutant::K14) { vec![old, half(Suffrage::Outgoing)] } else { vec![old] }
    }

    /// Roughly its size as stored.
    pub fn bytes(&self) -> u64 {
        let server = |server: &Server| server.id.raft_id.as_str().len() + server.address.as_str().len() + 64;
        self.servers.iter().map(|each| server(each) as u64).sum()
    }

    /// The configuration after `change`: a joint one for a replacement. Nothing but the change's
    /// meaning is checked; `self` is not joint.
    pub fn after(&self, change: &Change) -> Result<Self, InvalidChange> {
        let (mut servers, mut version) = (self.servers.clone(), self.version);
        match change {
            Change::AddNonVoter { id, address, intent, .. } => {
                self.check_addition(id, intent)?;
                let (id, address, intent) = (id.clone(), address.clone(), intent.clone());
                servers.push(Server { id, address, suffrage: Suffrage::NonVoter, intent });
            }
            Change::Promote { id, .. } => {
                self.check_promotion(id, None)?;
                find(&mut servers, id)?.suffrage = Suffrage::Voter;
            }
            Change::Replace { old, new, .. } => {
                self.check_replacement(old, new)?;
                find(&mut servers, old)?.suffrage = Suffrage::Outgoing;
                find(&mut servers, new)?.suffrage = Suffrage::Incoming;
            }
            Change::Demote { id } => {
                let server = find(&mut servers, id)?;
                if server.suffrage == Suffrage::NonVoter {
                    return Err(InvalidChange::AlreadyNonVoter(id.clone()));
                }
                server.suffrage = Suffrage::NonVoter;
            }
            Change::Remove { id, .. } => {
                find(&mut servers, id)?;
                servers.retain(|server| server.id != *id);
            }
            Change::RaiseVersion { to } if *to == version.next() => version = *to,
            Change::RaiseVersion { to } => return Err(InvalidChange::VersionStep { from: version, to: *to }),
            Change::SetAddress { .. } if broken(Mutant::B5) => {}
            Change::SetAddress { id, address } => find(&mut servers, id)?.address = address.clone(),
        }
        let recovery_epoch =
            if broken(Mutant::K18Epoch) { RecoveryEpoch::default() } else { self.recovery_epoch };
        Ok(Self::new(servers)?.in_epoch(recovery_epoch).at_version(version).for_mode(self.mode))
    }

    fn check_addition(&self, id: &ServerId, intent: &Intent) -> Result<(), InvalidChange> {
        if let Some(present) = self.by_raft_id(&id.raft_id) {
            return Err(InvalidChange::AlreadyMember(present.id.clone()));
        }
        let Intent::ReplacementFor(old) = intent else { return Ok(()) };
        self.check_sole_replacement(old, id)
    }

    /// One replacement for each old server (K15).
    fn check_sole_replacement(&self, old: &ServerId, new: &ServerId) -> Result<(), InvalidChange> {
        let replaces = |server: &&Server| matches!(&server.intent, Intent::ReplacementFor(of) if of == old);
        match self.servers.iter().filter(replaces).find(|server| server.id != *new) {
            Some(other) => Err(InvalidChange::AlreadyReplaced { old: old.clone(), other: other.id.clone() }),
            None => Ok(()),
        }
    }

    fn check_replacement(&self, old: &ServerId, new: &ServerId) -> Result<(), InvalidChange> {
        let server = self.get(old).ok_or_else(|| InvalidChange::NotMember(old.clone()))?;
        if server.suffrage != Suffrage::Voter {
            return Err(InvalidChange::NothingToReplace(old.clone()));
        }
        self.check_promotion(new, Some(old))?;
        self.check_sole_replacement(old, new)
    }

    /// `replaced` loses its vote in the same change.
    fn check_promotion(&self, id: &ServerId, replaced: Option<&ServerId>) -> Result<(), InvalidChange> {
        let server = self.get(id).ok_or_else(|| InvalidChange::NotMember(id.clone()))?;
        if server.suffrage == Suffrage::Voter {
            return Err(InvalidChange::AlreadyVoter(id.clone()));
        }
        match &server.intent {
            Intent::ReadReplica => Err(InvalidChange::ReadReplica(id.clone())),
            Intent::ReplacementFor(old) if self.is_voter(old) && replaced != Some(old) => {
                Err(InvalidChange::WaitsForReplaced { id: id.clone(), old: old.clone() })
            }
            Intent::ReplacementFor(_) | Intent::Voter => Ok(()),
        }
    }
}

impl Suffrage {
    /// Whether it counts, be it in one half only.
    pub fn has_vote(self) -> bool {
        match self {
            Self::Voter | Self::Incoming | Self::Outgoing => true,
            Self::NonVoter => broken(Mutant::S3Voters),
        }
    }
}

fn find<'a>(servers: &'a mut [Server], id: &ServerId) -> Result<&'a mut Server, InvalidChange> {
    servers.iter_mut().find(|server| server.id == *id).ok_or_else(|| InvalidChange::NotMember(id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;
    use proptest::prelude::*;

    fn id(number: u8) -> ServerId {
        ServerId::new(RaftId::new(&format!("s{number}")).unwrap(), Incarnation(1))
    }

    fn address() -> Address {
        Address::new("host:1").unwrap()
    }

    fn server(number: u8, suffrage: Suffrage) -> Server {
        Server { id: id(number), address: address(), suffrage, intent: Intent::Voter }
    }

    fn change() -> impl Strategy<Value = Change> {
        let number = 0_u8..6;
        (number.clone(), number, 0_u8..6).prop_map(|(number, other, kind)| {
            let (id, old) = (id(number), id(other));
            match kind {
                0 => Change::AddNonVoter {
                    id,
                    address: address(),
                    intent: Intent::Voter,
                    versions: Versions::OURS,
                },
                1 => Change::Promote { id, stable_in_term: Term(1) },
                2 => Change::Demote { id },
                3 => Change::Remove { id, reason: RemoveReason::Requested },
                4 => Change::Replace { old, new: id, stable_in_term: Term(1), old_has_left: true },
                _ => Change::SetAddress { id, address: address() },
            }
        })
    }

    /// Every set of `id(0)..id(6)` that can decide under `configuration`, counted by hand.
    fn deciding(configuration: &Configuration) -> Vec<u32> {
        let set = |halves: [Suffrage; 2]| {
            let counts = |server: &&Server| halves.contains(&server.suffrage);
            let bit = |server: &Server| 1_u32 << (0..6).find(|number| id(*number) == server.id).unwrap();
            configuration.servers().iter().filter(counts).map(bit).sum::<u32>()
        };
        let (old, new) =
            (set([Suffrage::Voter, Suffrage::Outgoing]), set([Suffrage::Voter, Suffrage::Incoming]));
        let decides = |voters: u32, said: u32| 2 * (voters & said).count_ones() > voters.count_ones();
        (0..1_u32 << 6).filter(|said| decides(old, *said) && decides(new, *said)).collect()
    }

    proptest! {
        /// S7, K14: whoever decides before a change and whoever decides after it share a server, into
        /// a joint configuration and out of it too: no term gets two leaders across it.
        #[test]
        fn majorities_before_and_after_a_change_always_meet(changes in proptest::collection::vec(change(), 1..30)) {
            let mut configuration = Configuration::new(vec![server(0, Suffrage::Voter)]).unwrap();
            for change in changes {
                let Ok(next) = configuration.after(&change) else { continue };
                let steps = if next.is_joint() { vec![next.clone(), next.left()] } else { vec![next] };
                for next in steps {
                    let after = deciding(&next);
                    for one in deciding(&configuration) {
                        prop_assert!(after.iter().all(|other| one & other != 0));
                    }
                    prop_assert!(!after.is_empty());
                    configuration = next;
                }
                prop_assert!(!configuration.is_joint());
            }
        }
    }

    /// B15: a lookup names exactly one server or none.
    #[test]
    fn a_lookup_compares_what_it_is_asked_for() {
        let servers = vec![server(2, Suffrage::NonVoter), server(1, Suffrage::Voter)];
        let configuration = Configuration::new(servers).unwrap();
        let other = ServerId::new(id(1).raft_id, Incarnation(2));
        assert_eq!(configuration.get(&id(2)).map(|server| &server.id), Some(&id(2)));
        assert!(configuration.get(&other).is_none() && !configuration.is_voter(&other));
        assert_eq!(configuration.by_raft_id(&other.raft_id).map(|server| &server.id), Some(&id(1)));
        assert!(configuration.get(&id(3)).is_none());
    }

    /// S7: no voter, a Raft ID twice, or too many servers are no configuration.
    #[test]
    fn a_configuration_is_checked_when_it_is_made() {
        assert_eq!(Configuration::new(vec![]), Err(InvalidChange::NoVoterLeft));
        assert_eq!(Configuration::new(vec![server(1, Suffrage::NonVoter)]), Err(InvalidChange::NoVoterLeft));
        let mut again = server(1, Suffrage::Voter);
        again.id.incarnation = Incarnation(2);
        let twice = Configuration::new(vec![server(1, Suffrage::Voter), again.clone()]);
        assert_eq!(twice, Err(InvalidChange::AlreadyMember(again.id)));
        let many = (0..=u8::try_from(SERVERS_MAX).unwrap()).map(|number| server(number, Suffrage::Voter));
        assert_eq!(Configuration::new(many.collect()), Err(InvalidChange::TooMany));
    }
}
