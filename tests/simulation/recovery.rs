//! More volumes than a minority are lost for good, and a person recovers the cluster from a survivor (K18, S28;
//! docs/recovery.md).
//!
//! ```text
//!   disaster ─▶ no quorum anywhere ─▶ all stopped ─▶ the survivor whose log ends last ─▶ recovered ─▶ started, grows again
//!                                                       other survivors: come back as they were, and nobody talks to them
//!                                                       volumes thought lost: come back, and do not start
//! ```
//! What may be lost is what no survivor's log has, and nothing else: to the history it is one write of every key, of what
//! it held after the last applied entry of the log that is gone on with. What the tail of that log brings was never
//! acknowledged, and may appear later.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use quorate_linearizability::{Answer, Operation};
use quorate_raft::{Configuration, Entry, LogId, Payload, RaftId, RecoveryEpoch, ServerId};
use quorate_store::{Recovery, RecoveryRequest};
use rand::Rng;
use rand::seq::SliceRandom;

use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::invariants::{Lost, Verdict};
use super::member::Member;
use super::network::MemberNumber;
use super::world::{Happened, World, check, checked, of_disk};

/// A disaster that cannot come now is tried again after this, and a recovery that was cut.
const RETRY_PAUSE: Duration = Duration::from_millis(300);
/// A person comes within this time.
const PERSON_MS: std::ops::Range<u64> = 200..3_000;
/// How likely power is lost within the recovery.
const CUT: f64 = 0.3;
/// Within so many calls of the disk: its one transaction makes about ten.
const CALLS_UNTIL_CUT: u64 = 25;
/// How likely those that will be left are cut off first, so that the others go on without them.
const CUT_OFF: f64 = 0.6;
/// And for how long.
const CUT_OFF_MS: std::ops::Range<u64> = 100..2_500;
/// Who was recovered grows again, also where nobody changed the membership before.
const GROWS_EVERY: Duration = Duration::from_millis(900);

/// How likely a recovered cluster loses its majority again.
const AGAIN: f64 = 0.3;
/// And after about which time.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A disaster, and what it leaves.
pub struct Disaster {
    survivors: Vec<MemberNumber>,
    /// The others are lost; before that they have only cut the survivors off.
    is_there: bool,
}

/// What recovering a volume came to.
struct Recovered {
    verdict: Verdict,
    /// The entry by which it is recovered; none if it was cut short.
    entry: Option<Entry>,
    /// Its log before that: all of it counts from now on.
    log: Vec<Entry>,
}

impl Member {
    /// Opens a volume that nothing runs on: where its log ends, if it is in the configuration that it knows and has all that
    /// its log needs to be applied.
    fn inspect(&mut self) -> Result<(Verdict, Option<LogId>)> {
        let (verdict, _, opened) = self.open()?;
        let latest = opened.stored.configurations.last();
        let is_member = latest.is_some_and(|latest| latest.configuration.contains(&self.id));
        let is_whole = opened.check_archives()?.is_ok();
        Ok((verdict, (is_member && is_whole).then_some(opened.stored.last)))
    }

    /// Recovers it, as the sidecar does: by the store's own judgement and its one transaction.
    fn recover(&mut self, epoch: RecoveryEpoch) -> Result<Recovered> {
        let (verdict, _, mut opened) = self.open()?;
        let found = opened.directory.identity().recovery_epoch;
        let latest = opened.stored.configurations.last().map(|latest| latest.configuration.clone());
        let others = latest.iter().flat_map(Configuration::voters).filter(|voter| voter.id != self.id);
        let lost: BTreeSet<RaftId> = others.map(|voter| voter.id.raft_id.clone()).collect();
        let fewer = RecoveryRequest { lost: lost.iter().skip(1).cloned().collect(), epoch: Some(epoch) };
        if !lost.is_empty() && fewer.decide(&opened.stored, &self.id, found).is_ok() {
            let verdict = Err(format!("recovery: {} took less than {lost:?} for the lost", self.id.raft_id));
            return Ok(Recovered { verdict, entry: None, log: Vec::new() });
        }
        let request = RecoveryRequest { lost, epoch: Some(epoch) };
        let (previous, last) = (opened.stored.previous.index, opened.stored.last.index);
        let log = opened.log.reader().read(previous.next()..last.next(), u64::MAX)?;
        match request.decide(&opened.stored, &self.id, found) {
            Ok(Recovery::Write { epoch, persist }) => {
                let mut after = self.mirror.clone();
                after.write(&persist);
                let written = opened.log.recover(epoch, &persist);
                if written.is_err() || self.is_dead() {
                    self.torn = Some(after);
                    written?;
                    return Ok(Recovered { verdict, entry: None, log });
                }
                self.mirror = after;
                self.epoch = epoch;
                Ok(Recovered { verdict, entry: persist.entries.first().cloned(), log })
            }
            // A recovery that was cut short had got so far.
            Ok(Recovery::Done) => {
                let LogId { term, index } = opened.stored.last;
                let entry =
                    latest.map(|latest| Entry { term, index, payload: Payload::Configuration(latest) });
                Ok(Recovered { verdict, entry, log })
            }
            Err(refusal) => {
                let verdict = verdict.and(Err(format!("recovery: {} refuses: {refusal}", self.id.raft_id)));
                Ok(Recovered { verdict, entry: None, log })
            }
        }
    }
}

