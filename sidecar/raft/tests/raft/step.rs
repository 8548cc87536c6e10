//! One step of one member, with everything it puts out carried out and checked.

use quorate_raft::{Epoch, Event, Input, LogId, Output, Persist, Role, ServerId, Status, Term};
use rand::Rng;

use crate::cluster::{Cluster, End, Load};
use crate::disk::Operation;
use crate::invariants::Invariants;

impl Cluster {
    pub(crate) fn step(&mut self, name: &str, inputs: Vec<Input>) {
        let now = self.now;
        let mut inputs = inputs;
        // Applying is instant and reported in a step of its own.
        loop {
            let mut out = Vec::new();
            let member = self.members.get_mut(name).unwrap();
            let Some(raft) = &mut member.raft else { return };
            let before = raft.status();
            raft.step_batch(now, inputs.drain(..), &mut out);
            self.steps += 1;
            for output in out {
                self.handle(name, output, &mut inputs);
            }
            self.check(name, &before);
            if inputs.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn check(&mut self, name: &str, before: &Status) {
        let status = self.status(name);
        self.invariants.status(&status);
        let member = &self.members[name];
        if let Some(term) = member.log.get(&status.commit) {
            self.invariants.committed(&member.id, LogId::new(*term, status.commit));
        }
        let led_before = before.role == Role::Leader && before.term == status.term;
        if let Some(known) = before.latest.as_ref().filter(|_| led_before && before.latest != status.latest) {
            Invariants::reconfigured(known, &status);
        }
        if status.role == Role::Leader && status.is_ready {
            let disks = self.members.values().map(|member| (member.id.clone(), &member.disk)).collect();
            self.invariants.on_quorum(before, &status, &disks);
        }
    }

    pub(crate) fn handle(&mut self, name: &str, output: Output, inputs: &mut Vec<Input>) {
        let now = self.now;
        match output {
            Output::Persist(persist) => self.write(name, persist),
            Output::Send(message) => {
                let member = self.members.get_mut(name).unwrap();
                self.invariants.sent(&message, &member.disk);
                member.sent.push(message.clone());
                self.post(Load::Message(message));
            }
            Output::Apply(apply) => {
                let member = self.members.get_mut(name).unwrap();
                for entry in &apply.entries {
                    member.state.apply(entry);
                    self.invariants.committed(&member.id, entry.id());
                }
                for (index, ticket) in apply.tickets {
                    self.ends.insert(ticket, End::Applied(index));
                }
                inputs.push(Input::Applied { upto: member.state.applied.index });
            }
            Output::ReadLog { reader, from, upto, bytes_max } => {
                self.queue(name, Operation::Read { reader, from, upto, bytes_max });
            }
            Output::Answer { ticket, result } => {
                let end = result.map_or_else(End::Refused, End::Answered);
                assert!(self.ends.insert(ticket, end).is_none(), "a request is answered once");
            }
            Output::SendSnapshot { to, term, epoch, at_least } => {
                self.send_snapshot(name, to, term, epoch, at_least, inputs);
            }
            Output::AdoptSnapshot { .. } => unreachable!("no machine here waits for an archive"),
            Output::DiscardSnapshot { last } => {
                self.members.get_mut(name).unwrap().received.remove(&last);
            }
            Output::Compact { upto } => {
                let member = self.members.get_mut(name).unwrap();
                member.log.retain(|index, _| *index > upto.index);
                member.log_previous = upto;
                self.queue(name, Operation::Compact(upto));
            }
            Output::Event(event) => {
                if let Event::BecameLeader { term } = event {
                    let hard_state = &self.members[name].disk.hard_state;
                    let own_vote = hard_state.vote.as_ref().filter(|_| hard_state.term == term);
                    self.invariants.elected(&self.status(name), term, own_vote);
                }
                let member = self.members.get_mut(name).unwrap();
                let log = &member.log;
                self.invariants.event(&member.id, &event, |index| {
                    let inside = index > member.log_previous.index;
                    inside.then(|| log.get(&index).copied().unwrap_or_default())
                });
                member.events.push(event);
            }
        }
        debug_assert!(self.now == now);
    }

    pub(crate) fn write(&mut self, name: &str, persist: Persist) {
        let member = self.members.get_mut(name).unwrap();
        if let Some(meta) = &persist.install {
            member.log.clear();
            member.log_previous = meta.last;
        }
        if let Some(from) = persist.truncate_from {
            member.log.split_off(&from);
        }
        let last = member
            .log
            .last_key_value()
            .map_or(member.log_previous, |(index, term)| LogId::new(*term, *index));
        self.invariants.wrote(last, &persist.entries);
        member.log.extend(persist.entries.iter().map(|entry| (entry.index, entry.term)));
        self.queue(name, Operation::Persist(persist));
    }

    pub(crate) fn queue(&mut self, name: &str, operation: Operation) {
        let member = self.members.get_mut(name).unwrap();
        let earliest = member.queue.waiting.back().map_or(self.now, |(at, _)| (*at).max(self.now));
        member.queue.waiting.push_back((earliest.plus(member.write_delay), operation));
    }

    pub(crate) fn send_snapshot(
        &mut self,
        name: &str,
        to: ServerId,
        term: Term,
        epoch: Epoch,
        at_least: LogId,
        inputs: &mut Vec<Input>,
    ) {
        let member = &self.members[name];
        let state = member.disk.state.clone();
        assert!(state.applied >= at_least, "a synced state reaches the beginning of the log (K3)");
        let lost = self.is_cut(&member.id, &to) || self.rng.random_bool(self.loss);
        let delivered = (!lost).then_some(state.applied);
        if !lost {
            let (from, state) = (member.id.clone(), Box::new(state));
            self.post(Load::Snapshot { from, to: to.clone(), term, epoch, state });
        }
        inputs.push(Input::SnapshotSent { to, epoch, delivered });
    }
}
