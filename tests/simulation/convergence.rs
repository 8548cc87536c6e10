//! The liveness phase: faults stop, and within 20 election timeouts there is one leader, everybody has the same log
//! and the same state, and new writes are taken (raft.md §7 item 2).

use std::time::Duration;

use anyhow::Result;
use quorate_raft::{Membership, Role, Status};

use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::network::MemberNumber;
use super::process::{Process, Row};
use super::world::{World, check, of_disk};

/// When faults have stopped, the cluster must converge within this many election timeouts.
const ELECTION_TIMEOUTS: u32 = 20;
/// How often convergence is looked for.
pub(super) const GLANCE: Duration = Duration::from_millis(100);
/// Writes that must be taken before clients go quiet.
const WRITES: u64 = 3;

impl World {
    /// Everything works from now on, and everyone comes back.
    pub(super) fn stop_faults(&mut self) {
        self.phase = Phase::Calm;
        self.network.heal_for_good();
        let now = self.schedule.now();
        for number in 0..self.fleet.count() {
            let member = &mut self.fleet[number];
            member.volume.set_room(None);
            // What was planned and has not happened does not happen any more, but for one end within a call.
            member.volume.revive();
            member.slowness = 1;
            member.paused_until = now;
            if let Some(process) = &mut member.process {
                process.clock.set_rate(now, 1.0);
                process.wake_at = Some(now);
                self.schedule.after(Duration::ZERO, Event::Wake(self.fleet.boot(number)));
            }
            self.schedule.after(Duration::ZERO, Event::Start(number));
        }
        self.say(|_| "faults stop".to_owned());
        self.recover_at_last();
        self.update_all();
        self.schedule.after(GLANCE, Event::Update);
        self.clients.written = 0;
        self.administrator.calm_since = now;
        self.schedule.after(GLANCE, Event::Converged);
    }

    /// Whether it has converged. That it takes too long is a failure.
    pub(super) fn has_converged(&mut self) -> Result<bool> {
        // Looked at again, also if a disk fault that was planned earlier ends a member while it is compared.
        self.schedule.after(GLANCE, Event::Converged);
        let Some(missing) = self.what_is_missing() else {
            // Every invariant has spoken; now those that need the whole run.
            self.compare_states()?;
            self.coverage.hit(Happening::Converged);
            self.say(|_| "converged".to_owned());
            return Ok(true);
        };
        let patience = self.options.settings.election_timeout * ELECTION_TIMEOUTS;
        if self.schedule.now() > self.administrator.calm_since + patience {
            check(Err(format!("liveness: not converged {patience:?} after faults stopped: {missing}")))?;
        }
        Ok(false)
    }

    fn what_is_missing(&mut self) -> Option<String> {
        let mut leaders = self.fleet.leaders();
        let Some((_, leader)) = leaders.pop() else { return Some("nobody leads".to_owned()) };
        if let Some((other, _)) = leaders.pop() {
            return Some(format!("m{other} leads too"));
        }
        if !leader.is_ready {
            return Some("the leader has not committed in its term".to_owned());
        }
        if let Some(missing) = self.version_missing(leader.version) {
            return Some(missing);
        }
        if leader.latest.is_none() || leader.latest != leader.committed {
            return Some("a configuration is not committed".to_owned());
        }
        let lagging = self.servers_of(&leader).into_iter().find_map(|number| self.lags(number, &leader));
        if lagging.is_some() {
            return lagging;
        }
        if self.clients.written < WRITES {
            return Some(format!("{} writes were taken since", self.clients.written));
        }
        if !std::mem::replace(&mut self.clients.are_quiet, true) {
            return Some("clients have just gone quiet".to_owned());
        }
        if self.clients.each.iter().any(|client| client.call.is_some()) {
            return Some("a client still waits".to_owned());
        }
        (leader.last.index != leader.commit).then(|| "the leader's last entry is not committed".to_owned())
    }

    /// The members that are servers of the leader's configuration; a lost volume is none.
    fn servers_of(&self, leader: &Status) -> Vec<MemberNumber> {
        let servers = leader.latest.iter().flat_map(|latest| latest.configuration.servers());
        servers.filter_map(|server| self.fleet.holder_of(&server.id)).collect()
    }

    fn lags(&self, number: MemberNumber, leader: &Status) -> Option<String> {
        let Some(process) = &self.fleet[number].process else { return Some(format!("m{number} is down")) };
        let status = process.raft.status();
        // While clients write, the news of a commit is always on its way.
        let due = if self.clients.are_quiet { leader.commit } else { leader.commit.previous() };
        if status.applied < due {
            let supply = leader.peers.iter().find(|peer| self.fleet.holder_of(&peer.id) == Some(number));
            return Some(format!(
                "m{number} applied {} of {}: {supply:?}",
                status.applied.0, leader.commit.0
            ));
        }
        // Only what is in the log may be flushed (K4), and states are compared as they are on disk.
        if self.clients.are_quiet && status.persisted < due {
            return Some(format!("m{number} has {} of {} on disk", status.persisted.0, due.0));
        }
        if status.role != Role::Leader && status.term != leader.term {
            return Some(format!("m{number} is in term {}, not {}", status.term.0, leader.term.0));
        }
        (status.membership == Membership::Removed)
            .then(|| format!("m{number} is a server and believes it was removed"))
    }

    /// All servers hold the same log and the same state, and clients saw what one copy would have shown them.
    fn compare_states(&mut self) -> Result<()> {
        let Some((leading, leader)) = self.fleet.leaders().pop() else { return Ok(()) };
        let rows = |world: &mut Self, number: MemberNumber| {
            let rows = world.fleet[number].process.as_mut().map(Process::rows).transpose();
            of_disk(number, rows).map(Option::unwrap_or_default)
        };
        let due = rows(self, leading)?;
        let log = self.fleet[leading].accepted.clone();
        for number in self.servers_of(&leader) {
            let other = &self.fleet[number].accepted;
            let from = log.previous.index.max(other.previous.index).next();
            if log.last() != other.last() || !log.terms.range(from..).eq(other.terms.range(from..)) {
                check(Err(format!("equal logs: m{leading} and m{number} differ after they converged")))?;
            }
            if let Some(difference) = difference(&due, &rows(self, number)?) {
                check(Err(format!("equal states: m{leading} and m{number} differ in {difference}")))?;
            }
        }
        self.compare_locks(leading)?;
        self.check_history()
    }
}

/// The first row that only one of two states has.
fn difference(one: &[Row], other: &[Row]) -> Option<String> {
    let only = |one: &[Row], other: &[Row]| one.iter().find(|row| !other.contains(row)).cloned();
    let (table, key, row) = only(one, other).or_else(|| only(other, one))?;
    let is_same = |(of, name, _): &&Row| *of == table && *name == key;
    let found = |rows: &[Row]| rows.iter().find(is_same).map(|(.., row)| row.clone());
    Some(format!("{table:?} {key:?}: {:?} and {:?} (found: {row:?})", found(one), found(other)))
}
