//! One turn of a member: its core takes an input, and what it wants done is carried out at once.
//!
//! What takes time (a commit, a message, a snapshot) is scheduled; what the sidecar does in the same turn (apply,
//! read the log) is done here. The process may end in the middle: then nothing more of its outputs is done.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::anyhow;
use quorate_raft::{
    Answer, Apply, Event as CoreEvent, Index, Input, Message, Now, Output, Persist, Refusal, ServerId, Ticket,
};
use rand::Rng;

use super::coverage::Happening;
use super::event::Event;
use super::hello::Hello;
use super::member::Committed;
use super::network::MemberNumber;
use super::process::{Applied, Process};
use super::requests::Waiting;
use super::world::{Happened, World, check, checked, of_disk};

/// A flush begins within this time once it is due.
const FLUSH_WITHIN_MS: u64 = 200;
/// A flush that is ahead of its log is tried again after this.
const FLUSH_RETRY_PAUSE: Duration = Duration::from_millis(5);
/// How likely a message that cannot arrive makes the sender notice that the connection broke.
const BROKEN_CONNECTION_NOTICED: f64 = 0.1;

impl World {
    pub(super) fn deliver(&mut self, to: MemberNumber, hello: Hello, message: Message) -> Happened {
        let Some(process) = &self.fleet[to].process else { return Ok(()) };
        if let Err(refusal) = process.admits(hello) {
            self.refused(refusal);
            return Ok(());
        }
        self.coverage.hit(Happening::Message);
        if message.to != self.fleet[to].id {
            self.coverage.hit(Happening::MessageForAnother);
        }
        self.say(|_| format!("{} {} → {}", message.body.name(), message.from.raft_id, message.to.raft_id));
        self.step(to, Input::Receive(message))
    }

    pub(super) fn wake(&mut self, member: MemberNumber) -> Happened {
        let now = self.schedule.now();
        let Some(process) = &mut self.fleet[member].process else { return Ok(()) };
        if process.wake_at.is_none_or(|wake_at| wake_at > now) {
            // It was to wake up now, and was told another time since.
            return Ok(());
        }
        process.wake_at = None;
        self.say(|_| format!("m{member} wakes"));
        self.step(member, Input::Tick)
    }

    pub(super) fn unreachable(&mut self, member: MemberNumber, peer: ServerId) -> Happened {
        self.coverage.hit(Happening::Unreachable);
        self.say(|_| format!("m{member} cannot reach {}", peer.raft_id));
        if let Some(process) = &mut self.fleet[member].process
            && process.connections.remove(&peer).is_some()
        {
            self.step(member, Input::PeerVersions { id: peer.clone(), versions: None })?;
        }
        self.step(member, Input::PeerUnreachable(peer))
    }

    pub(super) fn peer_gone(&mut self, member: MemberNumber, peer: ServerId) -> Happened {
        self.coverage.hit(Happening::PeerGone);
        self.say(|_| format!("m{member} finds the process of {} gone", peer.raft_id));
        self.step(member, Input::ProcessGone(peer))
    }

    pub(super) fn commit(&mut self, number: MemberNumber) -> Happened {
        let committed = self.fleet[number].commit();
        let Committed { sequence, moved } = of_disk(number, committed)?;
        // An install has moved the machine.
        if moved.is_some() {
            self.measure_anew(number)?;
        }
        self.finish_reads(number)?;
        if let Some(sequence) = sequence {
            self.say(|_| format!("m{number} committed its write {}", sequence.0));
            self.step(number, Input::Persisted { sequence })?;
        }
        moved.map_or(Ok(()), |applied| self.moved(number, applied))
    }

    /// A machine begins to flush, unless it does already.
    pub(super) fn flush(&mut self, number: MemberNumber) {
        let takes = self.fleet[number].sync_time(self.options.flush_takes, &mut self.rng);
        let boot = self.fleet.boot(number);
        if let Some(upto) = self.fleet[number].process.as_mut().and_then(Process::begin_flush) {
            self.schedule.after(takes, Event::FlushEnds(boot, upto));
        }
    }

    pub(super) fn flush_ends(&mut self, number: MemberNumber, upto: Index) -> Happened {
        let is_under_way =
            self.fleet[number].process.as_ref().is_some_and(|process| process.is_flushing(upto));
        if !is_under_way {
            return Ok(());
        }
        let flushed = self.fleet[number].end_flush();
        let Some(applied) = of_disk(number, flushed)? else {
            self.coverage.hit(Happening::FlushWaited);
            let boot = self.fleet.boot(number);
            self.schedule.after(FLUSH_RETRY_PAUSE, Event::FlushEnds(boot, upto));
            return Ok(());
        };
        self.coverage.hit(Happening::Flushed);
        let is_behind = self.fleet[number].process.as_ref().is_some_and(|process| process.applied() > upto);
        if is_behind {
            self.coverage.hit(Happening::FlushBehind);
        }
        self.say(|_| format!("m{number} flushed its state up to {}", applied.index.0));
        self.sweep(number, applied)?;
        self.step(number, Input::DurableApplied { applied })
    }

