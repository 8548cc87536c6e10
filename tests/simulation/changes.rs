//! Somebody changes the membership, as an operator would: forms it first, then adds, promotes, demotes, removes,
//! moves leadership, and replaces volumes.
//!
//! A volume is only lost when all others of the configurations in force are there and the rest of the voters is a
//! majority: more than that no consensus survives (P1). Who that is, is seen from outside: a leader's own picture
//! may be an old one.

use std::time::Duration;

use anyhow::Result;
use quorate_raft::{
    Address, Answer, Change, ClusterId, Index, Input, Intent, Mode, Refusal, RemoveReason, Server, ServerId,
    Status, Suffrage, Ticket,
};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::member::Member;
use super::network::MemberNumber;
use super::process::CLUSTER;
use super::world::{Happened, World, check};

/// Between two steps while the first membership is formed.
const FORMING_PAUSE: Duration = Duration::from_millis(200);
/// Without faults the first membership is complete by then, whatever the network.
const FORMED_WITHIN: Duration = Duration::from_mins(2);
/// After a volume was lost nothing else changes before its server is out; this long before it nothing may change,
/// or a leader that does not know yet could still change the membership on it.
const QUIET_BEFORE_LOSS_ELECTION_TIMEOUTS: u32 = 3;
/// An emptied member comes back after this.
const EMPTIED_FOR: Duration = Duration::from_millis(500);

/// Who changes the membership.
#[derive(Default)]
pub struct Administrator {
    tickets: u64,
    /// The server whose volume was lost, until it has left the configuration.
    lost_volume: Option<ServerId>,
    last_change: Duration,
    /// The last request for the next version.
    pub(super) raise: Option<Ticket>,
    /// When faults stopped.
    pub calm_since: Duration,
}

impl Administrator {
    /// A ticket nobody else has.
    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// The cluster went on without it (K18).
    pub fn forget_lost_volume(&mut self) {
        self.lost_volume = None;
    }
}

/// What somebody wants of a leader.
enum Choice {
    Change(Change),
    Transfer,
}

impl World {
    /// One change, and when the next one comes.
    pub(super) fn change(&mut self) -> Happened {
        let next = match (self.phase, self.options.change_every) {
            (Phase::Forming, _) => FORMING_PAUSE,
            (Phase::Breaking, Some(every)) => self.around(every),
            (Phase::Breaking, None) | (Phase::Calm, _) => return Ok(()),
        };
        self.schedule.after(next, Event::Change);
        if self.phase == Phase::Forming && self.schedule.now() > FORMED_WITHIN {
            check(Err(format!("liveness: the first membership was not formed within {FORMED_WITHIN:?}")))?;
        }
        self.replace_removed()?;
        let leaders = self.fleet.leaders();
        // Mostly the newest leader is asked, at times one that may be deposed without knowing.
        let asked = if self.rng.random_bool(0.8) { leaders.last() } else { leaders.choose(&mut self.rng) };
        let Some((leader, status)) = asked else { return self.bootstrap() };
        let Some(latest) = &status.latest else { return Ok(()) };
        if latest.configuration.voters().count() == self.options.members {
            self.formed();
        }
        let Some(choice) = self.choose(status)? else { return Ok(()) };
        let ticket = self.administrator.ticket();
        self.administrator.last_change = self.schedule.now();
        // Somebody may have read the configuration before the last change.
        let is_late = self.phase == Phase::Breaking && self.rng.random_bool(0.05);
        let expected = if is_late { Index(latest.index.0.saturating_sub(1)) } else { latest.index };
        let input = match choice {
            Choice::Change(change) => {
                self.coverage.hit(Happening::ChangeAsked);
                if matches!(change, Change::Replace { .. }) {
                    self.coverage.hit(Happening::ReplaceAsked);
                }
                self.say(|_| format!("m{leader}: change at {}: {change:?}", expected.0));
                Input::ChangeMembership { ticket, expected, change }
            }
            Choice::Transfer => {
                self.coverage.hit(Happening::TransferAsked);
                self.say(|_| format!("m{leader}: transfer"));
                let target = status.peers.choose(&mut self.rng).map(|peer| peer.id.raft_id.clone());
                Input::TransferLeadership { ticket, target: target.filter(|_| self.rng.random_bool(0.5)) }
            }
        };
        let leader = *leader;
        let is_restoring = self.fleet[leader].process.as_ref().is_some_and(|process| process.place.is_some());
        if is_restoring && matches!(input, Input::ChangeMembership { .. }) {
            // The quorum that has the archive must be the one that commits it (K17).
            self.coverage.hit(Happening::ChangeRefused);
            return Ok(());
        }
        self.step(leader, input)
    }

