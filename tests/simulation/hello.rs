//! What two processes say first to each other, and the connections over which they may talk then (K18, K24).
//!
//! ```text
//!   same recovery epoch?   a version in common?   not too old for what we know of the cluster?
//!        └── no: nothing of the one reaches the other, and people are told
//! ```
//! The sidecar asks this at each end of every connection. What a peer speaks counts as long as the connection over which
//! it said so: the core is told when one began and when its end is noticed, which may take long.

use std::time::Duration;

use quorate_raft::{Input, RecoveryEpoch, ServerId, Versions};
use rand::Rng;

use super::coverage::Happening;
use super::event::{Boot, Event};
use super::network::MemberNumber;
use super::process::Process;
use super::world::{Happened, World};

/// The end of a connection is noticed within this, mostly.
const END_NOTICED_MS_MAX: u64 = 150;
/// And within this if the network says nothing of it.
const END_NOTICED_LATE_MS_MAX: u64 = 3_000;
/// How likely that is.
const END_NOTICED_LATE: f64 = 0.2;

/// The first words of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The recovery epoch of its directory.
    pub epoch: RecoveryEpoch,
    /// What its binary speaks.
    pub versions: Versions,
}

/// Why two do not talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// One is from before a recovery.
    Epoch,
    /// One is too old for the other, or for the cluster.
    Version,
}

/// A connection that a process made to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The process at its other end.
    pub to: Boot,
    /// What that one said it speaks; none until it said so.
    pub versions: Option<Versions>,
}

impl Process {
    /// Whether a process that says this may talk to us.
    pub fn admits(&self, theirs: Hello) -> Result<(), Refused> {
        if theirs.epoch != self.hello.epoch {
            return Err(Refused::Epoch);
        }
        // We read what the cluster is at: only who is older than we are can be too old for it.
        let is_older = theirs.versions.max < self.hello.versions.max;
        let is_too_old = || self.raft.status().version.is_some_and(|cluster| theirs.versions.max < cluster);
        if is_older && is_too_old() || !theirs.versions.meets(self.hello.versions) {
            return Err(Refused::Version);
        }
        Ok(())
    }
}

impl World {
    /// Whether a connection between two processes that run is refused at either end.
    pub(super) fn refusal(&self, (from, to): (MemberNumber, MemberNumber)) -> Option<Refused> {
        let (from, to) = (self.fleet[from].process.as_ref()?, self.fleet[to].process.as_ref()?);
        from.admits(to.hello).and_then(|()| to.admits(from.hello)).err()
    }

    /// Counts a refusal.
    pub(super) fn refused(&mut self, refusal: Refused) {
        self.coverage.hit(match refusal {
            Refused::Epoch => Happening::EpochRefused,
            Refused::Version => Happening::TooOldRefused,
        });
    }

    /// What is sent goes over a connection, which is made if there is none.
    pub(super) fn connect(&mut self, from: MemberNumber, to: &ServerId) {
        let Some(place) = self.fleet.holder_of(to).filter(|place| self.fleet[*place].process.is_some())
        else {
            return;
        };
        let (boot, peer) = (self.fleet.boot(from), self.fleet.boot(place));
        let Some(process) = &mut self.fleet[from].process else { return };
        match process.connections.get(to).map(|connection| connection.to) {
            Some(known) if known == peer => return,
            // What is sent over it is lost, and shows that it ended: the next is sent over a new one.
            Some(known) => {
                self.schedule.after(Duration::ZERO, Event::Disconnected(boot, to.clone(), known));
                return;
            }
            None => {}
        }
        process.connections.insert(to.clone(), Connection { to: peer, versions: None });
        let takes = self.options.network.delay(&mut self.rng);
        self.schedule.after(takes, Event::Connected(boot, to.clone(), peer));
    }

    /// The peer has said what it speaks.
    pub(super) fn connected(&mut self, number: MemberNumber, id: ServerId, peer: Boot) -> Happened {
        let lives = self.fleet.lives(peer) && self.refusal((number, peer.member)).is_none();
        let said = self.fleet[peer.member].process.as_ref().filter(|_| lives);
        let versions = said.map(|process| process.hello.versions);
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let Some(connection) = process.connections.get_mut(&id).filter(|one| one.to == peer) else {
            return Ok(());
        };
        connection.versions = versions;
        let said = versions.map_or_else(|| "nothing".to_owned(), |versions| versions.to_string());
        if versions.is_none() {
            process.connections.remove(&id);
        }
        self.say(|_| format!("m{number} hears that {} speaks {said}", id.raft_id));
        self.step(number, Input::PeerVersions { id, versions })
    }

    /// A process notices that a connection ended.
    pub(super) fn disconnected(&mut self, number: MemberNumber, id: ServerId, peer: Boot) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let is_it = process.connections.get(&id).is_some_and(|connection| connection.to == peer);
        if !is_it {
            return Ok(());
        }
        process.connections.remove(&id);
        self.say(|_| format!("m{number}: its connection to {} ended", id.raft_id));
        self.step(number, Input::PeerVersions { id, versions: None })
    }

    /// A process has ended: those that had a connection to it notice, sooner or later.
    pub(super) fn let_connections_end(&mut self, number: MemberNumber) {
        let (gone, id) = (self.fleet.boot(number), self.fleet[number].id.clone());
        for peer in 0..self.fleet.count() {
            let Some(process) = &self.fleet[peer].process else { continue };
            if process.connections.get(&id).is_some_and(|connection| connection.to == gone) {
                let is_late = self.rng.random_bool(END_NOTICED_LATE);
                let within = if is_late { END_NOTICED_LATE_MS_MAX } else { END_NOTICED_MS_MAX };
                let after = Duration::from_millis(self.rng.random_range(1..within));
                let boot = self.fleet.boot(peer);
                self.schedule.after(after, Event::Disconnected(boot, id.clone(), gone));
            }
        }
    }

    /// A member goes by another configuration: it dials the servers of that one anew.
    pub(super) fn dial_anew(&mut self, number: MemberNumber) -> Vec<Input> {
        let Some(process) = &mut self.fleet[number].process else { return Vec::new() };
        let ended = std::mem::take(&mut process.connections).into_keys();
        ended.map(|id| Input::PeerVersions { id, versions: None }).collect()
    }
}
