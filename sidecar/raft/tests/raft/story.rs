//! The group of a golden story: it does what its members want done, and tells it line by line.
//!
//! Nothing happens by itself: `stories.rs` says what, in words. Disks and machines are done at once
//! unless they are stopped.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use quorate_raft::{
    Answer, Apply, Epoch, Identity, Input, LogId, Message, Now, Output, Persist, Raft, RecoveryEpoch,
    Settings, Term,
};

use crate::cluster::{CLUSTER, id};
use crate::disk::{Disk, State};
use crate::story_text as text;

/// How the line of a message ends that does not arrive.
pub(crate) const LOST: &str = "   (lost)";

#[derive(Default)]
pub(crate) struct Story {
    pub(crate) now: Now,
    pub(crate) settings: Settings,
    pub(crate) members: BTreeMap<String, Actor>,
    pub(crate) wire: VecDeque<Message>,
    /// Snapshots the core asked for, oldest first.
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) requests: u64,
    pub(crate) said: String,
}

pub(crate) struct Actor {
    /// None: it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) seed: u64,
    pub(crate) disk: Disk,
    pub(crate) state: State,
    pub(crate) writes: VecDeque<Work>,
    pub(crate) applies: VecDeque<Apply>,
    pub(crate) received: BTreeMap<LogId, State>,
    pub(crate) is_disk_stopped: bool,
    pub(crate) is_machine_stopped: bool,
}

/// What a disk does in order.
pub(crate) enum Work {
    Persist(Persist),
    Compact(LogId),
}

pub(crate) struct Snapshot {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) term: Term,
    pub(crate) epoch: Epoch,
    pub(crate) state: State,
}

impl Story {
    pub(crate) fn actor(&mut self, name: &str) -> &mut Actor {
        self.members.get_mut(name).expect("a member of the story")
    }

    pub(crate) fn raft(&self, name: &str) -> &Raft {
        self.members[name].raft.as_ref().expect("it runs")
    }

    pub(crate) fn add(&mut self, name: &str, disk: Disk, seed: u64) {
        let actor = Actor {
            raft: None,
            seed,
            state: State::default(),
            disk,
            writes: VecDeque::new(),
            applies: VecDeque::new(),
            received: BTreeMap::new(),
            is_disk_stopped: false,
            is_machine_stopped: false,
        };
        self.members.insert(name.to_owned(), actor);
        self.start(name);
    }

    pub(crate) fn crash(&mut self, name: &str) {
        let actor = self.actor(name);
        actor.raft = None;
        actor.writes.clear();
        actor.applies.clear();
        actor.received.clear();
    }

    pub(crate) fn start(&mut self, name: &str) {
        let (now, settings) = (self.now, self.settings);
        let actor = self.actor(name);
        let identity = Identity {
            cluster_id: CLUSTER,
            recovery_epoch: RecoveryEpoch(0),
            server: id(name),
            versions: quorate_raft::Versions::OURS,
        };
        actor.state = actor.disk.state.clone();
        actor.raft = Some(Raft::new(identity, settings, actor.disk.stored(1_000), actor.seed, now).unwrap());
    }

    // ---- one step of one member

    pub(crate) fn step(&mut self, name: &str, input: Input) {
        let now = self.now;
        let mut out = Vec::new();
        let Some(raft) = &mut self.actor(name).raft else { return self.say(&format!("  {name} is down")) };
        raft.step(now, input, &mut out);
        for output in out {
            self.handle(name, output);
        }
        if !self.members[name].is_disk_stopped {
            while self.work(name) {}
        }
        if !self.members[name].is_machine_stopped {
            self.apply(name);
        }
    }

