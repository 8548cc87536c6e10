//! One member alone, spoken to directly: for messages a correct group sends only in rare races.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{
    Body, Entry, Epoch, Event, Identity, Index, Input, LogId, Message, Now, Output, Payload, Persist, Raft,
    RecoveryEpoch, Round, Sequence, ServerId, Settings, Status, Term, Versions,
};

use crate::cluster::{CLUSTER, id};
use crate::disk::{Disk, State};

pub(crate) struct Solo {
    pub(crate) raft: Raft,
    pub(crate) now: Now,
    pub(crate) disk: Disk,
    pub(crate) writes: Vec<Persist>,
    pub(crate) is_disk_stuck: bool,
    /// It takes entries and does not say that it has applied them.
    pub(crate) is_machine_stuck: bool,
    pub(crate) applied: Vec<Entry>,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<Message>,
    pub(crate) others: Vec<Output>,
    pub(crate) snapshot: Option<State>,
}

pub(crate) fn command(term: u64, index: u64, text: &str) -> Entry {
    Entry {
        term: Term(term),
        index: Index(index),
        payload: Payload::Command(Bytes::copy_from_slice(text.as_bytes())),
    }
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), Index(index))
}

/// A member's answer to a heartbeat, whose machine has applied all that it knows to be committed.
pub(crate) fn alive(epoch: Epoch, round: u64, commit: u64) -> Body {
    let (commit, lacks) = (Index(commit), Index(0));
    Body::HeartbeatResponse { epoch, round: Round(round), commit, applied: commit, lacks }
}

fn identity() -> Identity {
    let (recovery_epoch, versions) = (RecoveryEpoch(0), Versions::OURS);
    Identity { cluster_id: CLUSTER, recovery_epoch, server: id("a"), versions }
}

impl Solo {
    /// The member `a` on this disk.
    pub(crate) fn new(disk: Disk) -> Self {
        Self::with(disk, Settings::default())
    }

    pub(crate) fn with(disk: Disk, settings: Settings) -> Self {
        Self::start(disk, settings, identity())
    }

    /// The member `a` on a disk of this recovery epoch.
    pub(crate) fn in_epoch(disk: Disk, recovery_epoch: RecoveryEpoch) -> Self {
        Self::start(disk, Settings::default(), Identity { recovery_epoch, ..identity() })
    }

    /// The member `a`, of a build that speaks these versions.
    pub(crate) fn speaking(disk: Disk, versions: Versions) -> Self {
        Self::start(disk, Settings::default(), Identity { versions, ..identity() })
    }

    fn start(disk: Disk, settings: Settings, identity: Identity) -> Self {
        let now = Now(Duration::from_secs(10));
        let raft = Raft::new(identity, settings, disk.stored(1_000), 1, now).unwrap();
        let mut solo = Self {
            raft,
            now,
            disk,
            writes: Vec::new(),
            is_disk_stuck: false,
            is_machine_stuck: false,
            applied: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            others: Vec::new(),
            snapshot: None,
        };
        solo.step(Input::Tick);
        solo
    }

    pub(crate) fn step(&mut self, input: Input) {
        let (mut out, mut upto) = (Vec::new(), None);
        self.raft.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Persist(persist) => self.writes.push(persist),
                Output::Send(message) => self.sent.push(message),
                Output::Apply(apply) => {
                    upto = apply.entries.last().map(|entry| entry.index);
                    self.applied.extend(apply.entries);
                }
                Output::Event(event) => self.events.push(event),
                other => self.others.push(other),
            }
        }
        if !self.is_disk_stuck {
            self.sync();
        }
        if let Some(upto) = upto.filter(|_| !self.is_machine_stuck) {
            self.step(Input::Applied { upto });
        }
    }

    /// Everything written so far reaches the disk, one write after the other.
    pub(crate) fn sync(&mut self) {
        while !self.writes.is_empty() {
            let persist = self.writes.remove(0);
            self.disk.commit(&persist, self.snapshot.clone());
            self.persisted(persist.sequence);
        }
    }

    fn persisted(&mut self, sequence: Sequence) {
        let stuck = std::mem::replace(&mut self.is_disk_stuck, true);
        self.step(Input::Persisted { sequence });
        self.is_disk_stuck = stuck;
    }

    /// Says something to the member and returns what it says because of that.
    pub(crate) fn hear(&mut self, from: &str, term: u64, body: Body) -> Vec<Body> {
        self.hear_from(id(from), term, body)
    }

    pub(crate) fn hear_from(&mut self, from: ServerId, term: u64, body: Body) -> Vec<Body> {
        self.sent.clear();
        self.step(Input::Receive(Message::new(from, id("a"), Term(term), body)));
        self.said()
    }

    pub(crate) fn said(&mut self) -> Vec<Body> {
        self.sent.drain(..).map(|message| message.body).collect()
    }

    pub(crate) fn status(&self) -> Status {
        self.raft.status()
    }

    /// Lets time pass to the next deadline, and past it.
    pub(crate) fn tick(&mut self) {
        self.now = self.now.max(self.raft.next_deadline());
        self.step(Input::Tick);
    }

    pub(crate) fn wait(&mut self, milliseconds: u64) {
        let end = self.now.plus(Duration::from_millis(milliseconds));
        while self.raft.next_deadline() < end {
            self.tick();
        }
        self.now = end;
    }

    /// Makes it leader of a group in which `voters` say yes to everything it asks.
    pub(crate) fn elect(&mut self, voters: &[&str]) {
        while self.status().role != quorate_raft::Role::Candidate {
            self.tick();
            let proposed = self.status().term.next();
            let term = self.status().term.0;
            for voter in voters {
                self.hear(voter, term, Body::PreVoteResponse { proposed, granted: true });
            }
        }
        for voter in voters {
            let term = self.status().term.0;
            self.hear(voter, term, Body::VoteResponse { granted: true });
        }
        assert_eq!(self.status().role, quorate_raft::Role::Leader);
    }
}
