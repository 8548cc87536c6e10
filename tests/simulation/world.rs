//! The run: takes the next event, lets a core step, carries out what it wants, and lets every invariant look.
//!
//! ```text
//!   schedule ──event──▶ core.step ──outputs──▶ storage, network, machine, clients ──▶ new events
//!                           └──▶ invariants, after every step
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use quorate_raft::{
    Event as CoreEvent, Index, IndexedConfiguration, Input, LogId, Message, Now, Output, Role, ServerId,
    Settings, Status,
};
use rand::Rng;
use rand::rngs::SmallRng;

use super::client::Client;
use super::invariants::{Commitment, ElectionSafety, LogMatching, MachineSafety, Promises, Verdict};
use super::member::Member;
use super::mirror::Mirror;
use super::network::{MemberNumber, Network};
use super::options::Options;
use super::schedule::Schedule;
use super::snapshot::Transfer;
use super::trace::Trace;

/// What happens next.
pub enum Event {
    /// A message arrives.
    Deliver(Message),
    /// A core asked to be woken.
    Wake(Boot),
    /// A commit ends.
    Commit(Boot),
    /// A machine flushes.
    Flush(Boot),
    /// A snapshot arrives, or what is left of it.
    Snapshot(Box<Transfer>),
    /// A client makes its next call.
    ClientCalls(usize),
    /// A client loses patience with a call.
    ClientGivesUp(CallNumber),
    /// Something breaks or heals.
    Fault,
    /// Somebody changes the membership.
    Change,
    /// A member's process starts.
    Start(MemberNumber),
    /// Faults stop; from now on the cluster must converge.
    FaultsStop,
    /// Has it converged?
    Converged,
}

/// One process of a member: events of earlier ones are void.
#[derive(Clone, Copy)]
pub struct Boot {
    /// Whose.
    pub member: MemberNumber,
    /// Which start of it.
    pub boot: u64,
}

/// One call of a client.
#[derive(Clone, Copy)]
pub struct CallNumber {
    /// Whose.
    pub client: usize,
    /// Which of its calls.
    pub call: u64,
}

/// Everything there is.
pub struct World {
    pub(super) options: Options,
    pub(super) settings: Settings,
    pub(super) rng: SmallRng,
    pub(super) schedule: Schedule<Event>,
    pub(super) network: Network,
    pub(super) members: Vec<Member>,
    pub(super) clients: Vec<Client>,
    pub(super) trace: Trace,
    pub(super) report: Report,
    /// When faults stopped.
    pub(super) faults_stopped: Option<Duration>,
    /// The whole membership was formed once; until then nothing breaks.
    pub(super) is_formed: bool,
    /// The server whose volume was lost, until it has left the configuration.
    pub(super) lost_volume: Option<ServerId>,
    /// What lost volumes held: an acknowledgement on its way when its disk is lost still counts.
    pub(super) lost: BTreeMap<ServerId, Mirror>,
    pub(super) tickets: u64,
    pub(super) volumes: u64,
    elections: ElectionSafety,
    matching: LogMatching,
    commitment: Commitment,
    machines: MachineSafety,
    promises: Promises,
}

/// What a run amounted to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events that happened.
    pub steps: u64,
    /// Terms with a leader.
    pub elections: usize,
    /// The last committed index.
    pub committed: u64,
    /// Writes acknowledged to clients.
    pub acknowledged: u64,
    /// Reads answered to clients.
    pub reads: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Changes of membership and transfers that were asked for.
    pub changes: u64,
    /// Snapshots installed.
    pub snapshots: u64,
    /// Equal for equal runs.
    pub digest: u64,
}

/// What an event may come to: the broken invariant in words, or an error of the simulation's own parts.
pub type Happened = Result<()>;

/// A broken invariant, in words.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Broken {}

/// Makes a broken invariant the end of the run.
pub(super) fn check(verdict: Verdict) -> Happened {
    verdict.map_err(|broken| Broken(broken).into())
}

