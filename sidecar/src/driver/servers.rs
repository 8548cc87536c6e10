//! The servers of the cluster as people name them to any member: listed, taken out, made leader.
//!
//! Invariant: whom a name means is looked up in the leader's own configuration, and a change carries the index of that one
//! (K13); what a follower believes decides nothing.

use quorate_raft::{
    Change, Configuration, Index, RaftId, Refusal, RemoveReason, Role, Server, ServerId, Status,
};
use tokio::time::Instant;

use super::error::{CallError, ErrorKind};
use super::handle::{Consistency, Handle};

/// How somebody names a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// By its Raft ID.
    RaftId(String),
    /// By the address of its peer link. Addresses may repeat (K16): one that does names nobody.
    Address(String),
}

/// The servers of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerList {
    /// The configuration's index.
    pub index: Index,
    /// By Raft ID.
    pub servers: Vec<ListedServer>,
}

/// One of [`ServerList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedServer {
    /// Its Raft ID.
    pub raft_id: String,
    /// host:port of its peer link.
    pub address: String,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it votes.
    pub has_vote: bool,
    /// Its last entry, as far as the member that lists it knows; 0 if it does not.
    pub last_index: Index,
}

impl ServerList {
    fn of(status: &Status) -> Option<Self> {
        let latest = status.latest.as_ref()?;
        let leader = status.leader.as_ref().map(|leader| &leader.id);
        let matched =
            |id: &ServerId| status.peers.iter().find(|peer| peer.id == *id).map(|peer| peer.matched);
        let last = |id: &ServerId| if *id == status.id { Some(status.last.index) } else { matched(id) };
        let servers = latest.configuration.servers().iter().map(|server| ListedServer {
            raft_id: server.id.raft_id.to_string(),
            address: server.address.to_string(),
            is_leader: leader == Some(&server.id),
            has_vote: server.suffrage.has_vote(),
            last_index: last(&server.id).unwrap_or_default(),
        });
        Some(Self { index: latest.index, servers: servers.collect() })
    }
}

impl ServerName {
    /// The one server that is meant.
    fn find(&self, configuration: &Configuration) -> Result<ServerId, CallError> {
        let is_it = |server: &&Server| match self {
            Self::RaftId(name) => server.id.raft_id.as_str() == name,
            Self::Address(name) => server.address.as_str() == name,
        };
        let found: Vec<&Server> = configuration.servers().iter().filter(is_it).collect();
        match (found.as_slice(), self) {
            ([server], _) => Ok(server.id.clone()),
            ([], Self::RaftId(name)) => Err(not_found("id", name)),
            ([], Self::Address(name)) => Err(not_found("address", name)),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|server| server.id.raft_id.as_str()).collect();
                Err(CallError::not_applied(
                    ErrorKind::Invalid,
                    format!(
                        "{} servers have this address ({}): name the one that is meant by its id; nothing was changed",
                        names.len(),
                        names.join(", ")
                    ),
                ))
            }
        }
    }
}

/// In Consul's words.
fn not_found(what: &str, name: &str) -> CallError {
    let text = format!("{what} \"{}\" was not found in the Raft configuration", name.escape_default());
    CallError::not_applied(ErrorKind::Invalid, text)
}

