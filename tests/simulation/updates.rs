//! Two releases in one cluster: members are updated one by one, at times back again, and the cluster's version is raised
//! (K24, S27).
//!
//! ```text
//!   old … old old     new old old     new old new     new new new       each binary reads its own version and one before
//!   cluster at v      v               v               v ──▶ v + 1       asked for at any time, granted when all speak it
//! ```
//! Somebody asks for the next version without looking who speaks it: that is for the core to know. A member that was put
//! back to the old release when the cluster had moved on is told so, and is updated again.

use quorate_raft::{Change, Input, RemoveReason, Ticket, Version, Versions};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::convergence::GLANCE;
use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::network::MemberNumber;
use super::world::{Happened, World};

/// How likely a member is put back to the old release rather than updated.
const BACK: f64 = 0.15;

/// What two releases speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// The one that all members begin with.
    pub old: Versions,
    /// The one they are updated to.
    pub new: Versions,
}

impl World {
    /// Somebody updates a member, or asks for the next version of the cluster.
    pub(super) fn update(&mut self) -> Happened {
        let Some(every) = self.options.update_every else { return Ok(()) };
        let next = if self.phase == Phase::Calm { GLANCE } else { self.around(every) };
        self.schedule.after(next, Event::Update);
        if self.phase == Phase::Breaking && self.rng.random_bool(0.6) {
            self.update_one()?;
        }
        self.ask_raise()
    }

    fn update_one(&mut self) -> Happened {
        let Releases { old, new } = self.options.releases;
        let (from, to) = if self.rng.random_bool(BACK) { (new, old) } else { (old, new) };
        let others = self.fleet.iter().filter(|member| member.versions == from && !member.is_away);
        let others: Vec<_> = others.map(|member| member.number).collect();
        let Some(number) = others.choose(&mut self.rng).copied() else { return Ok(()) };
        self.coverage.hit(if to == new { Happening::Updated } else { Happening::PutBack });
        self.say(|_| format!("m{number} is to run the release that speaks {to}"));
        self.fleet[number].versions = to;
        self.hand_over(number)
    }

    fn ask_raise(&mut self) -> Happened {
        let Some((leader, status)) = self.fleet.leaders().pop() else { return Ok(()) };
        let (Some(latest), Some(version)) = (&status.latest, status.version) else { return Ok(()) };
        let to = version.next();
        let is_restoring = self.fleet[leader].process.as_ref().is_some_and(|process| process.place.is_some());
        if to > self.options.releases.new.max || is_restoring {
            return Ok(());
        }
        let (ticket, expected) = (self.administrator.ticket(), latest.index);
        // A server whose volume is lost will never say what it speaks, and has to go first.
        let servers = latest.configuration.servers().iter();
        let lost = servers.map(|server| &server.id).find(|id| self.fleet.holder_of(id).is_none());
        if let Some(id) = lost.filter(|_| self.phase == Phase::Calm) {
            let change = Change::Remove { id: id.clone(), reason: RemoveReason::Dead };
            return self.step(leader, Input::ChangeMembership { ticket, expected, change });
        }
        self.coverage.hit(Happening::RaiseAsked);
        self.administrator.raise = Some(ticket);
        self.say(|_| format!("m{leader}: the cluster is to go to version {to}"));
        self.step(leader, Input::ChangeMembership { ticket, expected, change: Change::RaiseVersion { to } })
    }

    /// Whether a request that was granted raised the version.
    pub(super) fn note_raise(&mut self, granted: Ticket) {
        if self.administrator.raise == Some(granted) {
            self.coverage.hit(Happening::Raised);
        }
    }

    /// A member's binary does not read what its directory says: it was told so and not taken for broken.
    pub(super) fn start_newer(&mut self, number: MemberNumber) {
        self.coverage.hit(Happening::TooOldTold);
        self.say(|_| format!("m{number} is too old for what its directory says"));
        self.fleet[number].versions = self.options.releases.new;
        self.schedule.after(GLANCE, Event::Start(number));
    }

    /// From now on everybody runs the new release.
    pub(super) fn update_all(&mut self) {
        let new = self.options.releases.new;
        for number in 0..self.fleet.count() {
            self.fleet[number].versions = new;
            if self.fleet[number].process.as_ref().is_some_and(|process| process.hello.versions != new) {
                self.kill(number);
            }
        }
    }

    /// What is missing until the version is raised.
    pub(super) fn version_missing(&self, version: Option<Version>) -> Option<String> {
        let due = self.options.releases.new.max;
        (self.options.update_every.is_some() && version != Some(due))
            .then(|| format!("the cluster is at version {version:?}, and all speak {due}"))
    }
}