impl World {
    /// The world of `options` before its first event.
    pub fn new(options: Options, rng: SmallRng, prints: bool) -> Result<Self> {
        let settings = Settings {
            retention_bytes: options.retention_bytes,
            retention_bytes_max: options.retention_bytes * 4,
            ..Settings::default()
        };
        let clients = (0..options.clients).map(|_| Client::default()).collect();
        let mut world = Self {
            options,
            settings,
            rng,
            schedule: Schedule::default(),
            network: Network::default(),
            members: Vec::new(),
            clients,
            trace: Trace::new(prints),
            report: Report::default(),
            faults_stopped: None,
            is_formed: false,
            lost_volume: None,
            lost: BTreeMap::new(),
            tickets: 0,
            volumes: 0,
            elections: ElectionSafety::default(),
            matching: LogMatching::default(),
            commitment: Commitment::default(),
            machines: MachineSafety::default(),
            promises: Promises::default(),
        };
        world.begin()?;
        Ok(world)
    }

    fn begin(&mut self) -> Happened {
        // One more than the first configuration: somebody to add.
        for number in 0..=self.options.members {
            self.volumes += 1;
            self.members.push(Member::new(number, self.volumes, &mut self.rng)?);
            self.schedule.after(Duration::ZERO, Event::Start(number));
        }
        for client in 0..self.clients.len() {
            self.schedule.after(Duration::from_secs(1), Event::ClientCalls(client));
        }
        self.schedule.after(Duration::from_millis(100), Event::Change);
        Ok(())
    }

    /// Lets the next event happen. False when the run is over.
    pub fn advance(&mut self) -> Result<bool> {
        let event = self.schedule.advance().context("nothing is scheduled any more")?;
        self.report.steps += 1;
        let goes_on = self.happen(event);
        let without_power = |member: &Member| member.process.is_some() && member.lost_power();
        match self.members.iter().position(without_power) {
            // Whatever its disk could not do then is no error, but the end of the process.
            Some(number) if goes_on.as_ref().err().is_none_or(|error| !error.is::<Broken>()) => {
                self.members[number].crash(&mut self.rng);
                self.after_crash(number, "lost power");
                Ok(true)
            }
            _ => goes_on,
        }
    }

    fn happen(&mut self, event: Event) -> Result<bool> {
        match event {
            Event::Deliver(message) => self.deliver(message)?,
            Event::Wake(boot) if self.lives(boot) => self.wake(boot.member)?,
            Event::Commit(boot) if self.lives(boot) => self.commit(boot.member)?,
            Event::Flush(boot) if self.lives(boot) => self.flush(boot.member)?,
            // Of a process that is gone.
            Event::Wake(_) | Event::Commit(_) | Event::Flush(_) => {}
            Event::Snapshot(transfer) => self.snapshot_arrives(*transfer)?,
            Event::ClientCalls(client) => self.client_calls(client)?,
            Event::ClientGivesUp(call) => self.client_gives_up(call),
            Event::Fault => self.fault(),
            Event::Change => self.change()?,
            Event::Start(member) => self.start(member)?,
            Event::FaultsStop => self.stop_faults(),
            Event::Converged => return self.has_converged().map(|converged| !converged),
        }
        Ok(true)
    }

    /// What it amounted to so far.
    pub fn report(&self) -> Report {
        Report {
            elections: self.elections.terms(),
            committed: self.commitment.last().0,
            digest: self.trace.digest(),
            ..self.report.clone()
        }
    }

    /// The newest lines of the trace.
    pub fn newest(&self) -> impl Iterator<Item = &str> {
        self.trace.newest()
    }

    /// The present.
    pub fn now(&self) -> Duration {
        self.schedule.now()
    }

    fn lives(&self, boot: Boot) -> bool {
        let member = &self.members[boot.member];
        member.boots == boot.boot && member.process.is_some()
    }

    fn deliver(&mut self, message: Message) -> Happened {
        let Some(to) = self.slot_of(&message.to) else { return Ok(()) };
        if self.members[to].process.is_none() {
            return Ok(());
        }
        self.say(&format!("{} {} → {}", message.body.name(), message.from.raft_id, message.to.raft_id));
        self.step(to, Input::Receive(message))
    }

    fn wake(&mut self, member: MemberNumber) -> Happened {
        if let Some(process) = &mut self.members[member].process {
            process.wake_at = None;
        }
        self.step(member, Input::Tick)
    }

    fn commit(&mut self, number: MemberNumber) -> Happened {
        let power_fails = self.breaks_now(0.004);
        let Some(writes) = self.members[number].commit(&mut self.rng, power_fails)? else {
            self.after_crash(number, "lost power within a commit");
            return Ok(());
        };
        let Some(last) = writes.last() else { return Ok(()) };
        self.step(number, Input::Persisted { sequence: last.sequence })
    }

