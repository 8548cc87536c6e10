//! The run: takes the next event, lets it happen, and wakes who watches.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_autopilot::{Report, SettingsChange};
use quorate_plan::Ordinal;
use quorate_raft::{ClusterId, Role, ServerId, Ticket};
use rand::Rng;
use rand::rngs::SmallRng;

use super::api::Api;
use super::controllers::Cut;
use super::coverage::{Coverage, Happening};
use super::event::Event;
use super::group::Waiting;
use super::kubelet::Run;
use super::objects::Objects;
use super::operator::Operator;
use super::options::Options;
use super::person::Person;
use super::process::Process;
use super::volume::{Directory, Volume};
use super::watch::Watch;
use crate::simulation::Trace;
use crate::simulation::schedule::Schedule;

/// The one cluster.
pub(super) const CLUSTER_ID: ClusterId = ClusterId(0x5157);
/// Mean time between two writes of clients.
pub(super) const WRITE_EVERY: Duration = Duration::from_secs(2);
/// A person looks at the cluster this often.
pub(super) const LOOKS_EVERY: Duration = Duration::from_secs(20);

/// What an event may come to: the broken invariant in words, or an error of the simulation's own parts.
pub type Happened = Result<()>;

/// What an invariant says: nothing, or how it was broken.
pub type Verdict = Result<(), String>;

/// Makes a broken invariant the end of the run.
pub(super) fn check(verdict: Verdict) -> Happened {
    verdict.map_err(|broken| anyhow::anyhow!(broken))
}

/// Everything there is.
pub struct World {
    pub(super) options: Options,
    pub(super) rng: SmallRng,
    pub(super) schedule: Schedule<Event>,
    pub(super) api: Api,
    /// By the claim's UID.
    pub(super) volumes: BTreeMap<String, Volume>,
    /// By the Pod's UID.
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) processes: BTreeMap<Ordinal, Process>,
    /// Nodes that are cut off.
    pub(super) cuts: BTreeMap<String, Cut>,
    /// Nodes that are being drained, and until when.
    pub(super) drains: BTreeMap<String, Duration>,
    pub(super) operators: Vec<Operator>,
    /// Answers that came within the call that asked.
    pub(super) early_answers: BTreeMap<usize, Result<(), String>>,
    pub(super) waiting: BTreeMap<Ticket, Waiting>,
    /// What settings commands carry, by number.
    pub(super) settings: Vec<SettingsChange>,
    /// What each server last said of itself.
    pub(super) reports: BTreeMap<ServerId, Report>,
    pub(super) person: Person,
    pub(super) watch: Watch,
    pub(super) coverage: Coverage,
    /// Writes of the operators.
    pub(super) operator_writes: u64,
    /// When a client's write was last committed.
    pub(super) written: Option<Duration>,
    /// Since when nothing breaks and people want one thing.
    pub(super) calm_since: Option<Duration>,
    /// Since when nothing is missing, and how much operators had written then.
    pub(super) settled: Option<(Duration, u64)>,
    pub(super) boots: u64,
    pub(super) tickets: u64,
    trace: Trace,
}

