//! What breaks, and how it heals: processes, power, links.

use std::time::Duration;

use anyhow::bail;
use quorate_raft::{Input, Membership, Role};
use rand::Rng;

use super::network::MemberNumber;
use super::world::{Event, Happened, World, check};

/// When faults have stopped, the cluster must converge within this many election timeouts (raft.md §7 item 2).
const CONVERGENCE_ELECTION_TIMEOUTS: u32 = 20;
/// How often convergence is looked for.
const GLANCE: Duration = Duration::from_millis(200);

impl World {
    /// Something breaks or heals, at random.
    pub(super) fn fault(&mut self) {
        if self.faults_stopped.is_some() {
            return;
        }
        let members = self.members.len();
        match self.rng.random_range(0..10) {
            0..5 => {
                let victim = self.rng.random_range(0..members);
                if self.members[victim].process.is_some() {
                    self.members[victim].crash(&mut self.rng);
                    self.after_crash(victim, "lost power");
                }
            }
            5..8 => {
                let cut = self.network.partition(members, &mut self.rng);
                self.say(&format!("network: {cut}"));
            }
            _ => {
                self.network.heal();
                self.say("network: healed");
            }
        }
        let next = self.around(self.options.fault_every);
        self.schedule.after(next, Event::Fault);
    }

    /// Notes a crash, and lets the member come back after a while.
    pub(super) fn after_crash(&mut self, number: MemberNumber, how: &str) {
        self.report.crashes += 1;
        self.say(&format!("m{number} {how}"));
        let pause = Duration::from_millis(self.rng.random_range(1..4_000));
        self.schedule.after(pause, Event::Start(number));
    }

    /// A member's process starts, if none runs.
    pub(super) fn start(&mut self, number: MemberNumber) -> Happened {
        if self.members[number].process.is_some() {
            return Ok(());
        }
        let (seed, now) = (self.rng.random(), self.schedule.now());
        let verdict = self.members[number].start(self.settings, seed, now)?;
        check(verdict)?;
        self.say(&format!("m{number} starts as {}", self.members[number].id.raft_id));
        self.step(number, Input::Tick)
    }

    /// Faults begin once the first membership is complete.
    pub(super) fn formed(&mut self) {
        if !self.is_formed {
            self.is_formed = true;
            self.say("formed: faults may begin");
            let first = self.around(self.options.fault_every);
            self.schedule.after(first, Event::Fault);
            self.schedule.after(self.options.safety_phase, Event::FaultsStop);
        }
    }

    /// Everything works from now on, and everyone comes back.
    pub(super) fn stop_faults(&mut self) {
        self.network.heal_for_good();
        self.faults_stopped = Some(self.schedule.now());
        self.say("faults stop");
        for number in 0..self.members.len() {
            self.schedule.after(Duration::ZERO, Event::Start(number));
        }
        self.schedule.after(GLANCE, Event::Converged);
    }

    /// Whether there is one leader, and every server of its committed configuration has applied the same, including
    /// writes acknowledged after the faults. That it takes too long is a failure.
    pub(super) fn has_converged(&mut self) -> anyhow::Result<bool> {
        let stopped = self.faults_stopped.unwrap_or_default();
        let Some(missing) = self.what_is_missing() else {
            self.say("converged");
            return Ok(true);
        };
        let patience = self.settings.election_timeout * CONVERGENCE_ELECTION_TIMEOUTS;
        if self.schedule.now() > stopped + patience {
            bail!("liveness: not converged {patience:?} after faults stopped: {missing}");
        }
        self.schedule.after(GLANCE, Event::Converged);
        Ok(false)
    }

    fn what_is_missing(&mut self) -> Option<String> {
        let Some((_, leader)) = self.leader() else { return Some("nobody leads".to_owned()) };
        if !leader.is_ready {
            return Some("the leader has not committed in its term".to_owned());
        }
        let (Some(latest), Some(committed)) = (&leader.latest, &leader.committed) else {
            return Some("no configuration".to_owned());
        };
        if latest != committed {
            return Some("a configuration is not committed".to_owned());
        }
        let servers = latest.configuration.servers().iter().filter_map(|server| self.slot_of(&server.id));
        for number in servers {
            let Some(process) = &self.members[number].process else {
                return Some(format!("m{number} is down"));
            };
            let status = process.raft.status();
            if status.applied < leader.commit.previous() {
                let supply = leader.peers.iter().find(|peer| self.slot_of(&peer.id) == Some(number));
                return Some(format!(
                    "m{number} applied {} of {}: {supply:?}",
                    status.applied.0, leader.commit.0
                ));
            }
            if status.role != Role::Leader && status.term != leader.term {
                return Some(format!("m{number} is in term {}, not {}", status.term.0, leader.term.0));
            }
            if status.membership == Membership::Removed {
                return Some(format!("m{number} is a server and believes it was removed"));
            }
        }
        let written = self.clients.iter().any(|client| client.knows.at_least() > 0);
        (!written).then(|| "no write was ever acknowledged".to_owned())
    }

    /// A random time around `mean`.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.rng.random_range(0.2..1.8))
    }
}