    fn flush(&mut self, number: MemberNumber) -> Happened {
        let Some(process) = &mut self.members[number].process else { return Ok(()) };
        let Some(applied) = process.flush()? else { return Ok(()) };
        self.step(number, Input::DurableApplied { applied })
    }

    /// Lets a core step, carries out its outputs, and looks at what came of it.
    pub(super) fn step(&mut self, number: MemberNumber, input: Input) -> Happened {
        let now = Now(self.schedule.now());
        let mut inputs = VecDeque::from([input]);
        let mut outputs = Vec::new();
        while let Some(input) = inputs.pop_front() {
            let Some(process) = &mut self.members[number].process else { return Ok(()) };
            process.raft.step(now, input, &mut outputs);
            for output in outputs.drain(..) {
                self.carry_out(number, output, &mut inputs)?;
            }
        }
        self.look(number)?;
        self.schedule_wake(number);
        Ok(())
    }

    fn carry_out(&mut self, number: MemberNumber, output: Output, inputs: &mut VecDeque<Input>) -> Happened {
        match output {
            Output::Persist(write) => {
                for entry in &write.entries {
                    let previous = self.members[number].term_before(&write, entry.index).unwrap_or_default();
                    check(self.matching.written(entry, previous))?;
                }
                self.members[number].queue(write);
                self.schedule_commit(number);
            }
            Output::Send(message) => {
                check(self.promises.sent(&message, &self.members[number].mirror))?;
                self.send(number, &message);
            }
            Output::Apply(apply) => {
                let Some(process) = &mut self.members[number].process else { return Ok(()) };
                let (answered, verdict) = process.apply(apply, &mut self.machines)?;
                check(verdict)?;
                inputs.push_back(Input::Applied { upto: process.applied() });
                for (ticket, is_done) in answered {
                    self.applied(ticket, is_done);
                }
                self.finish_reads(number)?;
                self.schedule_flush(number);
            }
            Output::ReadLog { reader, from, upto, bytes_max } => {
                let Some(process) = &self.members[number].process else { return Ok(()) };
                let entries = process.read_log(from, upto, bytes_max)?;
                inputs.push_back(Input::LogRead { reader, entries });
            }
            Output::Answer { ticket, result } => self.answered(ticket, result)?,
            Output::SendSnapshot { to, term, epoch, at_least } => {
                self.send_snapshot(number, (to, term, epoch), at_least, inputs)?;
            }
            Output::DiscardSnapshot { last } => {
                if let Some(process) = &self.members[number].process {
                    process.discard_snapshot(last)?;
                }
            }
            Output::Compact { upto } => {
                if let Some(first) = self.members[number].compact(upto)? {
                    inputs.push_back(Input::Compacted { first });
                }
            }
            Output::Event(event) => self.event(number, &event)?,
        }
        Ok(())
    }

