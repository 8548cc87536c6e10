//! A whole group in one thread: virtual time, a network that may do anything, disks that take time.
//!
//! Everything is driven by one seed; the invariants are checked at every output and every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{
    Address, Answer, Change, ClusterId, Configuration, Entry, Epoch, Event, Identity, Incarnation, Index,
    IndexedConfiguration, Input, Intent, LogId, Message, Now, Raft, RaftId, RecoveryEpoch, Refusal, Role,
    Server, ServerId, Settings, Status, Suffrage, Term, Ticket,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::disk::{Disk, Queue, State};
use crate::invariants::Invariants;

pub(crate) const CLUSTER: ClusterId = ClusterId(0xC1);

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Applied(Index),
    Answered(Answer),
    Refused(Refusal),
}

pub(crate) struct Member {
    pub(crate) id: ServerId,
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    pub(crate) queue: Queue,
    pub(crate) write_delay: Duration,
    pub(crate) state: State,
    /// Names of the entries handed to storage, synced or not.
    pub(crate) log: BTreeMap<Index, Term>,
    pub(crate) log_previous: LogId,
    pub(crate) received: BTreeMap<LogId, State>,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<Message>,
}

pub(crate) struct Packet {
    pub(crate) at: Now,
    pub(crate) number: u64,
    pub(crate) load: Load,
}

pub(crate) enum Load {
    Message(Message),
    Snapshot { from: ServerId, to: ServerId, term: Term, epoch: Epoch, state: Box<State> },
}

pub(crate) struct Cluster {
    pub(crate) now: Now,
    pub(crate) rng: SmallRng,
    pub(crate) settings: Settings,
    pub(crate) members: BTreeMap<&'static str, Member>,
    pub(crate) packets: Vec<Packet>,
    pub(crate) packet_number: u64,
    pub(crate) latency: std::ops::Range<u64>,
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) cut: BTreeSet<(ServerId, ServerId)>,
    next_ticket: u64,
    pub(crate) ends: BTreeMap<Ticket, End>,
    pub(crate) invariants: Invariants,
    pub(crate) steps: u64,
    /// Bodies that come along at a restart; the rest is read back from the disk.
    pub(crate) tail_count: usize,
}

pub(crate) fn id(name: &str) -> ServerId {
    ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
}

pub(crate) fn address(name: &str) -> Address {
    Address::new(&format!("{name}.test:7400")).unwrap()
}

pub(crate) fn server(name: &str, suffrage: Suffrage) -> Server {
    Server { id: id(name), address: address(name), suffrage, intent: Intent::Voter }
}

pub(crate) fn configuration(voters: &[&str], non_voters: &[&str]) -> Configuration {
    let voters = voters.iter().map(|name| server(name, Suffrage::Voter));
    let non_voters = non_voters.iter().map(|name| server(name, Suffrage::NonVoter));
    Configuration::new(voters.chain(non_voters).collect()).unwrap()
}

/// A disk as if the group had been bootstrapped with these members.
pub(crate) fn founded(voters: &[&str], non_voters: &[&str], is_member: bool) -> Disk {
    let payload = quorate_raft::Payload::Configuration(configuration(voters, non_voters));
    let entry = Entry { term: Term(1), index: Index(1), payload };
    let hard_state = quorate_raft::HardState { term: Term(1), vote: None, was_member: is_member };
    let state = State::default();
    Disk {
        cluster_id: Some(CLUSTER),
        hard_state,
        commit: Index(1),
        previous: LogId::default(),
        entries: vec![entry],
        state,
    }
}

