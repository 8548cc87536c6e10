//! What breaks, and how it heals: processes, power, disks, clocks, links.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_raft::Input;
use quorate_store::{Call, Fault as CallFault};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::clock::Clock;
use super::coverage::Happening;
use super::event::{Boot, Event};
use super::member::{DiskError, Start, Torn};
use super::network::{MemberNumber, draw_side};
use super::options::Fault;
use super::world::{Happened, World, check, of_disk};

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first membership is formed; nothing breaks.
    Forming,
    /// Things break.
    Breaking,
    /// Faults have stopped, and the cluster must converge.
    Calm,
}

/// A planned end within a disk call comes within this many calls: a commit makes about ten.
const CALLS_UNTIL_END: u64 = 40;
/// A process that hands over has this long until it ends.
const HAND_OVER: Duration = Duration::from_millis(300);
/// A pause, a full or slow disk, a clog last up to this long.
const LASTS_MS_MAX: u64 = 2_500;
/// A process is away up to this long.
const AWAY_MS_MAX: u64 = 4_000;
/// A clock runs this much too fast or too slow at most.
const SKEW: f64 = 0.3;
/// How likely a peer notices that a process is gone.
const PEER_NOTICES: f64 = 0.7;
/// And within which time.
const NOTICED_MS_MAX: u64 = 150;
/// Bytes that a full disk has left at most: some writes still fit.
const ROOM_MAX: u64 = 96 * 1024;

impl World {
    /// Something breaks or heals, at random.
    pub(super) fn fault(&mut self) -> Happened {
        if self.phase != Phase::Breaking {
            return Ok(());
        }
        let next = self.around(self.options.fault_every);
        self.schedule.after(next, Event::Fault);
        let Some(fault) = self.options.faults.choose(&mut self.rng).copied() else { return Ok(()) };
        let number = self.rng.random_range(0..self.fleet.count());
        match fault {
            Fault::Power => self.power_fails(number),
            Fault::PowerOfAll => {
                self.coverage.hit(Happening::AllLostPower);
                for number in 0..self.fleet.count() {
                    self.power_fails(number);
                }
            }
            Fault::Kill => self.kill(number),
            Fault::Stop => self.hand_over(number)?,
            Fault::PowerWithin | Fault::KillWithin | Fault::DiskCall | Fault::DiskFull | Fault::DiskSlow => {
                self.break_disk(number, fault);
            }
            Fault::Pause => self.pause(number),
            Fault::Clock => self.skew(number),
            Fault::Partition | Fault::PartitionOneWay | Fault::CutLeader | Fault::Clog => {
                self.break_network(fault);
            }
            Fault::DialsRefused => self.refuse_dials(),
            Fault::Heal => {
                self.coverage.hit(Happening::Healed);
                self.network.heal();
                self.say(|_| "network: healed".to_owned());
            }
        }
        Ok(())
    }

    fn power_fails(&mut self, number: MemberNumber) {
        if self.fleet[number].process.is_some() {
            self.coverage.hit(Happening::PowerLost);
            self.fleet[number].lose_power(&mut self.rng);
            self.after_end(number, "loses power");
        }
    }

    pub(super) fn kill(&mut self, number: MemberNumber) {
        if self.fleet[number].process.is_some() {
            self.coverage.hit(Happening::Killed);
            self.fleet[number].kill();
            self.after_end(number, "is killed");
        }
    }

    pub(super) fn hand_over(&mut self, number: MemberNumber) -> Happened {
        if self.fleet[number].process.is_none() {
            return Ok(());
        }
        self.say(|_| format!("m{number} is asked to stop, and hands over"));
        self.schedule.after(HAND_OVER, Event::Stop(self.fleet.boot(number)));
        self.step(number, Input::HandOver)
    }

    /// A process that was asked to ends.
    pub(super) fn stop(&mut self, boot: Boot) {
        if self.fleet.lives(boot) {
            self.coverage.hit(Happening::Stopped);
            self.fleet[boot.member].stop();
            self.after_end(boot.member, "stops");
        }
    }