    /// Lets a core step, carries out its outputs, and lets every invariant look.
    pub(super) fn step(&mut self, number: MemberNumber, input: Input) -> Happened {
        let world_now = self.schedule.now();
        let mut inputs = VecDeque::from([input]);
        let mut outputs = Vec::new();
        while let Some(input) = inputs.pop_front() {
            let member = &mut self.fleet[number];
            let is_dead = member.is_dead();
            let Some(process) = member.process.as_mut().filter(|_| !is_dead) else { return Ok(()) };
            let now = Now(process.clock.at(world_now));
            process.raft.step(now, input, &mut outputs);
            for output in outputs.drain(..) {
                // The process ended within what was asked before.
                if self.fleet[number].is_dead() {
                    return Ok(());
                }
                self.carry_out(number, output, &mut inputs)?;
            }
        }
        check(self.watch.look(number, &mut self.fleet))?;
        self.schedule_wake(number);
        self.keep_sessions(number)
    }

    fn carry_out(&mut self, number: MemberNumber, output: Output, inputs: &mut VecDeque<Input>) -> Happened {
        match output {
            Output::Persist(write) => self.persist(number, write)?,
            Output::Send(message) => self.send(number, &message)?,
            Output::Apply(apply) => inputs.extend(self.apply(number, apply)?),
            Output::ReadLog { reader, from, upto, bytes_max } => {
                let Some(process) = &self.fleet[number].process else { return Ok(()) };
                let read = process.read_log(from, upto, bytes_max);
                let entries = of_disk(number, read)?;
                self.coverage.hit(Happening::LogRead);
                inputs.push_back(Input::LogRead { reader, entries });
            }
            Output::Answer { ticket, result } => self.answered(number, ticket, result)?,
            Output::SendSnapshot { to, term, epoch, at_least } => {
                self.send_snapshot(number, (to, term, epoch), at_least, inputs)?;
            }
            Output::DiscardSnapshot { last } => {
                let Some(process) = &self.fleet[number].process else { return Ok(()) };
                let discarded = process.discard_snapshot(last);
                of_disk(number, discarded)?;
                self.coverage.hit(Happening::SnapshotDiscarded);
            }
            Output::AdoptSnapshot { last } => self.adopt_snapshot(number, last)?,
            Output::Compact { upto } => {
                let compacted = self.fleet[number].compact(upto);
                if let Some(first) = of_disk(number, compacted)? {
                    self.coverage.hit(Happening::Compacted);
                    inputs.push_back(Input::Compacted { first });
                }
            }
            Output::Event(event) => {
                self.core_event(number, &event)?;
                if matches!(event, CoreEvent::ConfigurationChanged { .. }) {
                    inputs.extend(self.dial_anew(number));
                }
            }
        }
        Ok(())
    }

    fn persist(&mut self, number: MemberNumber, write: Persist) -> Happened {
        if write.truncate_from.is_some() {
            self.coverage.hit(Happening::Truncated);
        }
        check(self.watch.writes(&self.fleet[number], &write))?;
        self.fleet[number].queue(write);
        self.commit_soon(number);
        Ok(())
    }

    /// A commit of what is queued begins, unless one is under way, which takes it over.
    pub(super) fn commit_soon(&mut self, number: MemberNumber) {
        let took = self.fleet[number].sync_time(self.options.sync, &mut self.rng);
        let boot = self.fleet.boot(number);
        if let Some(process) = &mut self.fleet[number].process
            && !process.is_committing
        {
            process.is_committing = true;
            self.schedule.after(took, Event::Commit(boot));
        }
    }

    fn send(&mut self, from: MemberNumber, message: &Message) -> Happened {
        check(self.watch.sends(message, &self.fleet[from].mirror))?;
        let Some(to) = self.fleet.place_of(&message.to) else { return Ok(()) };
        let Some(hello) = self.fleet[from].process.as_ref().map(|process| process.hello) else {
            return Ok(());
        };
        let boot = self.fleet.boot(from);
        let refusal = self.refusal((from, to));
        let is_lost_for_sure =
            self.network.is_cut((from, to)) || self.fleet[to].process.is_none() || refusal.is_some();
        if is_lost_for_sure && self.rng.random_bool(BROKEN_CONNECTION_NOTICED) {
            self.schedule.after(Duration::ZERO, Event::Unreachable(boot, message.to.clone()));
        }
        if let Some(refusal) = refusal {
            self.refused(refusal);
            return Ok(());
        }
        for delay in self.arrivals((from, to)) {
            self.schedule.after(delay, Event::Deliver(to, hello, message.clone()));
        }
        if !is_lost_for_sure {
            self.connect(from, &message.to);
        }
        Ok(())
    }

    /// After how long what one member says to another arrives: not at all, once or twice.
    pub(super) fn arrivals(&mut self, link: (MemberNumber, MemberNumber)) -> Vec<Duration> {
        let chance = (&mut self.rng, &mut self.coverage);
        self.network.arrivals(link, self.schedule.now(), &self.options.network, chance)
    }

