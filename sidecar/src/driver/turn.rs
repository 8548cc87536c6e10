//! One turn: take what waits, step the core once, carry out what it says, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_machine::{Command, Tagged};
use quorate_raft::{Address, Entry, Identity, Input, LogId, LogReader, Now, Output, Raft, Role};
use quorate_store::{
    LogThread, Report as Stored, Request as StoreRequest, Snapshots, Space, Stages, StateFile,
};
use tokio::sync::{mpsc, oneshot};

use super::doom::Doom;
use super::gathering::Gathering;
use super::machine::{Job, Report};
use super::meter::Meter;
use super::request::{Ask, Request};
use super::restore::{Claim, Hold};
use super::room::Room;
use super::seats::{Seat, Seats};
use super::snapshots::{Installing, Sending};
use super::transfers::Transfers;
use super::view::{Outlook, Seen, View};
use super::work::Work;
use crate::limits::{DRIVER_BATCH_MAX, SPACE_CHECK_BYTES, SPACE_CHECK_EVERY};
use crate::link::{FromPeer, Links};

/// Work of another thread that ended.
pub(crate) enum Completion {
    Storage(Stored),
    Machine(Report),
    LogRead {
        reader: LogReader,
        entries: Vec<Entry>,
    },
    Space(Space),
    Sending(Sending),
    /// The state file of an installed snapshot, or of a restore.
    Opened(StateFile),
    /// The state file of the restore that is this entry is there, and waits to be named.
    Restored(LogId),
    /// Nobody gave the archive of the restore that is this entry.
    ArchiveMissing(LogId),
}

/// What ended the driver's sleep.
enum Woken {
    Completion(Completion),
    Peer(FromPeer),
    Request(Request),
    Clock,
}

/// Where everything comes from.
pub(super) struct Inboxes {
    pub(super) completions: mpsc::Receiver<Completion>,
    pub(super) peers: mpsc::Receiver<FromPeer>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) stop: oneshot::Receiver<()>,
}

/// See the module of the driver.
pub(super) struct Driver {
    pub(super) raft: Raft,
    pub(super) identity: Arc<Identity>,
    pub(super) address: Address,
    pub(super) started: Instant,
    pub(super) work: Work,
    pub(super) links: Links,
    pub(super) seats: Seats,
    pub(super) doom: Doom,
    pub(super) completions: mpsc::Sender<Completion>,
    pub(super) gathering: Gathering,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) outlook: Outlook,
    pub(super) space_asked_at: Option<Instant>,
    /// Payload handed to storage since the volume's space was asked for.
    pub(super) unlooked_bytes: u64,
    pub(super) directory: Arc<quorate_store::Directory>,
    pub(super) snapshots: Arc<Snapshots>,
    /// What is being sent of them.
    pub(super) transfers: Transfers,
    /// The state file in use.
    pub(super) state: StateFile,
    pub(super) installing: Option<Installing>,
    pub(super) stages: Arc<Stages>,
    pub(super) restore: Hold,
    /// The restore that the machine waits for.
    pub(super) waiting: Claim,
    pub(super) seen: Seen,
    pub(super) room: Room,
    pub(super) meter: Meter,
}

impl Driver {
    /// Turns until asked to stop or doomed, then gives back what must be ended in order.
    pub(super) async fn run(mut self, mut inboxes: Inboxes) -> (LogThread, Links) {
        self.follow_configuration();
        let sleep = tokio::time::sleep_until(self.wake_at());
        tokio::pin!(sleep);
        loop {
            sleep.as_mut().reset(self.wake_at());
            let woken_by = tokio::select! {
                biased;
                _ = &mut inboxes.stop => break,
                Some(completion) = inboxes.completions.recv() => Woken::Completion(completion),
                Some(from) = inboxes.peers.recv() => Woken::Peer(from),
                Some(request) = inboxes.requests.recv() => Woken::Request(request),
                () = &mut sleep => Woken::Clock,
            };
            let woken_at = Instant::now();
            match woken_by {
                Woken::Completion(completion) => self.complete(completion),
                Woken::Peer(from) => self.hear(from),
                Woken::Request(request) => self.ask(request),
                Woken::Clock => {}
            }
            self.drain(&mut inboxes);
            self.turn();
            if self.may_propose() {
                // What this turn committed made room for them.
                self.turn();
            }
            self.meter.turned(woken_at.elapsed(), self.raft.role());
            if self.doom.is_called() {
                break;
            }
        }
        (self.work.into_log(), self.links)
    }

    /// Everything that came in meanwhile, up to a bound: one step and one commit for all of it (M5).
    fn drain(&mut self, inboxes: &mut Inboxes) {
        for _ in 0..DRIVER_BATCH_MAX {
            let Ok(completion) = inboxes.completions.try_recv() else { break };
            self.complete(completion);
        }
        for _ in 0..DRIVER_BATCH_MAX {
            let Ok(from) = inboxes.peers.try_recv() else { break };
            self.hear(from);
        }
        // One request may be many inputs.
        let inputs_max = self.inputs.len() + self.gathering.len() + DRIVER_BATCH_MAX;
        while self.inputs.len() + self.gathering.len() < inputs_max {
            let Ok(request) = inboxes.requests.try_recv() else { break };
            self.ask(request);
        }
        // After the messages: one that arrived in time must not count as silence.
        if self.now() >= self.raft.next_deadline() {
            self.inputs.push(Input::Tick);
        }
    }