    pub(crate) fn handle(&mut self, name: &str, output: Output) {
        match output {
            Output::Persist(persist) => {
                if self.members[name].is_disk_stopped {
                    self.say(&format!("  {name} wants written: {}", text::persist(&persist)));
                }
                self.actor(name).writes.push_back(Work::Persist(persist));
            }
            Output::Compact { upto } => {
                self.say(&format!("  {name} drops its log up to {upto}"));
                self.actor(name).writes.push_back(Work::Compact(upto));
            }
            Output::Send(message) => self.wire.push_back(message),
            Output::Apply(apply) => {
                if self.members[name].is_machine_stopped {
                    self.say(&format!("  {name} wants applied: {}", text::entries(&apply.entries)));
                }
                self.actor(name).applies.push_back(apply);
            }
            Output::ReadLog { reader, from, upto, bytes_max } => {
                let entries = self.members[name].disk.read(from, upto, bytes_max);
                self.step(name, Input::LogRead { reader, entries });
            }
            Output::Answer { ticket, result } => {
                let answer = match result {
                    Ok(Answer::Bootstrapped { .. }) => "bootstrapped".to_owned(),
                    Ok(Answer::MembershipChanged { configuration_index }) => {
                        format!("changed, now configuration {configuration_index}")
                    }
                    Ok(Answer::ReadIndex { index }) => format!("read once {index} is applied"),
                    Ok(Answer::Transferred) => "handed over".to_owned(),
                    Err(refusal) => format!("no: {refusal}"),
                };
                self.say(&format!("  {name} answers #{}: {answer}", ticket.0));
            }
            Output::SendSnapshot { to, term, epoch, at_least } => {
                let state = self.members[name].disk.state.clone();
                assert!(state.applied >= at_least, "a synced state reaches the beginning of the log (K3)");
                let (to, last) = (to.raft_id.as_str().to_owned(), state.applied);
                self.say(&format!(
                    "  {name} would send {to} the snapshot {last}: its log begins after {at_least}"
                ));
                self.snapshots.push(Snapshot { from: name.to_owned(), to, term, epoch, state });
            }
            Output::AdoptSnapshot { .. } => unreachable!("no machine here waits for an archive"),
            Output::DiscardSnapshot { last } => {
                self.say(&format!("  {name} does not need the snapshot {last}"));
                self.actor(name).received.remove(&last);
            }
            Output::Event(event) => {
                let latest = self.raft(name).status().latest;
                if let Some(text) = text::event(&event, &id(name), latest.as_ref()) {
                    self.say(&format!("  {name} {text}"));
                }
            }
        }
    }

    /// The disk does the next thing; says whether there was one.
    pub(crate) fn work(&mut self, name: &str) -> bool {
        let actor = self.actor(name);
        let Some(work) = actor.writes.pop_front() else { return false };
        if let (Work::Persist(persist), true) = (&work, actor.is_disk_stopped) {
            let written = text::persist(persist);
            self.say(&format!("  {name} has written: {written}"));
        }
        let actor = self.actor(name);
        let input = match work {
            Work::Persist(persist) => {
                let snapshot = persist.install.as_ref().and_then(|meta| actor.received.remove(&meta.last));
                actor.disk.commit(&persist, snapshot);
                if persist.install.is_some() {
                    actor.applies.clear();
                    actor.state = actor.disk.state.clone();
                }
                Input::Persisted { sequence: persist.sequence }
            }
            Work::Compact(upto) => {
                actor.disk.compact(upto);
                Input::Compacted { first: upto.index.next() }
            }
        };
        self.step(name, input);
        true
    }

    pub(crate) fn persist(&mut self, name: &str, writes: Option<u64>) {
        for _ in 0..writes.unwrap_or(u64::MAX) {
            if !self.work(name) {
                break;
            }
        }
        if writes.is_none() {
            self.actor(name).is_disk_stopped = false;
        }
    }

    pub(crate) fn apply(&mut self, name: &str) {
        while let Some(apply) = self.actor(name).applies.pop_front() {
            for entry in &apply.entries {
                let ticket = apply.tickets.iter().find(|(index, _)| *index == entry.index);
                let who =
                    ticket.map_or_else(String::new, |(_, ticket)| format!(", the answer to #{}", ticket.0));
                self.say(&format!("  {name} applies {}{who}", text::entry(entry)));
                self.actor(name).state.apply(entry);
            }
            let upto = self.members[name].state.applied.index;
            self.step(name, Input::Applied { upto });
        }
    }

    // ---- the wire

    pub(crate) fn stabilize(&mut self, drop: &[String]) {
        while let Some(message) = self.wire.pop_front() {
            self.receive(message, drop);
        }
    }

    pub(crate) fn receive(&mut self, message: Message, drop: &[String]) {
        let (from, to) = (message.from.raft_id.as_str().to_owned(), message.to.raft_id.as_str().to_owned());
        let is_lost = drop.iter().any(|each| *each == format!("{from}-{to}") || *each == from || *each == to);
        let lost = if is_lost { LOST } else { "" };
        self.say(&format!("{from}>{to} term {}: {}{lost}", message.term, text::body(&message.body)));
        if !is_lost {
            self.step(&to, Input::Receive(message));
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.said, "{line}").unwrap();
    }
}