    /// What the core is told of it: nothing while a restore is waited for.
    pub(super) fn apply(&mut self, number: MemberNumber, apply: Apply) -> anyhow::Result<Vec<Input>> {
        let Some(process) = &mut self.fleet[number].process else { return Err(anyhow!("nobody applies")) };
        let was_restoring = process.restoring.is_some();
        let result = process.apply(apply);
        let upto = process.applied();
        let restoring = process.restoring.as_ref().map(|restoring| restoring.entry.id());
        let applied = of_disk(number, result)?;
        if let Some(at) = restoring.filter(|_| !was_restoring) {
            self.say(|_| format!("m{number}: the turn of the restore {} has come", at.index.0));
            let takes = self.fleet[number].sync_time(self.options.sync, &mut self.rng);
            self.schedule.after(takes, Event::Restore(self.fleet.boot(number), at));
        }
        let begun = restoring.filter(|_| !was_restoring).map(|at| Input::Restoring { at: at.index });
        if applied.is_empty() {
            return Ok(begun.into_iter().collect());
        }
        for one in &applied {
            self.note_applied(number, one)?;
        }
        for one in applied {
            if let Some(ticket) = one.ticket {
                self.applied(number, ticket, one.outcome);
            }
        }
        self.finish_reads(number)?;
        if self.rng.random_bool(self.options.flush) {
            let delay = Duration::from_millis(self.rng.random_range(0..FLUSH_WITHIN_MS));
            let boot = self.fleet.boot(number);
            self.schedule.after(delay, Event::Flush(boot));
        }
        Ok(std::iter::once(Input::Applied { upto }).chain(begun).collect())
    }

    /// A machine applied an entry.
    pub(super) fn note_applied(&mut self, number: MemberNumber, applied: &Applied) -> Happened {
        let epoch = self.fleet[number].epoch;
        let is_new = checked(self.watch.applies(epoch, applied, self.schedule.now(), &mut self.coverage))?;
        if is_new {
            self.effects.applied(applied, &self.archives);
        }
        Ok(())
    }

    /// A core answered somebody.
    fn answered(
        &mut self,
        number: MemberNumber,
        ticket: Ticket,
        result: Result<Answer, Refusal>,
    ) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let index = match result {
            Ok(Answer::ReadIndex { index }) => Some(index),
            _ => None,
        };
        match process.waiting.remove(&ticket) {
            Some(Waiting::Call(attempt)) => {
                if let Err(refusal) = result {
                    self.refuse(number, attempt, &refusal);
                }
            }
            Some(Waiting::Index { floor, whom }) => {
                check(index.map_or(Ok(()), |index| {
                    self.watch.gives_read_index(&self.fleet[number].id, floor, index)
                }))?;
                self.give_index(number, whom, index)?;
            }
            Some(Waiting::Restore) => {
                if let Err(refusal) = result {
                    self.restore_ends(number, Some(&refusal));
                }
            }
            Some(Waiting::Renewal(renewing)) => self.renewal_confirmed(number, renewing, index)?,
            Some(Waiting::Lead(term)) => self.leads_surely(number, term, index),
            Some(Waiting::End(term, clock)) => {
                if let Err(refusal) = result {
                    self.end_refused(number, (term, clock), &refusal);
                }
            }
            None => self.administrator_hears(ticket, result),
        }
        Ok(())
    }

    fn core_event(&mut self, number: MemberNumber, event: &CoreEvent) -> Happened {
        self.say(|world| format!("{}: {event:?}", world.fleet[number].id.raft_id));
        let member = &self.fleet[number];
        match event {
            CoreEvent::BecameLeader { term } => {
                self.coverage.hit(Happening::Election);
                check(self.watch.leads(member, *term))?;
            }
            CoreEvent::TookOverEarly { .. } => self.coverage.hit(Happening::EarlyElection),
            CoreEvent::ConfigurationChanged { .. } if member.is_joint() => {
                self.coverage.hit(Happening::JointEntered);
            }
            CoreEvent::VersionTooNew { .. } => self.coverage.hit(Happening::TooNewTold),
            CoreEvent::SteppedDown { .. } => self.coverage.hit(Happening::StepDown),
            CoreEvent::SnapshotInstalled { .. } => self.coverage.hit(Happening::SnapshotInstalled),
            CoreEvent::Removed { .. } => self.coverage.hit(Happening::Removed),
            // A slot may have got a new volume meanwhile; anything else that is invalid is a defect of the sender.
            CoreEvent::InvalidMessage { from, problem }
                if *problem != quorate_raft::InvalidMessage::WrongReceiver =>
            {
                let (from, to) = (&from.raft_id, &member.id.raft_id);
                return check(Err(format!("valid messages: {from} sent {to} one with {problem:?}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn schedule_wake(&mut self, number: MemberNumber) {
        let boot = self.fleet.boot(number);
        if let Some(process) = &mut self.fleet[number].process {
            let at = process.clock.when(process.raft.next_deadline().0);
            if process.wake_at.is_none_or(|wake_at| at < wake_at) {
                process.wake_at = Some(at);
                self.schedule.at(at, Event::Wake(boot));
            }
        }
    }
}