    fn turn(&mut self) {
        if self.may_propose() {
            for (command, writer, asked_at) in self.gathering.take() {
                let ticket = self.seats.take(Seat::Write(writer, asked_at));
                self.inputs.push(Input::Propose { ticket, command });
            }
        }
        let now = self.now();
        self.raft.step_batch(now, self.inputs.drain(..), &mut self.outputs);
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        self.outputs = outputs;
        self.work.hand_on();
        self.look_around();
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Storage(Stored::Committed(committed)) => self.committed(&committed),
            // The storage thread has called doom; this only wakes the driver, so that it sees that.
            Completion::Storage(Stored::Failed(_)) => {}
            Completion::Machine(Report::Applied(applied)) => {
                self.seen.applied = applied;
                self.inputs.push(Input::Applied { upto: applied.index });
            }
            Completion::Machine(Report::DurableApplied(applied)) => {
                self.seen.durable_applied = applied;
                self.inputs.push(Input::DurableApplied { applied });
            }
            Completion::Machine(Report::Restore { order, at, here }) => {
                self.inputs.push(Input::Restoring { at: at.index });
                self.restore(order, at, here);
            }
            Completion::ArchiveMissing(at) => self.inputs.push(Input::ArchiveMissing { at: at.index }),
            Completion::Restored(at) => self.work.store(StoreRequest::NameRestored { at }),
            Completion::Machine(Report::Rests) => self.machine_rests(),
            Completion::Machine(Report::Installed) => self.installed(),
            Completion::Sending(sending) => self.sending(sending),
            Completion::Opened(file) => self.opened(file),
            Completion::LogRead { reader, entries } => self.inputs.push(Input::LogRead { reader, entries }),
            Completion::Space(space) => {
                let is_low = space.is_low();
                if self.room.look(is_low) {
                    self.outlook.view_is_due = true;
                    let free_bytes = space.free_bytes;
                    tracing::warn!(free_bytes, is_low, "free space of the data volume crossed the floor");
                }
            }
        }
    }

    fn hear(&mut self, from: FromPeer) {
        self.meter.heard(&from);
        let input = match from {
            FromPeer::Message(message) => Input::Receive(message),
            FromPeer::Unreachable(peer) => Input::PeerUnreachable(peer),
            FromPeer::Versions { peer, versions } => {
                if versions.is_none() {
                    self.room.forget(&peer);
                }
                Input::PeerVersions { id: peer, versions }
            }
            FromPeer::Space { peer, is_low } => {
                self.room.hear(peer, is_low);
                self.outlook.view_is_due = true;
                return;
            }
            FromPeer::Gone(peer) => Input::ProcessGone(peer),
            FromPeer::Snapshot { from, term, epoch, meta } => {
                Input::SnapshotReceived { from, term, epoch, meta }
            }
        };
        self.inputs.push(input);
    }

    fn ask(&mut self, request: Request) {
        self.meter.asked(&request.ask);
        let input = match request.ask {
            Ask::Propose { command, writer } => {
                self.gathering.add((command, writer, Instant::now()));
                return;
            }
            Ask::ProposeMany(proposals) => {
                let now = Instant::now();
                for (command, writer) in proposals {
                    self.gathering.add((command, writer, now));
                }
                return;
            }
            Ask::ReadIndex { reply } => Input::ReadIndex { ticket: self.seats.take(Seat::ReadIndex(reply)) },
            Ask::Barrier { reply } => Input::Barrier { ticket: self.seats.take(Seat::Barrier(reply)) },
            Ask::ChangeMembership { reply, .. } if self.restore.refuses_changes() => {
                // Who is gone is not told.
                let _ = reply.send(Err(super::restore::no_change_now()));
                return;
            }
            Ask::BeginRestore { reply } => {
                // Who is gone is not told.
                let _ = reply.send(self.begin_restore());
                return;
            }
            Ask::ProposeRestore { place, order, writer } => match self.check_restore(&place) {
                Ok(()) => {
                    let command = Tagged { tag: None, command: Command::Restore(order) }.encode();
                    Input::Propose { ticket: self.seats.take(Seat::Write(writer, Instant::now())), command }
                }
                Err(error) => {
                    writer.tell(Err(error));
                    return;
                }
            },
            Ask::ChangeMembership { expected, change, reply } => {
                let ticket = self.seats.take(Seat::Configuration(reply));
                Input::ChangeMembership { ticket, expected, change }
            }
            Ask::Bootstrap { cluster_id, server, mode, reply } => {
                let ticket = self.seats.take(Seat::Configuration(reply));
                Input::Bootstrap { ticket, cluster_id, server, address: self.address.clone(), mode }
            }
            Ask::Transfer { target, reply } => {
                Input::TransferLeadership { ticket: self.seats.take(Seat::Transfer(reply)), target }
            }
            Ask::HandOver { reply } => {
                let led = self.raft.status().role == Role::Leader;
                // Who is gone is not told.
                let _ = reply.send(Ok(led));
                Input::HandOver
            }
            Ask::Status { reply } => {
                let _ = reply.send(Ok(Arc::new(self.raft.status())));
                return;
            }
            Ask::Files { reply } => {
                // Who is gone is not told.
                let _ = reply.send(Ok(self.files()));
                return;
            }
            Ask::CaughtUp => {
                self.seen.is_caught_up = true;
                self.outlook.view_is_due = true;
                return;
            }
        };
        self.inputs.push(input);
    }

    fn may_propose(&self) -> bool {
        self.gathering.is_due(self.raft.role() == Role::Leader)
    }

    fn carry_out(&mut self, output: Output) {
        self.meter.saw(&output);
        match output {
            Output::Persist(persist) => {
                self.gathering.issued(&persist);
                self.unlooked_bytes += persist.entries.iter().map(Entry::bytes).sum::<u64>();
                self.work.store(StoreRequest::Persist(persist));
            }
            Output::Compact { upto } => self.work.store(StoreRequest::Compact { upto: upto.index }),
            Output::Send(message) => {
                if let Err(peer) = self.links.send(message) {
                    // For the next turn: the core must not be asked again while its outputs are carried out.
                    self.inputs.push(Input::PeerUnreachable(peer));
                }
            }
            Output::Apply(apply) => {
                self.gathering.committed(&apply);
                let waiter = |(index, ticket)| {
                    self.meter.committed(self.seats.asked_at(ticket));
                    Some((index, self.seats.waiter(ticket)?))
                };
                let waiters = apply.tickets.into_iter().filter_map(waiter).collect();
                self.work.give(Job::Apply { entries: apply.entries, waiters });
            }
            Output::ReadLog { reader, from, upto, bytes_max } => {
                self.work.read_log(reader, from..upto.next(), bytes_max);
            }
            Output::Answer { ticket, result } => self.seats.answer(ticket, result),
            Output::SendSnapshot { to, term, epoch, at_least } => {
                self.send_snapshot(to, term, epoch, at_least);
            }
            Output::DiscardSnapshot { last } => self.discard_snapshot(last),
            Output::AdoptSnapshot { last } => self.adopt_snapshot(last),
            Output::Event(event) => self.note(event),
        }
    }

    /// What is due now and then: the view, the volume's free space, connections no longer needed.
    fn look_around(&mut self) {
        let is_much_written = self.unlooked_bytes >= SPACE_CHECK_BYTES;
        if is_much_written || self.space_asked_at.is_none_or(|asked| asked.elapsed() >= SPACE_CHECK_EVERY) {
            self.space_asked_at = Some(Instant::now());
            self.unlooked_bytes = 0;
            self.links.forget_departed();
            self.sweep_stages();
            let (directory, completions) = (Arc::clone(&self.directory), self.completions.clone());
            tokio::task::spawn_blocking(move || match directory.tend_ballast() {
                Ok(space) => drop(completions.blocking_send(Completion::Space(space))),
                // A volume that can't say how full it is will say so again on the next write.
                Err(error) => tracing::warn!(%error, "cannot read the volume's free space"),
            });
        }
        if self.outlook.is_due() {
            self.publish_view();
        }
    }

    fn publish_view(&mut self) {
        let status = self.raft.status();
        if status.leader.is_some() {
            self.seen.leader_heard = Some(Instant::now());
        }
        let low_majority = match &status.latest {
            Some(latest) if status.role == Role::Leader => {
                self.room.low_majority(&self.identity.server, &latest.configuration)
            }
            _ => Vec::new(),
        };
        let view = View {
            identity: Arc::clone(&self.identity),
            status: Arc::new(status),
            applied: self.seen.applied,
            durable_applied: self.seen.durable_applied,
            is_ready: self.seen.is_caught_up,
            leader_heard: self.seen.leader_heard,
            early_elections: self.seen.early_elections,
            is_space_low: self.room.is_low_here(),
            low_majority,
            snapshots: self.transfers.progress(),
            is_volume_lost: self.seen.is_volume_lost,
        };
        self.outlook.publish(view);
    }

    pub(super) fn follow_configuration(&mut self) {
        let status = self.raft.status();
        if let Some(latest) = status.latest {
            self.links.follow(&latest.configuration);
            self.meter.follow(&self.identity.server.raft_id, &latest.configuration);
        }
        self.links.follow_version(status.version);
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed())
    }

    fn wake_at(&self) -> tokio::time::Instant {
        let core = self.started + self.raft.next_deadline().0;
        // Inputs left from the last turn wait at most for this.
        let held = !self.inputs.is_empty() || self.work.is_held();
        let latest = Instant::now() + if held { HELD_PAUSE } else { IDLE_PAUSE };
        core.min(latest).into()
    }
}

/// Pause before held work is offered again; completions usually come sooner.
const HELD_PAUSE: Duration = Duration::from_millis(5);
/// The longest sleep: the view's ages and the volume's space are looked at now and then.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