impl Cluster {
    /// A running group with these voters.
    pub(crate) fn new(seed: u64, voters: &[&'static str]) -> Self {
        Self::with(seed, Settings::default(), voters, &[])
    }

    pub(crate) fn with(
        seed: u64,
        settings: Settings,
        voters: &[&'static str],
        non_voters: &[&'static str],
    ) -> Self {
        let mut cluster = Self::empty(seed, settings);
        for name in voters.iter().chain(non_voters) {
            cluster.add(name, founded(voters, non_voters, true));
        }
        cluster
    }

    pub(crate) fn empty(seed: u64, settings: Settings) -> Self {
        Self {
            now: Now(Duration::from_secs(10)),
            rng: SmallRng::seed_from_u64(seed),
            settings,
            members: BTreeMap::new(),
            packets: Vec::new(),
            packet_number: 0,
            latency: 1..3,
            loss: 0.0,
            duplication: 0.0,
            cut: BTreeSet::new(),
            next_ticket: 0,
            ends: BTreeMap::new(),
            invariants: Invariants::default(),
            steps: 0,
            tail_count: 1_000,
        }
    }

    /// Adds a member with this disk and starts it.
    pub(crate) fn add(&mut self, name: &'static str, disk: Disk) {
        self.invariants.wrote(disk.previous, &disk.entries);
        let member = Member {
            id: id(name),
            raft: None,
            disk,
            queue: Queue::default(),
            write_delay: Duration::from_micros(500),
            state: State::default(),
            log: BTreeMap::new(),
            log_previous: LogId::default(),
            received: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
        };
        self.members.insert(name, member);
        self.start(name);
    }

    pub(crate) fn start(&mut self, name: &str) {
        let (seed, now, tail_count) = (self.rng.random(), self.now, self.tail_count);
        let settings = self.settings;
        let member = self.members.get_mut(name).unwrap();
        member.state = member.disk.state.clone();
        member.log = member.disk.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        member.log_previous = member.disk.previous;
        let identity = Identity {
            cluster_id: CLUSTER,
            recovery_epoch: RecoveryEpoch(0),
            server: member.id.clone(),
            versions: quorate_raft::Versions::OURS,
        };
        let raft = Raft::new(identity, settings, member.disk.stored(tail_count), seed, now).unwrap();
        member.raft = Some(raft);
        self.step(name, Vec::new());
    }

    /// Power off: what was not synced is gone.
    pub(crate) fn crash(&mut self, name: &str) {
        let member = self.members.get_mut(name).unwrap();
        member.raft = None;
        member.queue = Queue::default();
        member.received.clear();
        self.invariants.crashed(&member.id, &member.disk);
    }

    pub(crate) fn is_up(&self, name: &str) -> bool {
        self.members[name].raft.is_some()
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.members[name].raft.as_ref().expect("the member runs").status()
    }

    // ---- requests

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(crate) fn propose(&mut self, name: &str, command: &str) -> Ticket {
        let ticket = self.ticket();
        self.step(name, vec![Input::Propose { ticket, command: Bytes::copy_from_slice(command.as_bytes()) }]);
        ticket
    }

    pub(crate) fn change(&mut self, name: &str, change: Change) -> Ticket {
        let expected = self.status(name).latest.map_or(Index(0), |latest| latest.index);
        self.change_at(name, expected, change)
    }

    pub(crate) fn change_at(&mut self, name: &str, expected: Index, change: Change) -> Ticket {
        let ticket = self.ticket();
        self.step(name, vec![Input::ChangeMembership { ticket, expected, change }]);
        ticket
    }

    pub(crate) fn read(&mut self, name: &str) -> Ticket {
        let ticket = self.ticket();
        self.step(name, vec![Input::ReadIndex { ticket }]);
        ticket
    }

    pub(crate) fn transfer(&mut self, name: &str, target: Option<&str>) -> Ticket {
        let ticket = self.ticket();
        let target = target.map(|target| RaftId::new(target).unwrap());
        self.step(name, vec![Input::TransferLeadership { ticket, target }]);
        ticket
    }

    /// A change that is expected to go through.
    pub(crate) fn must_change(&mut self, change: Change) {
        let leader = self.must_lead();
        let ticket = self.change(leader, change);
        self.until("the change is answered", |cluster| cluster.ends.contains_key(&ticket));
        assert!(matches!(self.ends[&ticket], End::Answered(_)), "{:?}", self.ends[&ticket]);
    }

    pub(crate) fn must_write(&mut self, command: &str) -> Index {
        let leader = self.must_lead();
        let ticket = self.propose(leader, command);
        self.until("the write is applied", |cluster| cluster.ends.contains_key(&ticket));
        match self.ends[&ticket] {
            End::Applied(index) => index,
            ref end => panic!("the write ended as {end:?}"),
        }
    }

    // ---- faults

    pub(crate) fn cut_one_way(&mut self, from: &str, to: &str) {
        self.cut.insert((id(from), id(to)));
    }

    pub(crate) fn isolate(&mut self, name: &str) {
        let others: Vec<&str> = self.members.keys().copied().filter(|other| *other != name).collect();
        for other in others {
            self.cut_one_way(name, other);
            self.cut_one_way(other, name);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// The machine's state is written in one synced transaction (K4).
    pub(crate) fn flush(&mut self, name: &str) {
        let member = self.members.get_mut(name).unwrap();
        let Some(raft) = &member.raft else { return };
        if member.state.applied.index > raft.status().persisted
            || member.state.applied.index <= member.disk.state.applied.index
        {
            return;
        }
        member.disk.state = member.state.clone();
        let applied = member.disk.state.applied;
        self.step(name, vec![Input::DurableApplied { applied }]);
    }

    /// The disk is fast again, for what already waits as well.
    pub(crate) fn speed_up(&mut self, name: &str) {
        let now = self.now;
        let member = self.members.get_mut(name).unwrap();
        member.write_delay = Duration::from_millis(1);
        member.queue.waiting.iter_mut().for_each(|(at, _)| *at = now);
    }

    // ---- waiting

    pub(crate) fn leader(&self) -> Option<&'static str> {
        let leads = |member: &Member| {
            member.raft.as_ref().filter(|raft| raft.role() == Role::Leader).map(|raft| raft.status().term)
        };
        let leaders = self.members.iter().filter_map(|(name, member)| Some((leads(member)?, *name)));
        leaders.max().map(|(_, name)| name)
    }

    /// Waits for a leader that has committed in its term.
    pub(crate) fn must_lead(&mut self) -> &'static str {
        self.until("somebody leads", |cluster| {
            cluster.leader().is_some_and(|leader| cluster.status(leader).is_ready)
        });
        self.leader().unwrap()
    }

    /// Runs until `condition` holds; fails after a virtual minute.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = self.now.plus(Duration::from_mins(1));
        while !condition(self) {
            if self.now >= deadline {
                for name in self.members.keys() {
                    if self.is_up(name) {
                        eprintln!("{:?}", self.status(name));
                    }
                }
                panic!("waited a minute in vain until {what}");
            }
            self.turn(deadline);
        }
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let deadline = self.now.plus(duration);
        while self.now < deadline {
            self.turn(deadline);
        }
    }

    pub(crate) fn run_ms(&mut self, milliseconds: u64) {
        self.run_for(Duration::from_millis(milliseconds));
    }

    /// Every running member has applied the same state.
    pub(crate) fn is_converged(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let status = self.status(leader);
        let Some(latest) = &status.latest else { return false };
        let state = &self.members[leader].state;
        let peers = status
            .peers
            .iter()
            .filter(|peer| self.members.values().any(|member| member.id == peer.id && member.raft.is_some()));
        let is_acknowledged = peers.clone().all(|peer| peer.matched == status.last.index);
        let in_group = |member: &&Member| member.raft.is_some() && latest.configuration.contains(&member.id);
        status.is_ready
            && is_acknowledged
            && state.applied.index == status.last.index
            && self.members.values().filter(in_group).all(|member| member.state == *state)
    }

    pub(crate) fn configuration(&self, name: &str) -> IndexedConfiguration {
        self.status(name).latest.unwrap()
    }
}

pub(crate) fn add(name: &str) -> Change {
    Change::AddNonVoter {
        id: id(name),
        address: address(name),
        intent: Intent::Voter,
        versions: quorate_raft::Versions::OURS,
    }
}

pub(crate) fn remove(name: &str) -> Change {
    Change::Remove { id: id(name), reason: quorate_raft::RemoveReason::Requested }
}