impl World {
    /// Volumes are lost for good, more than a minority.
    pub(super) fn disaster(&mut self) {
        if self.phase != Phase::Breaking || self.disaster.as_ref().is_some_and(|disaster| disaster.is_there) {
            return;
        }
        let planned = self.disaster.take();
        let is_planned = planned.is_some();
        let drawn = planned.map_or_else(|| self.draw_survivors(), |planned| planned.survivors);
        let survivors = if self.can_recover(&drawn) { drawn } else { Vec::new() };
        if survivors.is_empty() {
            self.schedule.after(RETRY_PAUSE, Event::Disaster);
            return;
        }
        if !is_planned && self.rng.random_bool(CUT_OFF) {
            self.say(|_| format!("network: {survivors:?} are cut off, and the others will be lost"));
            let side = survivors.iter().copied().collect();
            self.network.cut(&side, self.fleet.count(), false);
            self.disaster = Some(Disaster { survivors, is_there: false });
            let comes = Duration::from_millis(self.rng.random_range(CUT_OFF_MS));
            self.schedule.after(comes, Event::Disaster);
            return;
        }
        self.coverage.hit(Happening::MajorityLost);
        self.say(|_| format!("a majority is lost for good; left are {survivors:?}"));
        for number in (0..self.fleet.count()).filter(|number| !survivors.contains(number)) {
            self.end_for_good(number);
        }
        self.disaster = Some(Disaster { survivors, is_there: true });
        let comes = Duration::from_millis(self.rng.random_range(PERSON_MS));
        self.schedule.after(comes, Event::Recover);
    }

    /// Servers that are left, too few to elect anybody under any configuration that one of them knows.
    fn draw_survivors(&mut self) -> Vec<MemberNumber> {
        let in_force = self.watch.configurations_in_force(&self.fleet);
        let servers = in_force.iter().flat_map(Configuration::servers);
        let holders: BTreeSet<_> = servers.filter_map(|server| self.fleet.holder_of(&server.id)).collect();
        let mut left: Vec<_> = holders.into_iter().collect();
        left.shuffle(&mut self.rng);
        left.truncate(self.rng.random_range(1..=left.len().max(1)));
        while !left.is_empty() && !self.is_stuck(&left) {
            left.pop();
        }
        left
    }

    /// Whether these, left alone, elect nobody, and one of them can be recovered: it is in the configuration it knows.
    fn can_recover(&self, left: &[MemberNumber]) -> bool {
        let knows_itself = |number: &MemberNumber| {
            let member = &self.fleet[*number];
            let known = self.watch.configurations_known_to(&member.mirror);
            known.last().is_some_and(|latest| latest.contains(&member.id))
        };
        self.is_stuck(left) && left.iter().any(knows_itself)
    }

    fn is_stuck(&self, left: &[MemberNumber]) -> bool {
        let ids: BTreeSet<&ServerId> = left.iter().map(|number| &self.fleet[*number].id).collect();
        let is_minority = |half: &BTreeSet<&ServerId>| {
            half.iter().filter(|voter| ids.contains(**voter)).count() <= half.len() / 2
        };
        let logs =
            left.iter().flat_map(|number| [&self.fleet[*number].mirror, &self.fleet[*number].accepted]);
        logs.flat_map(|log| self.watch.configurations_known_to(log))
            .all(|configuration| configuration.majorities().iter().any(is_minority))
    }

    /// A process ends, and does not come back by itself.
    fn end_for_good(&mut self, number: MemberNumber) {
        self.fleet[number].is_away = true;
        self.fleet[number].paused_until = Duration::ZERO;
        if self.fleet[number].process.is_some() {
            self.fleet[number].kill();
            self.let_connections_end(number);
            self.let_peers_notice(number);
        }
    }

