//! What servers last said of themselves, as the cluster remembers it: a new leader knows the zone and the versions of a
//! server it has never heard (autopilot.md §6b, A28).
//!
//! Invariant: only servers of the applied configuration are remembered, so it never grows beyond one.

use crate::codec::{DecodeError, Reader, Writer};
use crate::command::Owner;

/// One server's lasting words; an empty text: it never said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RememberedServer {
    /// Which, by Raft ID and incarnation.
    pub owner: Owner,
    /// The version of its build.
    pub build: String,
    /// The zone it is in.
    pub zone: String,
    /// The version that upgrade migration goes by.
    pub upgrade_version: String,
}

impl RememberedServer {
    /// Its texts, with what each is called.
    pub(crate) fn texts(&self) -> [(&'static str, &str); 3] {
        [("the build", &self.build), ("the zone", &self.zone), ("the upgrade version", &self.upgrade_version)]
    }
}

/// Takes what is new over what is remembered, in the order of the owners, and forgets who is no `member`.
pub(crate) fn remember(servers: &mut Vec<RememberedServer>, newer: Vec<RememberedServer>, members: &[Owner]) {
    for server in newer {
        match servers.iter_mut().find(|known| known.owner == server.owner) {
            Some(known) => *known = server,
            None => servers.push(server),
        }
    }
    servers.retain(|server| members.contains(&server.owner));
    servers.sort_by(|a, b| a.owner.0.cmp(&b.owner.0));
}

pub(crate) fn encode(to: &mut Writer, servers: &[RememberedServer]) {
    to.count(servers.len());
    for server in servers {
        to.bytes(server.owner.0.as_bytes());
        for (_, text) in server.texts() {
            to.bytes(text.as_bytes());
        }
    }
}

pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Vec<RememberedServer>, DecodeError> {
    from.list("remembered server", |from| {
        Ok(RememberedServer {
            owner: Owner(from.text("server")?),
            build: from.text("build")?,
            zone: from.text("zone")?,
            upgrade_version: from.text("upgrade version")?,
        })
    })
}
