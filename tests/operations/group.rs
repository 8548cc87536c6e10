//! What the cores of the members want done, and what they say to each other.
//!
//! A turn of a core is carried out at once, its writes included; what is sent arrives later, or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_autopilot::{Report, SettingsChange};
use quorate_crds::{MemberStatus, RaftStatus, UpgradeStatus};
use quorate_plan::Ordinal;
use quorate_raft::{
    Answer, Apply, Change, Entry, Event as CoreEvent, Index, Input, Message, Now, Output, Payload,
    RecoveryEpoch, Refusal, Role, ServerId, Suffrage, Ticket,
};
use rand::Rng;

use super::coverage::Happening;
use super::event::{Boot, Event, Turn};
use super::objects::zone_of;
use super::process::Wanted;
use super::world::{Happened, World, check};

/// A message takes between these.
const DELAY_MS: std::ops::RangeInclusive<u64> = 1..=20;
/// Autopilot's rounds.
const AUTOPILOT_EVERY: Duration = Duration::from_secs(1);
/// A leader renews its Lease this often.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// The first byte of a command that carries settings; the rest is their number.
const SETTINGS: u8 = b's';

/// Who waits for what at a core.
#[derive(Clone, Debug)]
pub enum Waiting {
    /// The operator, for a view of this process.
    View(Turn, Boot),
    /// The operator, for the end of a call.
    Call(Turn),
    /// Nobody: autopilot looks again.
    Autopilot,
    /// A client.
    Write,
}