    fn break_disk(&mut self, number: MemberNumber, fault: Fault) {
        let calls = self.rng.random_range(0..CALLS_UNTIL_END);
        let lasts = Duration::from_millis(self.rng.random_range(1..LASTS_MS_MAX));
        let member = &mut self.fleet[number];
        member.is_disk_faulty |= matches!(fault, Fault::DiskCall | Fault::DiskFull);
        match fault {
            Fault::PowerWithin => member.volume.cut_power_after(calls),
            Fault::KillWithin => member.volume.kill_after(calls),
            Fault::DiskFull => member.volume.set_room(Some(self.rng.random_range(0..ROOM_MAX))),
            Fault::DiskSlow => {
                self.coverage.hit(Happening::DiskSlow);
                member.slowness = self.rng.random_range(5..100);
            }
            _ => {
                let kinds = [Call::Write, Call::SetLen, Call::Sync, Call::Names, Call::SyncNames];
                let kind = kinds.choose(&mut self.rng).copied().unwrap_or(Call::Write);
                let error = if self.rng.random_bool(0.5) { CallFault::NoSpace } else { CallFault::Io };
                member.volume.fail_after(kind, calls / 8, error);
            }
        }
        if matches!(fault, Fault::DiskFull | Fault::DiskSlow) {
            self.schedule.after(lasts, Event::DiskHeals(number));
        }
        self.say(|_| format!("m{number}: disk: {fault:?}"));
    }

    /// A disk is well again.
    pub(super) fn disk_heals(&mut self, number: MemberNumber) {
        self.fleet[number].volume.set_room(None);
        self.fleet[number].slowness = 1;
        self.say(|_| format!("m{number}: disk: well again"));
    }

    fn pause(&mut self, number: MemberNumber) {
        let lasts = Duration::from_millis(self.rng.random_range(1..LASTS_MS_MAX));
        // Half of the time a leader: it wakes up and believes to lead still.
        let leader = self.fleet.leaders().last().map(|(leader, _)| *leader);
        let number = leader.filter(|_| self.rng.random_bool(0.5)).unwrap_or(number);
        if self.fleet[number].process.is_some() {
            self.coverage.hit(Happening::Paused);
            self.fleet[number].paused_until = self.schedule.now() + lasts;
            self.say(|_| format!("m{number} is paused for {lasts:?}"));
        }
    }

    fn skew(&mut self, number: MemberNumber) {
        let (now, rate) = (self.schedule.now(), self.rng.random_range(1.0 - SKEW..1.0 + SKEW));
        if let Some(process) = &mut self.fleet[number].process {
            self.coverage.hit(Happening::ClockSkewed);
            process.clock.set_rate(now, rate);
            // What it was to wake up for comes at another time now.
            process.wake_at = Some(now);
            self.schedule.after(Duration::ZERO, Event::Wake(self.fleet.boot(number)));
            self.say(|_| format!("m{number}: its clock runs at {rate:.2}"));
        }
    }

    fn break_network(&mut self, fault: Fault) {
        let members = self.fleet.count();
        let side = match (fault, self.fleet.leaders().last()) {
            (Fault::CutLeader, Some((leader, _))) => BTreeSet::from([*leader]),
            _ => draw_side(members, &mut self.rng),
        };
        let is_one_way = match fault {
            Fault::CutLeader => self.rng.random_bool(0.3),
            _ => fault == Fault::PartitionOneWay,
        };
        self.coverage.hit(match fault {
            Fault::CutLeader => Happening::LeaderCutOff,
            Fault::Clog => Happening::Clogged,
            Fault::PartitionOneWay => Happening::PartitionOneWay,
            _ => Happening::Partition,
        });
        if fault == Fault::Clog {
            let lasts = Duration::from_millis(self.rng.random_range(1..LASTS_MS_MAX));
            self.network.clog(&side, members, self.schedule.now() + lasts);
        } else {
            self.network.cut(&side, members, is_one_way);
        }
        self.say(|_| format!("network: {fault:?} {side:?}{}", if is_one_way { " one way" } else { "" }));
    }

    /// Some are told that the leader's process is gone, and it is not: what a firewall does that refuses.
    fn refuse_dials(&mut self) {
        let Some((_, status)) = self.fleet.leaders().pop() else { return };
        self.coverage.hit(Happening::DialsRefused);
        for number in draw_side(self.fleet.count(), &mut self.rng) {
            self.schedule.after(Duration::ZERO, Event::PeerGone(self.fleet.boot(number), status.id.clone()));
        }
    }