    fn event(&mut self, number: MemberNumber, event: &CoreEvent) -> Happened {
        let member = &self.members[number];
        self.say(&format!("{}: {event:?}", member.id.raft_id));
        let member = &self.members[number];
        match event {
            CoreEvent::BecameLeader { term } => {
                check(self.elections.leads(&member.id, *term))?;
                check(self.commitment.leader_is_complete(&member.id, *term, &member.accepted))
            }
            CoreEvent::SnapshotInstalled { .. } => {
                self.report.snapshots += 1;
                Ok(())
            }
            CoreEvent::InvalidMessage { from, problem }
                if self.slot_of(from).is_some() && is_ours(*problem) =>
            {
                Err(anyhow!("{} sent {} an invalid message: {problem:?}", from.raft_id, member.id.raft_id))
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, from: MemberNumber, message: &Message) {
        let Some(to) = self.slot_of(&message.to) else { return };
        for delay in self.network.arrivals(from, to, &self.options, &mut self.rng) {
            self.schedule.after(delay, Event::Deliver(message.clone()));
        }
    }

    fn schedule_commit(&mut self, number: MemberNumber) {
        let sync = self.rng.random_range(self.options.sync.0..=self.options.sync.1);
        let member = &mut self.members[number];
        let boot = member.boots;
        if let Some(process) = &mut member.process
            && !process.is_committing
        {
            process.is_committing = true;
            self.schedule.after(sync, Event::Commit(Boot { member: number, boot }));
        }
    }

    fn schedule_flush(&mut self, number: MemberNumber) {
        if self.rng.random_bool(0.05) {
            let boot = self.members[number].boots;
            let delay = Duration::from_millis(self.rng.random_range(0..200));
            self.schedule.after(delay, Event::Flush(Boot { member: number, boot }));
        }
    }

    fn schedule_wake(&mut self, number: MemberNumber) {
        let member = &mut self.members[number];
        let boot = member.boots;
        if let Some(process) = &mut member.process {
            let at = process.raft.next_deadline().0;
            if process.wake_at.is_none_or(|wake_at| at < wake_at) {
                process.wake_at = Some(at);
                self.schedule.at(at, Event::Wake(Boot { member: number, boot }));
            }
        }
    }

    /// Every invariant of one member's state looks.
    fn look(&mut self, number: MemberNumber) -> Happened {
        let Some(process) = &mut self.members[number].process else { return Ok(()) };
        let status = process.raft.status();
        check(process.order.seen(&status))?;
        let seen = std::mem::replace(&mut process.commit_seen, status.commit);
        let before = std::mem::replace(&mut process.configuration_seen, status.latest.clone());
        if status.commit > seen {
            self.look_at_commit(number, &status, seen, before.as_ref())?;
        }
        Ok(())
    }

    /// `before`: the configuration in effect before this step, which may have committed under it and then changed it.
    fn look_at_commit(
        &mut self,
        number: MemberNumber,
        status: &Status,
        seen: Index,
        before: Option<&IndexedConfiguration>,
    ) -> Happened {
        let log = &self.members[number].accepted;
        for index in seen.0 + 1..=status.commit.0 {
            let index = Index(index);
            // What a snapshot brought was checked where it was committed first.
            if index > log.previous.index {
                let term = log
                    .term_at(index)
                    .with_context(|| format!("index {} is committed but not there", index.0))?;
                check(self.commitment.committed(LogId::new(term, index)))?;
            }
        }
        let (Some(term), Some(latest)) = (log.term_at(status.commit), &status.latest) else { return Ok(()) };
        // The first commit of a process repeats what an earlier one knew.
        if status.role == Role::Leader && seen > Index(0) {
            let entry = LogId::new(term, status.commit);
            let disk = |id: &ServerId| match self.slot_of(id) {
                Some(slot) => Some(&self.members[slot].mirror),
                None => self.lost.get(id),
            };
            let under =
                |latest: &IndexedConfiguration| Commitment::raised(entry, &latest.configuration, disk);
            check(before.map_or_else(|| under(latest), under).or_else(|_| under(latest)))?;
        }
        Ok(())
    }

    /// The member whose volume has this identity.
    pub(super) fn slot_of(&self, id: &ServerId) -> Option<MemberNumber> {
        self.members.iter().find(|member| member.id == *id).map(|member| member.number)
    }

    /// The member that leads the highest term, with its picture of the group.
    pub(super) fn leader(&self) -> Option<(MemberNumber, Status)> {
        let leads = |member: &Member| {
            let status = member.process.as_ref()?.raft.status();
            (status.role == Role::Leader).then_some((member.number, status))
        };
        self.members.iter().filter_map(leads).max_by_key(|(_, status)| status.term)
    }

    /// Draws whether something breaks, while things break.
    pub(super) fn breaks_now(&mut self, likelihood: f64) -> bool {
        self.is_formed && self.faults_stopped.is_none() && self.rng.random_bool(likelihood)
    }

    /// A line of the trace.
    pub(super) fn say(&mut self, event: &str) {
        let members = &self.members;
        self.trace.line(self.schedule.now(), event, || members.iter().map(column).collect());
    }
}

/// Everything but a message for another volume is a defect of the sender: a slot may have got a new volume meanwhile.
fn is_ours(problem: quorate_raft::InvalidMessage) -> bool {
    problem != quorate_raft::InvalidMessage::WrongReceiver
}

fn column(member: &Member) -> String {
    let Some(process) = &member.process else { return format!("│ m{} down               ", member.number) };
    let status = process.raft.status();
    let role = match status.role {
        Role::Follower => "foll",
        Role::PreCandidate => "prev",
        Role::Candidate => "cand",
        Role::Leader => "LEAD",
    };
    let (last, commit) = (status.last.index.0, status.commit.0);
    format!("│ m{} T{:<3} {role} {last:>5}/{commit:<5}", member.number, status.term.0)
}