impl World {
    /// The member's core takes an input, and what it wants done is done.
    pub(super) fn step(&mut self, ordinal: Ordinal, input: Input) -> Happened {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(process) = self.processes.get_mut(&ordinal) else { return Ok(()) };
            let mut outputs = Vec::new();
            process.raft.step(Now(self.schedule.now()), input, &mut outputs);
            for output in outputs {
                self.carry_out(ordinal, output, &mut inputs)?;
            }
        }
        self.schedule_wake(ordinal);
        Ok(())
    }

    fn carry_out(&mut self, ordinal: Ordinal, output: Output, inputs: &mut VecDeque<Input>) -> Happened {
        match output {
            Output::Persist(write) => {
                let sequence = write.sequence;
                self.directory_of(ordinal)?.write(&write)?;
                inputs.push_back(Input::Persisted { sequence });
            }
            Output::Send(message) => self.send(ordinal, message),
            Output::Apply(apply) => inputs.push_back(self.apply(ordinal, apply)?),
            Output::ReadLog { reader, from, upto, .. } => {
                let entries = self.directory_of(ordinal)?.read(from, upto);
                inputs.push_back(Input::LogRead { reader, entries });
            }
            Output::Answer { ticket, result } => self.answered(ticket, result),
            Output::Event(event) => self.core_event(ordinal, &event)?,
            Output::SendSnapshot { .. }
            | Output::DiscardSnapshot { .. }
            | Output::AdoptSnapshot { .. }
            | Output::Compact { .. } => {
                bail!("no log is ever compacted here, so nobody needs a snapshot");
            }
        }
        Ok(())
    }

    fn schedule_wake(&mut self, ordinal: Ordinal) {
        let Some(process) = self.processes.get_mut(&ordinal) else { return };
        let at = process.raft.next_deadline().0;
        if process.wake_at.is_none_or(|wake_at| at < wake_at) {
            process.wake_at = Some(at);
            self.schedule.at(at, Event::Wake(process.boot));
        }
    }

    pub(super) fn wake(&mut self, boot: Boot) -> Happened {
        let now = self.schedule.now();
        let Some(process) = self.processes.get_mut(&boot.ordinal) else { return Ok(()) };
        if process.wake_at.is_none_or(|wake_at| wake_at > now) {
            // It was to wake up now, and was told another time since.
            return Ok(());
        }
        process.wake_at = None;
        self.step(boot.ordinal, Input::Tick)
    }

    /// Whether what one node says arrives at another.
    pub(super) fn is_linked(&self, one: &str, other: &str) -> bool {
        one == other || !self.cuts.contains_key(one) && !self.cuts.contains_key(other)
    }

    fn send(&mut self, from: Ordinal, message: Message) {
        let Some(sender) = self.processes.get(&from) else { return };
        let epoch = RecoveryEpoch(sender.epoch);
        let node = sender.node.clone();
        let receiver = self.processes.values().find(|process| process.id.raft_id == message.to.raft_id);
        let is_reached = receiver.is_some_and(|receiver| self.is_linked(&node, &receiver.node));
        if is_reached
            && !(self.options.loss > 0.0 && !self.is_calm() && self.rng.random_bool(self.options.loss))
        {
            let delay = Duration::from_millis(self.rng.random_range(DELAY_MS));
            self.schedule.after(delay, Event::Deliver(Box::new(message), epoch));
        }
    }

    /// A message arrives at whoever answers under that Raft ID now; hello compares recovery epochs (K18).
    pub(super) fn deliver(&mut self, message: Message, epoch: RecoveryEpoch) -> Happened {
        let found = self
            .processes
            .iter()
            .find(|(_, process)| process.id.raft_id == message.to.raft_id && process.epoch == epoch.0);
        let Some((&ordinal, _)) = found else { return Ok(()) };
        self.step(ordinal, Input::Receive(message))
    }

    pub(super) fn peer_gone(&mut self, boot: Boot, peer: ServerId) -> Happened {
        // It may be back already.
        if self.processes.values().any(|process| process.id == peer) {
            return Ok(());
        }
        self.step(boot.ordinal, Input::ProcessGone(peer))
    }

    fn apply(&mut self, ordinal: Ordinal, apply: Apply) -> Result<Input> {
        let upto = apply.entries.last().context("an apply without entries")?.index;
        for entry in &apply.entries {
            self.apply_one(ordinal, entry)?;
        }
        for (_, ticket) in apply.tickets {
            match self.waiting.remove(&ticket) {
                Some(Waiting::Call(turn)) => self.call_ended(turn, Ok(())),
                Some(Waiting::Write) => {
                    self.coverage.hit(Happening::Written);
                    self.written = Some(self.schedule.now());
                }
                Some(Waiting::View(..) | Waiting::Autopilot) | None => {}
            }
        }
        Ok(Input::Applied { upto })
    }

    fn apply_one(&mut self, ordinal: Ordinal, entry: &Entry) -> Happened {
        let Some(process) = self.processes.get_mut(&ordinal) else { return Ok(()) };
        check(self.watch.applies(&process.id, process.epoch, entry))?;
        if let Payload::Command(command) = &entry.payload
            && let Some((&SETTINGS, number)) = command.split_first()
        {
            let number = number.iter().fold(0_usize, |sum, byte| sum * 256 + usize::from(*byte));
            let change = self.settings.get(number).context("settings that nobody sent")?;
            process.stored = process.stored.merged(change);
        }
        Ok(())
    }

    /// A command that carries these settings.
    pub(super) fn settings_command(&mut self, change: SettingsChange) -> Bytes {
        let number = u32::try_from(self.settings.len()).unwrap_or(u32::MAX);
        self.settings.push(change);
        std::iter::once(SETTINGS).chain(number.to_be_bytes()).collect()
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) {
        match self.waiting.remove(&ticket) {
            Some(Waiting::View(turn, boot)) => self.view_confirmed(turn, boot, result.is_ok()),
            Some(Waiting::Call(turn)) => {
                let ended = result.map(|_| ()).map_err(|refusal| refusal.to_string());
                self.call_ended(turn, ended);
            }
            Some(Waiting::Autopilot) => {
                if let Err(refusal) = result {
                    self.say(|_| format!("autopilot is refused: {refusal}"));
                }
            }
            Some(Waiting::Write) | None => {}
        }
    }

    /// A caller who waits.
    pub(super) fn ticket(&mut self, waiting: Waiting) -> Ticket {
        self.tickets += 1;
        self.waiting.insert(Ticket(self.tickets), waiting);
        Ticket(self.tickets)
    }

    fn core_event(&mut self, ordinal: Ordinal, event: &CoreEvent) -> Happened {
        let Some(process) = self.processes.get(&ordinal) else { return Ok(()) };
        let (id, epoch) = (process.id.clone(), process.epoch);
        match event {
            CoreEvent::BecameLeader { term } => {
                self.coverage.hit(Happening::Election);
                check(self.watch.leads(&id, epoch, *term))?;
                self.say(|_| format!("{} leads in term {term}", id.raft_id));
            }
            CoreEvent::ConfigurationChanged { index } => self.configuration_changed(ordinal, *index)?,
            CoreEvent::ConfigurationCommitted { index } => {
                let status = process.raft.status();
                let committed = status.committed.filter(|committed| committed.index == *index);
                let committed = committed.context("a committed configuration that nobody knows")?;
                self.watch.commits(epoch, &committed, &mut self.coverage);
            }
            CoreEvent::SteppedDown { reason, .. } => {
                self.say(|_| format!("{} leads no more: {reason:?}", id.raft_id));
            }
            _ => {}
        }
        Ok(())
    }

    /// I3: a leader never has two changes that are not committed. P5: nobody gets a vote too early.
    fn configuration_changed(&mut self, ordinal: Ordinal, index: Index) -> Happened {
        let Some(process) = self.processes.get(&ordinal) else { return Ok(()) };
        let status = process.raft.status();
        if status.role != Role::Leader {
            return Ok(());
        }
        let (leader, commit, last) = (process.id.raft_id.clone(), status.commit, status.last.index);
        if let Some(latest) = &status.latest {
            let (now, stabilization) = (self.schedule.now(), process.settings().server_stabilization_time);
            check(self.watch.gives_votes(now, status.term, &latest.configuration, stabilization))?;
            check(self.watch.keeps_quorum(now, &latest.configuration))?;
        }
        let servers = status.latest.map(|latest| latest.configuration.servers().to_vec()).unwrap_or_default();
        let shown: Vec<String> = servers
            .iter()
            .map(|server| match server.suffrage {
                Suffrage::Voter => server.id.raft_id.to_string(),
                other => format!("{} ({other:?})", server.id.raft_id),
            })
            .collect();
        self.say(|_| format!("{leader}: configuration {index:?}: {}", shown.join(", ")));
        let entries = self.directory_of(ordinal)?.read(commit.next(), last);
        let changes =
            entries.iter().filter(|entry| matches!(entry.payload, Payload::Configuration(_))).count();
        if changes > 1 {
            return check(Err(format!(
                "I3: {leader} has {changes} membership changes that are not committed"
            )));
        }
        Ok(())
    }

    /// A round of a member's autopilot, and of what its leader writes into the API.
    pub(super) fn autopilot(&mut self, boot: Boot) -> Happened {
        let now = self.schedule.now();
        self.schedule.after(AUTOPILOT_EVERY, Event::Autopilot(boot));
        let reports = self.reports(boot.ordinal);
        let Some(process) = self.processes.get_mut(&boot.ordinal) else { return Ok(()) };
        let wanted = process.autopilot(now, reports);
        if process.state.is_some() {
            self.publish(boot.ordinal);
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let ticket = self.ticket(Waiting::Autopilot);
        let input = match wanted {
            Wanted::Change(expected, change) => {
                self.say(|_| format!("autopilot of {}: {}", boot.ordinal, words(&change)));
                Input::ChangeMembership { ticket, expected, change }
            }
            Wanted::Transfer(target) => {
                self.say(|_| format!("autopilot of {}: transfer to {target}", boot.ordinal));
                Input::TransferLeadership { ticket, target: Some(target) }
            }
        };
        self.step(boot.ordinal, input)
    }

    /// In which zone and of which version each member says it is, to whom it reaches; of the others the cluster remembers what
    /// they said last.
    fn reports(&mut self, leader: Ordinal) -> BTreeMap<ServerId, Report> {
        let Some(node) = self.processes.get(&leader).map(|process| process.node.clone()) else {
            return BTreeMap::new();
        };
        let heard = self.processes.values().filter(|process| self.is_linked(&node, &process.node));
        let say = |process: &super::process::Process| {
            let (zone, upgrade_version) = (Some(zone_of(&process.node)), process.version.clone());
            (process.id.clone(), Report { zone, upgrade_version, ..Report::default() })
        };
        let said: BTreeMap<ServerId, Report> = heard.map(say).collect();
        self.reports.extend(said.clone());
        let now = Some(Now(self.schedule.now()));
        let report = |(id, report): (&ServerId, &Report)| {
            let received = now.filter(|_| said.contains_key(id));
            (id.clone(), Report { received, ..report.clone() })
        };
        self.reports.iter().map(report).collect()
    }

    fn publish(&mut self, ordinal: Ordinal) {
        let now = self.schedule.now();
        let Some(process) = self.processes.get_mut(&ordinal) else { return };
        if self.cuts.contains_key(&process.node) || now < self.api.down_until {
            return;
        }
        let Some(state) = &process.state else { return };
        let name = |id: &ServerId| {
            let raft_id = id.raft_id.as_str();
            raft_id.rsplit_once('-').map_or(raft_id, |(pod, _)| pod).to_owned()
        };
        let member = |server: &quorate_autopilot::ServerState| MemberStatus {
            name: name(&server.id),
            raft_id: Some(server.id.raft_id.to_string()),
            role: Some(format!("{:?}", server.role)),
            state: Some(if server.health.is_healthy { "Healthy" } else { "Unhealthy" }.to_owned()),
            ..MemberStatus::default()
        };
        let raft = RaftStatus {
            leader: Some(name(&process.id)),
            members: state.servers.iter().map(member).collect(),
            recovery_epoch: i64::try_from(process.epoch).ok(),
            term: i64::try_from(state.term.0).ok(),
            upgrade: Some(UpgradeStatus {
                status: state.upgrade.status.as_str().to_owned(),
                target_version: state.upgrade.target_version.clone(),
            }),
            ..RaftStatus::default()
        };
        let is_due = process.renewed.is_none_or(|renewed| now.saturating_sub(renewed) >= RENEW_EVERY);
        if is_due {
            process.renewed = Some(now);
            self.api.renew();
        }
        self.api.publish(raft);
    }

    /// A client writes to whoever leads.
    pub(super) fn write(&mut self) -> Happened {
        let next = self.around(super::world::WRITE_EVERY);
        self.schedule.after(next, Event::Write);
        self.check_gap()?;
        let Some(leader) = self.leader() else { return Ok(()) };
        let ticket = self.ticket(Waiting::Write);
        self.step(leader, Input::Propose { ticket, command: Bytes::from_static(b"w") })
    }

    /// Who leads in the newest epoch and term and knows that it may.
    pub(super) fn leader(&self) -> Option<Ordinal> {
        let leads = |process: &super::process::Process| {
            let status = process.raft.status();
            (status.role == Role::Leader && status.is_ready).then_some((process.epoch, status.term))
        };
        let leaders =
            self.processes.iter().filter_map(|(ordinal, process)| Some((leads(process)?, *ordinal)));
        leaders.max().map(|(_, ordinal)| ordinal)
    }
}

/// A change in a few words.
pub(super) fn words(change: &Change) -> String {
    match change {
        Change::AddNonVoter { id, .. } => format!("add {}", id.raft_id),
        Change::Promote { id, .. } => format!("promote {}", id.raft_id),
        Change::Demote { id } => format!("demote {}", id.raft_id),
        Change::Remove { id, reason } => format!("remove {} ({reason:?})", id.raft_id),
        Change::Replace { old, new, .. } => format!("replace {} by {}", old.raft_id, new.raft_id),
        Change::RaiseVersion { to } => format!("raise the version to {to}"),
        Change::SetAddress { id, .. } => format!("set the address of {}", id.raft_id),
    }
}
