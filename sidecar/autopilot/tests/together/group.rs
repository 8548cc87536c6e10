//! Members with real cores, a network with delays, and autopilot's rounds at each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_autopilot::{Action, Input as RoundInput, Observer, Report, Settings, State, round};
use quorate_raft::{
    Address, Change, ClusterId, Identity, Incarnation, Index, Input, Intent, Message, Now, Output, Payload,
    Raft, RaftId, RecoveryEpoch, RemoveReason, Role, ServerId, Settings as RaftSettings, Suffrage, Term,
    Ticket, Versions,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::addresses::{Addresses, Place};
use super::disk::Disk;

const CLUSTER_ID: ClusterId = ClusterId(1);
const DELAY_MS: std::ops::RangeInclusive<u64> = 1..=15;
const ROUND_EVERY: Duration = Duration::from_secs(1);
const WRITE_EVERY: Duration = Duration::from_millis(700);
/// A member that moves has started within this.
const STARTED_WITHIN_MS: u64 = 5_000;
/// And its name leads to where it is within this.
pub(crate) const NAMED_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn id(name: &str) -> ServerId {
    ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
}

fn address(name: &str) -> Address {
    Address::new(&format!("{name}:7400")).unwrap()
}

struct Member {
    disk: Disk,
    process: Option<Process>,
}

struct Process {
    raft: Raft,
    boot: u64,
    /// When it is to be woken; an earlier word overrides a later one.
    wake_at: Option<Duration>,
    observer: Observer,
    state: Option<State>,
}

enum Event {
    Wake(String, u64),
    Deliver(Box<Message>, Place),
    Start(String),
    Named(String),
    Round(String, u64),
    Write,
}

pub(crate) struct Group {
    pub(crate) now: Duration,
    pub(crate) rng: SmallRng,
    pub(crate) settings: Settings,
    pub(crate) reports: BTreeMap<ServerId, Report>,
    /// Whoever neither hears nor is heard.
    cut: BTreeSet<String>,
    addresses: Addresses,
    /// When something was last committed.
    pub(crate) committed_at: Duration,
    /// When autopilot last removed somebody.
    pub(crate) removed_at: Duration,
    /// When somebody last failed, came back or joined.
    pub(crate) disturbed_at: Duration,
    /// What autopilot did: the words, and when.
    pub(crate) done: Vec<(Duration, String)>,
    pub(crate) tells: bool,
    members: BTreeMap<String, Member>,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    highest_commit: Index,
}

impl Group {
    pub(crate) fn new(seed: u64, settings: Settings, tells: bool) -> Self {
        let mut group = Self {
            now: Duration::from_secs(1),
            rng: SmallRng::seed_from_u64(seed),
            settings,
            reports: BTreeMap::new(),
            cut: BTreeSet::new(),
            addresses: Addresses::default(),
            committed_at: Duration::ZERO,
            disturbed_at: Duration::ZERO,
            removed_at: Duration::ZERO,
            done: Vec::new(),
            tells,
            members: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            highest_commit: Index(0),
        };
        group.after(WRITE_EVERY, Event::Write);
        group
    }

    pub(crate) fn say(&self, text: &str) {
        if self.tells {
            println!("{:>8.2} {text}", self.now.as_secs_f64());
        }
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + pause, self.sequence), event);
    }

    /// Starts the member's process, on the log it left behind.
    pub(crate) fn start(&mut self, name: &str) {
        let seed = self.rng.random();
        let boot = self.rng.random();
        let member = self
            .members
            .entry(name.to_owned())
            .or_insert_with(|| Member { disk: Disk::default(), process: None });
        if member.process.is_some() {
            return;
        }
        let identity = Identity {
            cluster_id: CLUSTER_ID,
            recovery_epoch: RecoveryEpoch(0),
            server: id(name),
            versions: Versions::OURS,
        };
        let stored = member.disk.stored();
        let raft = Raft::new(identity, RaftSettings::default(), stored, seed, Now(self.now)).unwrap();
        member.process =
            Some(Process { raft, boot, wake_at: None, observer: Observer::default(), state: None });
        self.say(&format!("{name} starts"));
        self.disturbed_at = self.now;
        self.after(ROUND_EVERY, Event::Round(name.to_owned(), boot));
        self.step(name, Input::Tick);
    }

    pub(crate) fn kill(&mut self, name: &str) {
        self.say(&format!("{name} dies"));
        self.disturbed_at = self.now;
        self.members.get_mut(name).unwrap().process = None;
    }

    pub(crate) fn cut_off(&mut self, name: &str) {
        self.say(&format!("{name} is cut off"));
        self.disturbed_at = self.now;
        self.cut.insert(name.to_owned());
    }

    /// Whoever was cut off or dead is back.
    pub(crate) fn bring_back(&mut self, name: &str) {
        self.say(&format!("{name} is back"));
        self.disturbed_at = self.now;
        self.cut.remove(name);
        self.start(name);
    }

    /// A32: all servers stop at once, and each starts on its volume at another address, to which its name leads a moment
    /// before or after that.
    pub(crate) fn move_all(&mut self) {
        for name in self.servers().into_keys() {
            self.kill(&name);
            self.addresses.move_away(&name);
            let start = Duration::from_millis(self.rng.random_range(0..STARTED_WITHIN_MS));
            let named = NAMED_WITHIN.mul_f64(self.rng.random());
            self.after(start, Event::Start(name.clone()));
            self.after(named, Event::Named(name));
        }
    }

    pub(crate) fn is_alive(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|member| member.process.is_some()) && !self.cut.contains(name)
    }

    pub(crate) fn bootstrap(&mut self, name: &str) {
        self.start(name);
        let bootstrap = Input::Bootstrap {
            ticket: Ticket(0),
            cluster_id: CLUSTER_ID,
            server: id(name),
            address: address(name),
            mode: quorate_raft::Mode::KeyValue,
        };
        self.step(name, bootstrap);
    }

    /// Asks the leader to add a member; whether it is in the configuration already.
    pub(crate) fn add(&mut self, name: &str, intent: &Intent) -> bool {
        let Some((leader, status)) = self.leader_status() else { return false };
        let Some(latest) = status.latest else { return false };
        if latest.configuration.contains(&id(name)) {
            return true;
        }
        let change = Change::AddNonVoter {
            id: id(name),
            address: address(name),
            intent: intent.clone(),
            versions: Versions::OURS,
        };
        self.step(&leader, Input::ChangeMembership { ticket: Ticket(1), expected: latest.index, change });
        false
    }

    /// Asks the leader to remove a member; whether it is gone already, for good.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some((leader, status)) = self.leader_status() else { return false };
        let Some(latest) = status.latest else { return false };
        if !latest.configuration.contains(&id(name)) {
            return status.committed.is_some_and(|committed| committed.index == latest.index);
        }
        let change = Change::Remove { id: id(name), reason: RemoveReason::Requested };
        self.step(&leader, Input::ChangeMembership { ticket: Ticket(5), expected: latest.index, change });
        false
    }

    /// Members that are in the configuration no more.
    pub(crate) fn removed(&self) -> Vec<String> {
        let servers = self.servers();
        self.members.keys().filter(|name| !servers.contains_key(*name)).cloned().collect()
    }

    /// Who leads, and in which term.
    pub(crate) fn leadership(&self) -> Option<(String, Term)> {
        self.leader_status().map(|(name, status)| (name, status.term))
    }

    /// Whether it leads, or follows somebody.
    pub(crate) fn is_led(&self, name: &str) -> bool {
        let process = self.members.get(name).and_then(|member| member.process.as_ref());
        process.is_some_and(|process| process.raft.status().leader.is_some())
    }

    fn leader_status(&self) -> Option<(String, quorate_raft::Status)> {
        let statuses = self
            .members
            .iter()
            .filter_map(|(name, member)| Some((name.clone(), member.process.as_ref()?.raft.status())));
        statuses
            .filter(|(_, status)| status.role == Role::Leader && status.is_ready)
            .max_by_key(|(_, status)| status.term)
    }

    pub(crate) fn leader(&self) -> Option<String> {
        self.leader_status().map(|(name, _)| name)
    }

    /// The servers of the newest configuration that any disk or process knows, and whether they vote.
    pub(crate) fn servers(&self) -> BTreeMap<String, Suffrage> {
        let latest = self.members.values().filter_map(|member| member.process.as_ref()?.raft.status().latest);
        let newest = latest.max_by_key(|latest| latest.index);
        let servers = newest.map(|latest| latest.configuration.servers().to_vec()).unwrap_or_default();
        servers.into_iter().map(|server| (server.id.raft_id.to_string(), server.suffrage)).collect()
    }

    /// Whether all that live have the same configuration, and know that it is committed.
    pub(crate) fn is_settled(&self) -> bool {
        let alive = self.members.iter().filter(|(name, _)| self.is_alive(name));
        let indexes: BTreeSet<[Option<Index>; 2]> = alive
            .filter_map(|(_, member)| {
                let status = member.process.as_ref()?.raft.status();
                Some([status.latest, status.committed].map(|known| known.map(|known| known.index)))
            })
            .collect();
        indexes.len() == 1 && indexes.iter().all(|[latest, committed]| latest == committed)
    }

    pub(crate) fn state(&self) -> Option<State> {
        let leader = self.leader()?;
        self.members.get(&leader)?.process.as_ref()?.state.clone()
    }

    /// Lets that much time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            match event {
                Event::Wake(name, boot) if self.boot(&name) == Some(boot) => self.wake(&name),
                Event::Deliver(message, place) => self.deliver(*message, place),
                Event::Start(name) => self.start(&name),
                Event::Named(name) => self.addresses.publish(&name),
                Event::Round(name, boot) if self.boot(&name) == Some(boot) => self.round(&name, boot),
                Event::Write => self.write(),
                Event::Wake(..) | Event::Round(..) => {}
            }
        }
        self.now = until;
    }

    fn boot(&self, name: &str) -> Option<u64> {
        Some(self.members.get(name)?.process.as_ref()?.boot)
    }

    fn write(&mut self) {
        self.after(WRITE_EVERY, Event::Write);
        if let Some(leader) = self.leader() {
            self.step(&leader, Input::Propose { ticket: Ticket(2), command: "w".into() });
        }
    }

    fn deliver(&mut self, message: Message, place: Place) {
        let (from, to) = (message.from.raft_id.to_string(), message.to.raft_id.to_string());
        if !self.addresses.reaches(&from, &to, place) {
            self.step(&from, Input::PeerUnreachable(message.to));
        } else if self.is_alive(&to) && !self.cut.contains(&from) {
            self.step(&to, Input::Receive(message));
        }
    }

    fn step(&mut self, name: &str, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            let Some(process) = self.members.get_mut(name).and_then(|member| member.process.as_mut()) else {
                return;
            };
            process.raft.step(Now(self.now), input, &mut outputs);
            for output in outputs {
                self.carry_out(name, output, &mut inputs);
            }
        }
        let Some(process) = self.members.get_mut(name).and_then(|member| member.process.as_mut()) else {
            return;
        };
        let (at, boot) = (process.raft.next_deadline().0.max(self.now), process.boot);
        if process.wake_at.is_none_or(|wake_at| at < wake_at) {
            process.wake_at = Some(at);
            self.after(at.saturating_sub(self.now), Event::Wake(name.to_owned(), boot));
        }
    }

    /// Wakes the member, unless another time was agreed on since.
    fn wake(&mut self, name: &str) {
        let process = self.members.get_mut(name).and_then(|member| member.process.as_mut());
        let Some(process) = process.filter(|process| process.wake_at == Some(self.now)) else { return };
        process.wake_at = None;
        self.step(name, Input::Tick);
    }

    fn carry_out(&mut self, name: &str, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Persist(write) => {
                self.members.get_mut(name).unwrap().disk.write(&write);
                inputs.push_back(Input::Persisted { sequence: write.sequence });
            }
            Output::Send(message) => {
                if !self.cut.contains(name) {
                    let delay = Duration::from_millis(self.rng.random_range(DELAY_MS));
                    let place = self.addresses.look_up(name, message.to.raft_id.as_str());
                    self.after(delay, Event::Deliver(Box::new(message), place));
                }
            }
            Output::Apply(apply) => {
                let upto = apply.entries.last().unwrap().index;
                let is_news = upto > self.highest_commit;
                if is_news && apply.entries.iter().any(|entry| matches!(entry.payload, Payload::Command(_))) {
                    self.committed_at = self.now;
                }
                self.highest_commit = self.highest_commit.max(upto);
                inputs.push_back(Input::Applied { upto });
            }
            Output::ReadLog { reader, from, upto, .. } => {
                let entries = self.members[name].disk.read(from, upto);
                inputs.push_back(Input::LogRead { reader, entries });
            }
            Output::Answer { .. } | Output::Event(_) => {}
            Output::SendSnapshot { .. }
            | Output::DiscardSnapshot { .. }
            | Output::AdoptSnapshot { .. }
            | Output::Compact { .. } => {
                panic!("no log is ever compacted here")
            }
        }
    }

    /// A round of autopilot, as the sidecar's runner makes it.
    fn round(&mut self, name: &str, boot: u64) {
        self.after(ROUND_EVERY, Event::Round(name.to_owned(), boot));
        let now = Now(self.now);
        // Reports arrive from whoever is alive; of the others what they last said is in the replicated state.
        let reports = self.reports.clone();
        let Some(process) = self.members.get_mut(name).and_then(|member| member.process.as_mut()) else {
            return;
        };
        let status = process.raft.status();
        if status.role != Role::Leader || !status.is_ready {
            (process.observer, process.state) = (Observer::default(), None);
            return;
        }
        let input = RoundInput::of(&status, now, BTreeMap::new(), None, true).unwrap().with_reports(reports);
        let done = round(&mut process.observer, &self.settings, &input);
        process.state = Some(done.state);
        for action in done.actions {
            self.act(name, action);
        }
    }

    fn act(&mut self, name: &str, action: Action) {
        let (words, expected, change) = match action {
            Action::Promote { server, expected, term } => {
                let words = format!("promote {}", server.raft_id);
                (words, expected, Change::Promote { id: server, stable_in_term: term })
            }
            Action::Demote { server, expected, .. } => {
                (format!("demote {}", server.raft_id), expected, Change::Demote { id: server })
            }
            Action::Remove { server, expected, .. } => {
                let words = format!("remove {}", server.raft_id);
                (words, expected, Change::Remove { id: server, reason: RemoveReason::Dead })
            }
            Action::Replace { old, server, old_has_left, expected, term } => {
                let words = format!("replace {} by {}", old.raft_id, server.raft_id);
                (words, expected, Change::Replace { old, new: server, stable_in_term: term, old_has_left })
            }
            Action::TransferLeadership { to, .. } => {
                self.tell_done(name, format!("lead {}", to.raft_id));
                self.step(name, Input::TransferLeadership { ticket: Ticket(3), target: Some(to.raft_id) });
                return;
            }
            Action::RaiseVersion { .. } => return,
        };
        self.tell_done(name, words);
        self.step(name, Input::ChangeMembership { ticket: Ticket(4), expected, change });
    }

    fn tell_done(&mut self, name: &str, words: String) {
        self.say(&format!("autopilot of {name}: {words}"));
        if words.starts_with("remove") || words.starts_with("replace") {
            self.removed_at = self.now;
        }
        self.tell(words);
    }

    /// Something that the seeds are to reach has happened.
    pub(crate) fn tell(&mut self, words: String) {
        self.done.push((self.now, words));
    }
}
