//! Time and the network: what happens next, and what arrives where.

use std::time::Duration;

use quorate_raft::{Epoch, Input, Now, Raft, ServerId, SnapshotMeta, Term};
use rand::Rng;

use crate::cluster::{Cluster, Load, Packet};
use crate::disk::{Operation, State};

impl Cluster {
    /// Goes to the next thing that happens, at most to `limit`, and lets it happen.
    pub(crate) fn turn(&mut self, limit: Now) {
        let packet = self.packets.iter().map(|packet| packet.at).min();
        let disks =
            self.members.values().filter_map(|member| member.queue.waiting.front()).map(|(at, _)| *at).min();
        let timers =
            self.members.values().filter_map(|member| member.raft.as_ref()).map(Raft::next_deadline).min();
        let next = [packet, disks, timers].into_iter().flatten().min().unwrap_or(limit).min(limit);
        self.now = self.now.max(next);
        self.deliver();
        let names: Vec<&'static str> = self.members.keys().copied().collect();
        for name in names {
            self.complete_disk(name);
            if self.members[name].raft.as_ref().is_some_and(|raft| raft.next_deadline() <= self.now) {
                self.step(name, vec![Input::Tick]);
            }
        }
    }

    pub(crate) fn deliver(&mut self) {
        let now = self.now;
        let (mut due, rest): (Vec<Packet>, Vec<Packet>) =
            self.packets.drain(..).partition(|packet| packet.at <= now);
        self.packets = rest;
        due.sort_by_key(|packet| (packet.at, packet.number));
        for packet in due {
            let to = match &packet.load {
                Load::Message(message) => message.to.clone(),
                Load::Snapshot { to, .. } => to.clone(),
            };
            let Some(name) = self
                .members
                .iter()
                .find(|(_, member)| member.id.raft_id == to.raft_id)
                .map(|(name, _)| *name)
            else {
                continue;
            };
            if !self.is_up(name) {
                continue;
            }
            match packet.load {
                Load::Message(message) => self.step(name, vec![Input::Receive(message)]),
                Load::Snapshot { from, term, epoch, state, .. } => {
                    self.receive_snapshot(name, from, term, epoch, *state);
                }
            }
        }
    }

    pub(crate) fn receive_snapshot(
        &mut self,
        name: &str,
        from: ServerId,
        term: Term,
        epoch: Epoch,
        state: State,
    ) {
        let meta = SnapshotMeta { last: state.applied, configuration: state.configuration.clone().unwrap() };
        self.members.get_mut(name).unwrap().received.insert(state.applied, state);
        self.step(name, vec![Input::SnapshotReceived { from, term, epoch, meta }]);
    }

    pub(crate) fn complete_disk(&mut self, name: &str) {
        loop {
            let now = self.now;
            let member = self.members.get_mut(name).unwrap();
            let Some((_, operation)) = member.queue.waiting.pop_front_if(|(at, _)| *at <= now) else {
                return;
            };
            let input = match operation {
                Operation::Persist(persist) => {
                    let snapshot =
                        persist.install.as_ref().and_then(|meta| member.received.remove(&meta.last));
                    member.disk.commit(&persist, snapshot);
                    if persist.install.is_some() {
                        member.state = member.disk.state.clone();
                    }
                    Input::Persisted { sequence: persist.sequence }
                }
                Operation::Compact(upto) => {
                    member.disk.compact(upto);
                    Input::Compacted { first: member.disk.previous.index.next() }
                }
                Operation::Read { reader, from, upto, bytes_max } => {
                    Input::LogRead { reader, entries: member.disk.read(from, upto, bytes_max) }
                }
            };
            self.step(name, vec![input]);
        }
    }

    pub(crate) fn is_cut(&self, from: &ServerId, to: &ServerId) -> bool {
        self.cut.contains(&(from.clone(), to.clone()))
    }

    pub(crate) fn post(&mut self, load: Load) {
        let (from, to) = match &load {
            Load::Message(message) => (message.from.clone(), message.to.clone()),
            Load::Snapshot { from, to, .. } => (from.clone(), to.clone()),
        };
        if self.is_cut(&from, &to) || self.rng.random_bool(self.loss) {
            return;
        }
        if let Load::Message(message) = &load
            && self.rng.random_bool(self.duplication)
        {
            self.push_packet(Load::Message(message.clone()));
        }
        self.push_packet(load);
    }

    pub(crate) fn push_packet(&mut self, load: Load) {
        let delay = Duration::from_micros(
            self.rng.random_range(self.latency.start * 1_000..self.latency.end * 1_000),
        );
        self.packet_number += 1;
        self.packets.push(Packet { at: self.now.plus(delay), number: self.packet_number, load });
    }
}