    /// What became of a change or a transfer.
    pub(super) fn administrator_hears(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) {
        if result.is_ok() {
            self.note_raise(ticket);
        }
        self.coverage.hit(match &result {
            Ok(Answer::Transferred) => Happening::Transferred,
            Ok(_) => Happening::Changed,
            Err(_) => Happening::ChangeRefused,
        });
        self.say(|_| match result {
            Ok(answer) => format!("request {}: {answer:?}", ticket.0),
            Err(refusal) => format!("request {}: {refusal}", ticket.0),
        });
    }

    /// The first member becomes the first voter; the same call again does nothing (K2).
    fn bootstrap(&mut self) -> Happened {
        if self.phase != Phase::Forming {
            return Ok(());
        }
        let ticket = self.administrator.ticket();
        let (server, address) = (self.fleet[0].id.clone(), self.fleet[0].address()?);
        let cluster_id: ClusterId = CLUSTER;
        self.step(0, Input::Bootstrap { ticket, cluster_id, server, address, mode: Mode::KeyValue })
    }

    fn choose(&mut self, status: &Status) -> Result<Option<Choice>> {
        let Some(latest) = &status.latest else { return Ok(None) };
        let servers = latest.configuration.servers();
        if let Some(lost) = self.administrator.lost_volume.clone() {
            let in_force = self.watch.configurations_in_force(&self.fleet);
            if in_force.iter().any(|configuration| configuration.contains(&lost)) {
                let replaced = replacement(&lost, status, false);
                if let Some(change) = replaced.filter(|_| self.rng.random_bool(0.5)) {
                    return Ok(Some(Choice::Change(change)));
                }
                let reason = RemoveReason::VolumeLost;
                return Ok(Some(Choice::Change(Change::Remove { id: lost, reason })));
            }
            self.administrator.lost_volume = None;
        }
        let is_formed = self.phase != Phase::Forming;
        let waiting = servers.iter().find(|server| server.suffrage == Suffrage::NonVoter);
        // A name is there once: a member that came back under its old one waits until that has left.
        let is_outside = |id: &ServerId| latest.configuration.by_raft_id(&id.raft_id).is_none();
        let is_there = |member: &&Member| member.epoch == self.fleet.epoch && !member.is_away;
        let outside = self.fleet.iter().filter(is_there).find(|member| is_outside(&member.id));
        let voter = latest.configuration.voters().collect::<Vec<_>>().choose(&mut self.rng).copied();
        if is_formed
            && let Some(Server { id: old, .. }) = voter
            && let Some(change) = replacement(old, status, self.rng.random_bool(0.7))
            && self.rng.random_bool(0.4)
        {
            return Ok(Some(Choice::Change(change)));
        }
        if !is_formed || self.rng.random_bool(0.6) {
            if let Some(server) = waiting {
                let (id, stable_in_term) = (server.id.clone(), status.term);
                return Ok(Some(Choice::Change(Change::Promote { id, stable_in_term })));
            }
            if let Some(member) = outside.filter(|_| is_formed || servers.len() < self.options.members) {
                let (id, address) = (member.id.clone(), member.address()?);
                let replaced = voter.filter(|_| is_formed && self.rng.random_bool(0.3));
                let intent =
                    replaced.map_or(Intent::Voter, |server| Intent::ReplacementFor(server.id.clone()));
                let versions = member.versions;
                return Ok(Some(Choice::Change(Change::AddNonVoter { id, address, intent, versions })));
            }
        }
        let chosen = servers.choose(&mut self.rng).map(|server| server.id.clone());
        let Some(id) = chosen.filter(|_| is_formed) else { return Ok(None) };
        Ok(match self.rng.random_range(0..20) {
            0..6 => Some(Choice::Change(Change::Remove { id, reason: RemoveReason::Requested })),
            6..10 => Some(Choice::Change(Change::Demote { id })),
            10..15 => Some(Choice::Transfer),
            15 => {
                let address = Address::new(&format!("moved-{}:7400", self.administrator.tickets))?;
                Some(Choice::Change(Change::SetAddress { id, address }))
            }
            _ => {
                self.lose_volume(&id)?;
                None
            }
        })
    }