    /// A person stops all that is left, compares, and recovers the survivor whose log ends last.
    pub(super) fn recover(&mut self) -> Happened {
        let Some(disaster) = self.disaster.as_ref().filter(|disaster| disaster.is_there) else {
            return Ok(());
        };
        let survivors = disaster.survivors.clone();
        // Whatever comes between: it may be repeated.
        self.schedule.after(RETRY_PAUSE, Event::Recover);
        for number in &survivors {
            self.end_for_good(*number);
        }
        let mut ends: Vec<(LogId, MemberNumber)> = Vec::new();
        for number in &survivors {
            let inspected = self.fleet[*number].inspect();
            let (verdict, last) = of_disk(*number, inspected)?;
            check(verdict)?;
            if self.fleet[*number].is_dead() {
                return Ok(());
            }
            ends.extend(last.map(|last| (last, *number)));
        }
        let Some((_, chosen)) = ends.iter().max().copied() else {
            self.find_the_lost();
            return Ok(());
        };
        if self.phase == Phase::Breaking && self.rng.random_bool(CUT) {
            self.fleet[chosen].volume.cut_power_after(self.rng.random_range(0..CALLS_UNTIL_CUT));
        }
        let epoch = RecoveryEpoch(self.fleet.epoch.0 + 1);
        let recovered = self.fleet[chosen].recover(epoch);
        let Recovered { verdict, entry, log } = of_disk(chosen, recovered)?;
        check(verdict)?;
        let Some(entry) = entry.filter(|_| !self.fleet[chosen].is_dead()) else {
            self.coverage.hit(Happening::RecoveryCut);
            return Ok(());
        };
        self.coverage.hit(Happening::Recovered);
        self.say(|_| format!("m{chosen} is recovered, by the entry {}", entry.index.0));
        let candidates = ends.iter().map(|(_, number)| &self.fleet[*number].mirror);
        let lost = checked(self.watch.recovered(epoch, &self.fleet[chosen], &entry, candidates))?;
        self.fleet.epoch = epoch;
        self.roll_back(&lost, &log);
        self.let_come_back(chosen, &survivors);
        Ok(())
    }

    /// No survivor can be recovered: the only way out is that the others were not lost after all.
    fn find_the_lost(&mut self) {
        self.coverage.hit(Happening::RecoveryRefused);
        self.say(|_| "nothing can be recovered from what is left: the others are found".to_owned());
        self.disaster = None;
        for number in 0..self.fleet.count() {
            self.fleet[number].is_away = false;
            self.schedule.after(RETRY_PAUSE, Event::Start(number));
        }
    }

    /// To the history: what was applied and is lost has been there up to now, and every key holds what the log that is
    /// gone on with made of it.
    ///
    /// A command that was lost may stand in that log as well, from before its client sent it to the leader that took it:
    /// then it takes effect once more.
    fn roll_back(&mut self, lost: &Lost, log: &[Entry]) {
        for value in self.effects.lose_after(lost.after) {
            self.clients.forget(value);
        }
        let state = self.effects.state(lost.after, self.options.keys);
        self.lockers.forget();
        let undone = self.clients.answer_lost(&lost.commands);
        for (key, value) in state.into_iter().enumerate() {
            let call = self.clients.history.begins(key, Operation::Restore(value));
            self.clients.history.answered(call, Answer::Written);
        }
        self.clients.begin_anew(&undone);
        for entry in log.iter().filter(|entry| entry.index > lost.after) {
            self.clients.may_happen_again(entry, &lost.commands);
        }
        if lost.committed > 0 {
            self.coverage.hit(Happening::WritesLost);
        }
        self.say(|_| format!("{} committed entries after {} are lost", lost.committed, lost.after.0));
    }

    /// The survivor starts; all others start empty, some after they were tried as they are.
    fn let_come_back(&mut self, chosen: MemberNumber, survivors: &[MemberNumber]) {
        self.disaster = None;
        if self.rng.random_bool(AGAIN) {
            let next = self.around(AGAIN_AFTER);
            self.schedule.after(next, Event::Disaster);
        }
        self.administrator.forget_lost_volume();
        let before = self.fleet[chosen].minimum;
        for number in 0..self.fleet.count() {
            self.fleet[number].is_away = false;
            self.fleet[number].minimum = self.fleet.epoch;
            // Together they are no majority of the old cluster; who was thought lost must not start as it is.
            if number != chosen && survivors.contains(&number) && self.rng.random_bool(0.5) {
                self.fleet[number].minimum = before;
            }
            let comes = Duration::from_millis(self.rng.random_range(PERSON_MS));
            self.schedule.after(if number == chosen { RETRY_PAUSE } else { comes }, Event::Start(number));
        }
        if self.options.change_every.is_none() {
            self.options.change_every = Some(GROWS_EVERY);
            self.schedule.after(GROWS_EVERY, Event::Change);
        }
    }

    /// A directory from before the recovery did not start: its member gets an empty one.
    pub(super) fn start_empty(&mut self, number: MemberNumber) -> Happened {
        self.coverage.hit(Happening::BeforeRecoveryTold);
        self.say(|_| format!("m{number} is from before the recovery, and does not start"));
        self.empty(number)
    }

    /// Whoever is missing when faults stop is recovered from first.
    pub(super) fn recover_at_last(&mut self) {
        self.disaster.take_if(|disaster| !disaster.is_there);
        if self.disaster.is_some() {
            self.schedule.after(Duration::ZERO, Event::Recover);
        }
    }
}