    /// A process ended within a call of its disk.
    pub(super) fn bury_dead(&mut self, number: MemberNumber) {
        if self.fleet[number].volume.is_without_power() {
            self.coverage.hit(Happening::PowerLostWithin);
            self.fleet[number].lose_power(&mut self.rng);
            self.after_end(number, "lost power within a call of its disk");
        } else {
            self.coverage.hit(Happening::KilledWithin);
            self.fleet[number].kill();
            self.after_end(number, "was killed within a call of its disk");
        }
    }

    /// A disk said no. If a fault was planned there the process ends, as it must; else something is wrong.
    pub(super) fn disk_failed(&mut self, error: DiskError) -> Happened {
        let number = error.member;
        let member = &self.fleet[number];
        if error.says_damaged() {
            return check(Err(format!("disk: a fault of one call was taken for damage: {error}")));
        }
        if member.is_dead() {
            return Ok(());
        }
        if !member.is_disk_faulty {
            return Err(error.into());
        }
        self.coverage.hit(match (member.process.is_some(), error.says_full()) {
            (false, _) => Happening::StartFailed,
            (true, true) => Happening::DiskFull,
            (true, false) => Happening::DiskFailed,
        });
        // After a failed sync the page cache lies. The node goes with the process, or the next process meets that cache.
        if self.rng.random() {
            self.fleet[number].volume.lose_power(&mut self.rng);
        }
        self.fleet[number].kill();
        self.after_end(number, &format!("ends because of its disk: {}", error.error));
        Ok(())
    }

    /// Notes the end of a process, and lets the member come back after a while.
    fn after_end(&mut self, number: MemberNumber, how: &str) {
        self.fleet[number].paused_until = Duration::ZERO;
        self.say(|_| format!("m{number} {how}"));
        self.let_peers_notice(number);
        self.let_connections_end(number);
        let away_max = if self.phase == Phase::Calm { 50 } else { AWAY_MS_MAX };
        let away = Duration::from_millis(self.rng.random_range(1..away_max));
        self.schedule.after(away, Event::Start(number));
    }

    /// Those that still reach the node of a process that ended may find it gone, sooner or later (K12). Who comes
    /// back first is not waited for: evidence may be old.
    pub(super) fn let_peers_notice(&mut self, number: MemberNumber) {
        let gone = self.fleet[number].id.clone();
        for peer in (0..self.fleet.count()).filter(|peer| *peer != number) {
            if !self.network.is_cut((peer, number)) && self.rng.random_bool(PEER_NOTICES) {
                let after = Duration::from_millis(self.rng.random_range(1..NOTICED_MS_MAX));
                self.schedule.after(after, Event::PeerGone(self.fleet.boot(peer), gone.clone()));
            }
        }
    }

    /// A member's process starts, if none runs.
    pub(super) fn start(&mut self, number: MemberNumber) -> Happened {
        if self.fleet[number].process.is_some() || self.fleet[number].is_away {
            return Ok(());
        }
        let (seed, now) = (self.rng.random(), self.schedule.now());
        let rate = if self.breaks_now(0.3) { self.rng.random_range(1.0 - SKEW..1.0 + SKEW) } else { 1.0 };
        let clock = Clock::starting(now, rate);
        let started = self.fleet[number].start(self.options.settings, seed, clock);
        let (verdict, start) = of_disk(number, started)?;
        check(verdict)?;
        match start {
            Start::Runs(Some(Torn::Before)) => self.coverage.hit(Happening::TornBefore),
            Start::Runs(Some(Torn::After)) => self.coverage.hit(Happening::TornAfter),
            Start::Runs(None) => {}
            Start::BeforeRecovery => return self.start_empty(number),
            Start::TooOld => {
                self.start_newer(number);
                return Ok(());
            }
        }
        check(self.watch.survived(&self.fleet))?;
        self.say(|world| format!("m{number} starts as {}", world.fleet[number].id));
        self.step(number, Input::Tick)
    }

    /// Faults begin once the first membership is complete.
    pub(super) fn formed(&mut self) {
        if self.phase == Phase::Forming {
            self.phase = Phase::Breaking;
            self.say(|_| "formed: faults may begin".to_owned());
            let first = self.around(self.options.fault_every);
            self.schedule.after(first, Event::Fault);
            self.schedule.after(first, Event::AskRestore);
            self.schedule.after(first, Event::Update);
            if let Some(after) = self.options.disaster_after {
                self.schedule.after(after, Event::Disaster);
            }
            self.schedule.after(self.options.safety_phase, Event::FaultsStop);
        }
    }

    /// A random time around `mean`.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.rng.random_range(0.2..1.8))
    }
}