    /// A server's volume is gone, and the member comes back with an empty one.
    fn lose_volume(&mut self, id: &ServerId) -> Happened {
        let quiet = self.options.settings.election_timeout * QUIET_BEFORE_LOSS_ELECTION_TIMEOUTS;
        let is_quiet = self.schedule.now() > self.administrator.last_change + quiet;
        let in_force = self.watch.configurations_in_force(&self.fleet);
        let survives = |half: std::collections::BTreeSet<&ServerId>| {
            let left = half.iter().filter(|voter| ***voter != *id).count();
            left > half.len() / 2 && half.iter().all(|voter| self.fleet.holder_of(voter).is_some())
        };
        let [configuration] = in_force.as_slice() else { return Ok(()) };
        if let Some(number) = self.fleet.holder_of(id)
            && is_quiet
            && self.disaster.is_none()
            && configuration.majorities().into_iter().all(survives)
        {
            self.coverage.hit(Happening::VolumeLost);
            self.say(|_| format!("m{number} loses its volume"));
            self.administrator.lost_volume = Some(id.clone());
            self.empty(number)?;
        }
        Ok(())
    }

    /// A member whose server has left every configuration in force gets an empty volume, as a new replica would.
    fn replace_removed(&mut self) -> Happened {
        let in_force = self.watch.configurations_in_force(&self.fleet);
        let is_in = |id: &ServerId| in_force.iter().any(|configuration| configuration.contains(id));
        let was_removed =
            |member: &&Member| member.mirror.hard_state.was_member && !member.is_away && !is_in(&member.id);
        let removed = self.fleet.iter().find(was_removed);
        // At times it is added again as it is.
        match removed.map(|member| member.number) {
            Some(number) if self.rng.random_bool(0.7) => {
                self.coverage.hit(Happening::VolumeEmptied);
                self.empty(number)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn empty(&mut self, number: MemberNumber) -> Happened {
        self.let_connections_end(number);
        let keeps_name = self.rng.random_bool(0.3);
        if keeps_name {
            self.coverage.hit(Happening::SameName);
        }
        self.fleet.empty(number, keeps_name, &mut self.rng)?;
        self.schedule.after(EMPTIED_FOR, Event::Start(number));
        Ok(())
    }
}

/// The swap of `old` for a server that waits for a vote, in one change (K14). `has_left`: whether somebody said that it
/// leaves, so that it is swapped though it answers.
fn replacement(old: &ServerId, status: &Status, has_left: bool) -> Option<Change> {
    let servers = status.latest.as_ref()?.configuration.servers();
    let waits = |server: &&Server| server.suffrage == Suffrage::NonVoter && server.id != *old;
    let new = servers.iter().find(waits)?.id.clone();
    Some(Change::Replace { old: old.clone(), new, stable_in_term: status.term, old_has_left: has_left })
}