impl Handle {
    /// The servers as the leader knows them, asked here or one hop away; stale: as this member does.
    pub async fn servers(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<ServerList, CallError> {
        match consistency {
            Consistency::Stale => ServerList::of(&self.view().status).ok_or_else(|| {
                let text = "this member is in no cluster yet: bootstrap it or add it first";
                CallError::not_applied(ErrorKind::FailedPrecondition, text)
            }),
            Consistency::Linearizable => {
                let ask = |leader| async move {
                    match leader {
                        None => self.servers_here(deadline).await,
                        Some(leader) => self.leaders().servers(&leader, deadline).await,
                    }
                };
                self.with_leader(deadline, ask).await
            }
        }
    }

    /// As [`Handle::servers`], but only if this member leads.
    pub(crate) async fn servers_here(&self, deadline: Instant) -> Result<ServerList, CallError> {
        let status = self.status(deadline).await?;
        check_leading(&status)?;
        ServerList::of(&status).ok_or_else(CallError::no_leader)
    }

    /// Takes a server out of the configuration, on the word of a person: here or one hop away. Returns the index of the
    /// configuration without it.
    ///
    /// The core checks what it leaves (K13). A server that is not there is [`ErrorKind::Invalid`].
    pub async fn remove_server(&self, name: &ServerName, deadline: Instant) -> Result<Index, CallError> {
        self.check_serving()?;
        let ask = |leader| async move {
            match leader {
                None => self.remove_server_here(name, deadline).await,
                Some(leader) => self.leaders().remove_server(&leader, name, deadline).await,
            }
        };
        self.with_leader(deadline, ask).await
    }

    /// As [`Handle::remove_server`], but only if this member leads.
    pub(crate) async fn remove_server_here(
        &self,
        name: &ServerName,
        deadline: Instant,
    ) -> Result<Index, CallError> {
        loop {
            let status = self.status(deadline).await?;
            check_leading(&status)?;
            let latest = status.latest.as_ref().ok_or_else(CallError::no_leader)?;
            let id = name.find(&latest.configuration)?;
            let change = Change::Remove { id, reason: RemoveReason::Requested };
            match self.change_membership(latest.index, change, deadline).await {
                // Another change came between: it may have been this one.
                Err(error) if error.kind == ErrorKind::ConfigurationMismatch && Instant::now() < deadline => {
                }
                done => return done,
            }
        }
    }

    /// Hands leadership to this voter, or to the one that is furthest: here or one hop away. Tried once: whoever leads next
    /// was not meant to give it up.
    pub async fn give_leadership(&self, target: Option<&str>, deadline: Instant) -> Result<(), CallError> {
        self.check_serving()?;
        match self.leader(deadline).await? {
            None => self.give_leadership_here(target, deadline).await,
            Some(leader) => self.leaders().transfer_leadership(&leader, target, deadline).await,
        }
    }

    /// As [`Handle::give_leadership`], but only if this member leads.
    pub(crate) async fn give_leadership_here(
        &self,
        target: Option<&str>,
        deadline: Instant,
    ) -> Result<(), CallError> {
        // What can be no Raft ID is no server's.
        let target =
            target.map(|target| RaftId::new(target).map_err(|_| not_found("id", target))).transpose()?;
        self.transfer_leadership(target, deadline).await
    }
}

fn check_leading(status: &Status) -> Result<(), CallError> {
    if status.role == Role::Leader {
        return Ok(());
    }
    let leader = status.leader.as_ref().map(|leader| leader.id.clone());
    Err(Refusal::NotLeader { leader }.into())
}

#[cfg(test)]
mod tests {
    use quorate_raft::{Address, Incarnation, Intent, Suffrage};

    use super::*;

    fn configuration(servers: &[(&str, &str)]) -> Configuration {
        let server = |(id, address): &(&str, &str)| Server {
            id: ServerId::new(RaftId::new(id).unwrap(), Incarnation(1)),
            address: Address::new(address).unwrap(),
            suffrage: Suffrage::Voter,
            intent: Intent::Voter,
        };
        Configuration::new(servers.iter().map(server).collect()).unwrap()
    }

    /// K16, vector 82: an address means a server only if it is one server's; a name that is nobody's changes nothing.
    #[test]
    fn a_name_means_one_server_or_none() {
        let servers = configuration(&[("a", "h:1"), ("b", "h:2"), ("c", "h:2")]);
        let find = |name: &ServerName| name.find(&servers).map(|id| id.raft_id.to_string());
        let id = |name: &str| find(&ServerName::RaftId(name.to_owned()));
        let address = |name: &str| find(&ServerName::Address(name.to_owned()));
        assert_eq!((id("b"), address("h:1")), (Ok("b".to_owned()), Ok("a".to_owned())));
        for (refused, text) in [
            (id("nope"), "id \"nope\" was not found in the Raft configuration"),
            (id(""), "id \"\" was not found in the Raft configuration"),
            (address("a"), "address \"a\" was not found in the Raft configuration"),
            (address("h:2"), "2 servers have this address (b, c)"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.starts_with(text), "{error}");
        }
    }
}
