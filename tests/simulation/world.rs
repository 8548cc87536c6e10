//! The run: takes the next event, lets it happen, and sees who did not survive it.
//!
//! ```text
//!   schedule ──event──▶ turn: core.step ──outputs──▶ storage, network, machine, clients ──▶ new events
//!                         └──▶ watch: every invariant, after every step
//! ```

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use quorate_raft::Role;
use rand::Rng;
use rand::rngs::SmallRng;

use super::changes::Administrator;
use super::client::Clients;
use super::coverage::{Coverage, Happening};
use super::effects::Effects;
use super::event::Event;
use super::faults::Phase;
use super::fleet::Fleet;
use super::invariants::Verdict;
use super::lockers::Lockers;
use super::member::{DiskError, Member};
use super::network::{MemberNumber, Network};
use super::options::Options;
use super::recovery::Disaster;
use super::restores::Archives;
use super::schedule::Schedule;
use super::trace::Trace;
use super::watch::Watch;

/// The first calls come when there may be somebody to answer.
const CLIENTS_BEGIN: Duration = Duration::from_secs(1);

/// A timer goes off this much after a pause.
const AFTER_WHAT_CAME: Duration = Duration::from_millis(1);

/// Everything there is.
pub struct World {
    pub(super) options: Options,
    pub(super) rng: SmallRng,
    pub(super) schedule: Schedule<Event>,
    pub(super) phase: Phase,
    pub(super) network: Network,
    pub(super) fleet: Fleet,
    pub(super) clients: Clients,
    pub(super) administrator: Administrator,
    pub(super) archives: Archives,
    pub(super) lockers: Lockers,
    pub(super) effects: Effects,
    /// A majority is lost, and nobody has recovered the cluster yet.
    pub(super) disaster: Option<Disaster>,
    pub(super) watch: Watch,
    pub(super) coverage: Coverage,
    trace: Trace,
}

/// What an event may come to: the broken invariant in words, or an error of the simulation's own parts.
pub type Happened = Result<()>;

/// A broken invariant, in words.
#[derive(Debug)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Broken {}

/// Makes a broken invariant the end of the run.
pub(super) fn check(verdict: Verdict) -> Happened {
    checked(verdict)
}

/// The same for a check that has found something out.
pub(super) fn checked<T>(found: Result<T, String>) -> Result<T> {
    found.map_err(|broken| Broken(broken).into())
}

impl World {
    /// The world of `options` before its first event.
    pub fn new(options: Options, mut rng: SmallRng, trace: Trace) -> Result<Self> {
        let clients = Clients::draw(&options, &mut rng);
        let lockers = Lockers::draw(options.seed);
        let mut world = Self {
            options,
            rng,
            schedule: Schedule::default(),
            phase: Phase::Forming,
            network: Network::default(),
            fleet: Fleet::default(),
            clients,
            administrator: Administrator::default(),
            archives: Archives::default(),
            lockers,
            effects: Effects::default(),
            disaster: None,
            watch: Watch::default(),
            coverage: Coverage::default(),
            trace,
        };
        world.begin()?;
        Ok(world)
    }

    fn begin(&mut self) -> Happened {
        // One more than the first configuration: somebody to add.
        for _ in 0..=self.options.members {
            let number = self.fleet.add(self.options.releases.old, &mut self.rng)?;
            self.schedule.after(Duration::ZERO, Event::Start(number));
        }
        for client in 0..self.options.clients {
            self.schedule.after(CLIENTS_BEGIN, Event::ClientTurn(client, 0));
        }
        self.schedule.after(Duration::from_millis(100), Event::Change);
        self.begin_lockers(CLIENTS_BEGIN);
        Ok(())
    }

    /// Lets the next event happen. False when the run is over.
    pub fn advance(&mut self) -> Result<bool> {
        let event = self.schedule.advance().context("nothing is scheduled any more")?;
        self.coverage.hit(Happening::Event);
        if let Some(number) = event.process() {
            let paused_until = self.fleet[number].paused_until;
            if paused_until > self.schedule.now() {
                // What came meanwhile is handed in before the timer: that is what the core asks of its driver, and
                // a leader that was deposed meanwhile does not know yet.
                let late = if matches!(event, Event::Wake(_)) { AFTER_WHAT_CAME } else { Duration::ZERO };
                self.schedule.at(paused_until + late, event);
                return Ok(true);
            }
        }
        let happened = self.happen(event);
        self.bury(happened)
    }

