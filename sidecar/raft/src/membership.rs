//! Who is in the group: servers, their suffrage, and the single-server changes (S7, S8, K15).
//!
//! A [`Configuration`] is checked once, when it is built: sorted, no Raft ID twice, at least one
//! voter. Past that point it is trusted. Whether a change is *wise now* (K13) is judged in
//! `change.rs`, which knows who answers; here only what it means.
//!
//! Counting goes through [`Configuration::majorities`], which yields one set of voters: a joint
//! configuration (K14) is one that yields two, and nothing that counts will notice.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::limits::SERVERS_MAX;
use crate::types::{Address, RaftId, ServerId, Term};

/// Whether a server counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suffrage {
    /// Its votes and acknowledgements count.
    Voter,
    /// It receives the log and counts nowhere.
    NonVoter,
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
}

/// One change of membership. Each touches a single server, so that majorities before and after
/// always meet (S7).
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
    /// It waits for the one it replaces.
    #[error("{id} replaces {old}, which still votes: remove or demote {old} first")]
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
    /// Too many servers.
    #[error("the configuration would hold more than {SERVERS_MAX} servers: remove one first")]
    TooMany,
}

impl Configuration {
    /// Checks and sorts a set of servers.
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
        if !servers.iter().any(|server| server.suffrage == Suffrage::Voter) {
            return Err(InvalidChange::NoVoterLeft);
        }
        Ok(Self { servers })
    }

    /// The servers, sorted by Raft ID.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server under exactly this identity (B15).
    pub fn get(&self, id: &ServerId) -> Option<&Server> {
        self.servers.iter().find(|server| server.id == *id)
    }

    /// The server under this Raft ID, whatever directory is behind it.
    pub fn by_raft_id(&self, raft_id: &RaftId) -> Option<&Server> {
        self.servers.iter().find(|server| server.id.raft_id == *raft_id)
    }

    /// Whether exactly this server is in it.
    pub fn contains(&self, id: &ServerId) -> bool {
        self.get(id).is_some()
    }

    /// Whether exactly this server counts.
    pub fn is_voter(&self, id: &ServerId) -> bool {
        self.get(id).is_some_and(|server| server.suffrage == Suffrage::Voter)
    }

    /// Those that count.
    pub fn voters(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.suffrage == Suffrage::Voter)
    }

    /// The sets of voters of which each must give a majority.
    pub fn majorities(&self) -> Vec<BTreeSet<&ServerId>> {
        vec![self.voters().map(|server| &server.id).collect()]
    }

    /// Roughly its size as stored.
    pub fn bytes(&self) -> u64 {
        let server = |server: &Server| server.id.raft_id.as_str().len() + server.address.as_str().len() + 64;
        self.servers.iter().map(|each| server(each) as u64).sum()
    }

    /// The configuration after `change`. Nothing but the change's meaning is checked.
    pub fn after(&self, change: &Change) -> Result<Self, InvalidChange> {
        let mut servers = self.servers.clone();
        match change {
            Change::AddNonVoter { id, address, intent } => {
                self.check_addition(id, intent)?;
                let (id, address, intent) = (id.clone(), address.clone(), intent.clone());
                servers.push(Server { id, address, suffrage: Suffrage::NonVoter, intent });
            }
            Change::Promote { id, .. } => {
                self.check_promotion(id)?;
                find(&mut servers, id)?.suffrage = Suffrage::Voter;
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
            Change::SetAddress { id, address } => find(&mut servers, id)?.address = address.clone(),
        }
        Self::new(servers)
    }

    fn check_addition(&self, id: &ServerId, intent: &Intent) -> Result<(), InvalidChange> {
        if let Some(present) = self.by_raft_id(&id.raft_id) {
            return Err(InvalidChange::AlreadyMember(present.id.clone()));
        }
        let Intent::ReplacementFor(old) = intent else { return Ok(()) };
        match self.servers.iter().find(|server| server.intent == *intent) {
            Some(other) => Err(InvalidChange::AlreadyReplaced { old: old.clone(), other: other.id.clone() }),
            None => Ok(()),
        }
    }

    fn check_promotion(&self, id: &ServerId) -> Result<(), InvalidChange> {
        let server = self.get(id).ok_or_else(|| InvalidChange::NotMember(id.clone()))?;
        if server.suffrage == Suffrage::Voter {
            return Err(InvalidChange::AlreadyVoter(id.clone()));
        }
        match &server.intent {
            Intent::ReadReplica => Err(InvalidChange::ReadReplica(id.clone())),
            Intent::ReplacementFor(old) if self.is_voter(old) => {
                Err(InvalidChange::WaitsForReplaced { id: id.clone(), old: old.clone() })
            }
            Intent::ReplacementFor(_) | Intent::Voter => Ok(()),
        }
    }
}

impl Change {
    /// The server it touches.
    pub const fn subject(&self) -> &ServerId {
        match self {
            Self::AddNonVoter { id, .. }
            | Self::Promote { id, .. }
            | Self::Demote { id }
            | Self::Remove { id, .. }
            | Self::SetAddress { id, .. } => id,
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
        (number, 0_u8..5).prop_map(|(number, kind)| {
            let id = id(number);
            match kind {
                0 => Change::AddNonVoter { id, address: address(), intent: Intent::Voter },
                1 => Change::Promote { id, stable_in_term: Term(1) },
                2 => Change::Demote { id },
                3 => Change::Remove { id, reason: RemoveReason::Requested },
                _ => Change::SetAddress { id, address: address() },
            }
        })
    }

    /// Every subset of `all` that is a majority of it.
    fn majorities_of<'a>(all: &[&'a ServerId]) -> Vec<BTreeSet<&'a ServerId>> {
        let subset =
            |bits: u32| (0..all.len()).filter(|at| bits & (1 << at) != 0).map(|at| all[at]).collect();
        (0..1_u32 << all.len()).map(subset).filter(|set: &BTreeSet<_>| 2 * set.len() > all.len()).collect()
    }

    proptest! {
        /// S7: any majority before a change and any majority after it share a server: two leaders
        /// of one term can never both be elected across it.
        #[test]
        fn majorities_before_and_after_a_change_always_meet(changes in proptest::collection::vec(change(), 1..20)) {
            let mut configuration = Configuration::new(vec![server(0, Suffrage::Voter)]).unwrap();
            for change in changes {
                let Ok(next) = configuration.after(&change) else { continue };
                let before: Vec<_> = configuration.voters().map(|server| &server.id).collect();
                let after: Vec<_> = next.voters().map(|server| &server.id).collect();
                for one in majorities_of(&before) {
                    prop_assert!(majorities_of(&after).iter().all(|other| !one.is_disjoint(other)));
                }
                prop_assert!(!after.is_empty());
                configuration = next;
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