impl World {
    /// The world of `options` before its first event.
    pub fn new(options: Options, rng: SmallRng, trace: Trace) -> Self {
        let api = Api::new(Objects::new(&options));
        let operators = (0..options.operators).map(|_| Operator::new()).collect();
        let mut world = Self {
            rng,
            schedule: Schedule::default(),
            api,
            volumes: BTreeMap::new(),
            runs: BTreeMap::new(),
            processes: BTreeMap::new(),
            cuts: BTreeMap::new(),
            drains: BTreeMap::new(),
            operators,
            early_answers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            settings: Vec::new(),
            reports: BTreeMap::new(),
            person: Person::default(),
            watch: Watch::default(),
            coverage: Coverage::default(),
            operator_writes: 0,
            written: None,
            calm_since: None,
            settled: None,
            boots: 0,
            tickets: 0,
            trace,
            options,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.schedule.after(Duration::ZERO, Event::Controllers);
        for operator in 0..self.operators.len() {
            self.operator_after(operator, Duration::ZERO);
        }
        if self.operators.len() > 1 {
            self.coverage.hit(Happening::TwoOperators);
        }
        self.schedule.after(WRITE_EVERY, Event::Write);
        self.schedule.after(LOOKS_EVERY, Event::PersonLooks);
        if !self.options.edits.is_empty() {
            let delay = self.around(self.options.edit_every);
            self.schedule.after(delay, Event::Edit);
        }
        if !self.options.faults.is_empty() {
            let delay = self.around(self.options.fault_every);
            self.schedule.after(delay, Event::Fault);
        }
        self.schedule.after(self.options.restless, Event::FaultsStop);
    }

    /// Lets the next event happen. False when the run is over.
    pub fn advance(&mut self) -> Result<bool> {
        let event = self.schedule.advance().context("nothing is scheduled any more")?;
        self.coverage.hit(Happening::Event);
        self.api.advance(self.schedule.now());
        let goes_on = self.happen(event)?;
        self.wake_operators();
        Ok(goes_on)
    }

    fn happen(&mut self, event: Event) -> Result<bool> {
        match event {
            // Of a process that is gone.
            Event::Wake(boot) | Event::PeerGone(boot, _) | Event::Autopilot(boot)
                if self.processes.get(&boot.ordinal).is_none_or(|process| process.boot != boot) => {}
            Event::Deliver(message, epoch) => self.deliver(*message, epoch)?,
            Event::Wake(boot) => self.wake(boot)?,
            Event::PeerGone(boot, peer) => self.peer_gone(boot, peer)?,
            Event::Autopilot(boot) => self.autopilot(boot)?,
            Event::Controllers => self.controllers()?,
            Event::Operator(turn) => self.operator(turn)?,
            Event::Write => self.write()?,
            Event::Edit => self.edit(),
            Event::PersonLooks => self.person_looks(),
            Event::Fault => self.fault(),
            Event::Destroy(doomed) => self.destroy(&doomed),
            Event::FaultsStop => self.stop_faults(),
            Event::Converged => return self.has_converged().map(|converged| !converged),
        }
        Ok(true)
    }

    /// How many events happened.
    pub fn steps(&self) -> u64 {
        self.coverage.count(Happening::Event)
    }

    /// What happened.
    pub fn into_coverage(self) -> Coverage {
        self.coverage
    }

    /// Whether nothing breaks any more.
    pub(super) fn is_calm(&self) -> bool {
        self.calm_since.is_some()
    }

    /// A random time around this mean.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.rng.random_range(0.2..1.8))
    }

    /// The directory that a member's process has open.
    pub(super) fn directory_of(&mut self, ordinal: Ordinal) -> Result<&mut Directory> {
        let process = self.processes.get(&ordinal).context("no process")?;
        let volume = self.volumes.get_mut(&process.claim_uid).context("its volume is gone under it")?;
        volume.directory.as_mut().context("its directory is gone under it")
    }

    /// A line of the trace.
    pub(super) fn say(&mut self, event: impl FnOnce(&Self) -> String) {
        if self.trace.is_on() {
            let columns: String = self.processes.values().map(column).collect();
            let event = event(self);
            self.trace.line(self.schedule.now(), &event, &columns);
        }
    }
}

fn column(process: &Process) -> String {
    let status = process.raft.status();
    let role = match status.role {
        Role::Follower => "foll",
        Role::PreCandidate => "prev",
        Role::Candidate => "cand",
        Role::Leader => "LEAD",
    };
    let (last, commit) = (status.last.index.0, status.commit.0);
    format!("│ {} T{:<3} {role} {last:>4}/{commit:<4}", process.boot.ordinal, status.term.0)
}