    fn happen(&mut self, event: Event) -> Result<bool> {
        match event {
            // Of a process that is gone.
            Event::Wake(boot)
            | Event::Commit(boot)
            | Event::Flush(boot)
            | Event::FlushEnds(boot, _)
            | Event::Restore(boot, _)
            | Event::StageHeld(boot, ..)
            | Event::SpreadEnds(boot, _)
            | Event::Unreachable(boot, _)
            | Event::PeerGone(boot, _)
            | Event::Connected(boot, ..)
            | Event::Disconnected(boot, ..)
            | Event::LookAtSessions(boot)
            | Event::EndSession(boot, ..)
            | Event::RenewAgain(boot, _)
                if !self.fleet.lives(boot) => {}
            Event::Deliver(to, hello, message) => self.deliver(to, hello, message)?,
            Event::Connected(boot, id, peer) => self.connected(boot.member, id, peer)?,
            Event::Disconnected(boot, id, peer) => self.disconnected(boot.member, id, peer)?,
            Event::Wake(boot) => self.wake(boot.member)?,
            Event::Commit(boot) => self.commit(boot.member)?,
            Event::Flush(boot) => self.flush(boot.member),
            Event::FlushEnds(boot, upto) => self.flush_ends(boot.member, upto)?,
            Event::Restore(boot, at) => self.restore(boot.member, at)?,
            Event::LockTurn(locker, calls) => self.lock_turn(locker, calls),
            Event::Lapse(locker) => self.lapse(locker),
            Event::LookAtSessions(boot) => self.look_at_sessions(boot.member)?,
            Event::EndSession(boot, term, clock) => self.end_session(boot.member, term, clock)?,
            Event::RenewAgain(boot, renewing) => self.renew(boot.member, renewing)?,
            Event::AskRestore => self.ask_restore()?,
            Event::Staging(staging) => self.staging_arrives(&staging)?,
            Event::StageHeld(boot, order, by) => self.stage_held(boot.member, order, by)?,
            Event::SpreadEnds(boot, order) => self.spread_ends(boot.member, order),
            Event::Unreachable(boot, peer) => self.unreachable(boot.member, peer)?,
            Event::PeerGone(boot, peer) => self.peer_gone(boot.member, peer)?,
            Event::Snapshot(transfer) => self.snapshot_arrives(*transfer)?,
            Event::IndexWanted(member, wanted) => self.index_wanted(member, wanted)?,
            Event::IndexGiven(wanted, index) => self.index_given(wanted, index)?,
            Event::ClientTurn(client, calls) => self.client_turn(client, calls),
            Event::Request(member, request) => self.request(member, request)?,
            Event::Reply(attempt, reply) => self.reply(attempt, reply)?,
            Event::Timeout(attempt) => self.timeout(attempt)?,
            Event::Resend(attempt) => self.resend(attempt),
            Event::Fault => self.fault()?,
            Event::Change => self.change()?,
            Event::Update => self.update()?,
            Event::Disaster => self.disaster(),
            Event::Recover => self.recover()?,
            Event::Start(member) => self.start(member)?,
            Event::Stop(boot) => self.stop(boot),
            Event::DiskHeals(member) => self.disk_heals(member),
            Event::FaultsStop => self.stop_faults(),
            Event::Converged => return self.has_converged().map(|converged| !converged),
        }
        Ok(true)
    }

    /// Sees which processes did not survive the event. Whatever their disks could not do then is no error of ours.
    fn bury(&mut self, happened: Result<bool>) -> Result<bool> {
        let happened = match happened {
            Err(error) if error.is::<Broken>() => return Err(error),
            Err(error) => match error.downcast::<DiskError>() {
                Ok(error) => self.disk_failed(error).map(|()| true),
                Err(error) => Err(error),
            },
            fine => fine,
        };
        let dead: Vec<_> =
            self.fleet.iter().filter(|member| member.is_dead()).map(|member| member.number).collect();
        for number in dead {
            self.bury_dead(number);
        }
        happened
    }

    /// How many events happened.
    pub fn steps(&self) -> u64 {
        self.coverage.count(Happening::Event)
    }

    /// What happened.
    pub fn into_coverage(self) -> Coverage {
        self.coverage
    }

    /// What was drawn.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Draws whether something happens, with this likelihood, while things break.
    pub(super) fn breaks_now(&mut self, likelihood: f64) -> bool {
        self.phase == Phase::Breaking && self.rng.random_bool(likelihood)
    }

    /// A line of the trace.
    pub(super) fn say(&mut self, event: impl FnOnce(&Self) -> String) {
        if self.trace.is_on() {
            let columns: String =
                self.fleet.iter().map(|member| column(member, self.schedule.now())).collect();
            let event = event(self);
            self.trace.line(self.schedule.now(), &event, &columns);
        }
    }
}

fn column(member: &Member, now: Duration) -> String {
    let number = member.number;
    let Some(process) = &member.process else { return format!("│ m{number} down               ") };
    let status = process.raft.status();
    let role = match status.role {
        _ if member.paused_until > now => "held",
        Role::Follower => "foll",
        Role::PreCandidate => "prev",
        Role::Candidate => "cand",
        Role::Leader => "LEAD",
    };
    let (last, commit) = (status.last.index.0, status.commit.0);
    format!("│ m{number} T{:<3} {role} {last:>5}/{commit:<5}", status.term.0)
}

/// Gives an error of a member's store its owner.
pub(super) fn of_disk<T>(member: MemberNumber, result: Result<T>) -> Result<T> {
    result.map_err(|error| DiskError { member, error }.into())
}
