//! Snapshot transfers: the real file of the sender's store, over the simulated network, into the receiver's store.
//!
//! ```text
//!   offer ─▶ begun, or gone on with where the same one broke off ─▶ part ─▶ part ─▶ checked, told to the core
//!              └── a part is lost, or one of the two ends: broken off; what came is kept for the next offer (K7)
//! ```
//! What came is in memory: it goes with the process. One comes in at a time, as in the sidecar.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quorate_raft::{Epoch, Input, LogId, ServerId, SnapshotMeta, Term};
use quorate_store::{SnapshotReceiver, StoreError};
use rand::Rng;

use super::coverage::Happening;
use super::event::{Boot, Event};
use super::invariants::Verdict;
use super::network::MemberNumber;
use super::process::Process;
use super::world::{Happened, World, check, of_disk};

/// After how long both ends give up on a transfer of which nothing arrives any more.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// In how many parts a file is sent at most.
const PARTS_MAX: usize = 4;
/// How likely a transfer breaks off before its next part, beside what a single message suffers.
const BREAKS_OFF: f64 = 0.15;

/// A snapshot on its way.
pub struct Transfer {
    /// Which transfer of the run, so that the receiver knows whose part it is.
    number: u64,
    /// The process that sends it.
    sender: Boot,
    /// The leader that this process is.
    from: ServerId,
    /// Its term.
    term: Term,
    /// The receiver.
    to: ServerId,
    /// The replication it is for.
    epoch: Epoch,
    /// The last entry in it.
    last: LogId,
    /// The whole file.
    file: Bytes,
    /// How much of it is sent at a time.
    part_bytes: usize,
    /// What arrives.
    part: Part,
}

/// What arrives of a transfer.
#[derive(Clone, Copy)]
enum Part {
    Offer,
    /// The bytes from this offset on.
    Bytes(u64),
    /// Nothing any more.
    Nothing,
}

/// What a member has of a snapshot.
pub struct Receiving {
    /// The transfer it comes by; none since that broke off.
    transfer: Option<u64>,
    receiver: SnapshotReceiver,
}

/// How far a receiver is.
enum Reception {
    /// The bytes from this offset on are due.
    Wants(u64),
    /// It is whole, and the state file is made.
    Whole(SnapshotMeta),
    /// It is not wanted, or not by this transfer.
    Refused,
}

impl Process {
    /// A transfer is offered.
    fn begin_receiving(&mut self, transfer: &Transfer, resumed: &mut bool) -> Result<Reception> {
        let (last, bytes) = (transfer.last, transfer.file.len() as u64);
        if self.receiving.as_ref().is_some_and(|receiving| receiving.transfer.is_some()) {
            return Ok(Reception::Refused);
        }
        let kept = self.receiving.take().map(|kept| kept.receiver).filter(|kept| kept.is_of(last, bytes));
        let begun = match kept {
            Some(kept) => {
                *resumed = true;
                Ok(kept)
            }
            None => SnapshotReceiver::begin(&self.directory, last, bytes),
        };
        let receiver = match begun {
            Ok(receiver) => receiver,
            Err(StoreError::SnapshotRefused { .. }) => return Ok(Reception::Refused),
            Err(error) => return Err(error.into()),
        };
        let offset = receiver.offset();
        self.receiving = Some(Receiving { transfer: Some(transfer.number), receiver });
        Ok(Reception::Wants(offset))
    }

    /// A part of it arrives; after the last one the whole is checked.
    fn receive(&mut self, transfer: &Transfer, offset: u64) -> Result<Result<Reception, String>> {
        let is_its = |receiving: &mut Receiving| receiving.transfer == Some(transfer.number);
        let Some(mut receiving) = self.receiving.take_if(is_its) else { return Ok(Ok(Reception::Refused)) };
        let from = usize::try_from(offset)?;
        let end = (from + transfer.part_bytes).min(transfer.file.len());
        let Some(part) = transfer.file.get(from..end) else {
            let (to, length) = (&transfer.to.raft_id, transfer.file.len());
            return Ok(Err(format!("snapshots: {to} wants the bytes from {offset} of a file of {length}")));
        };
        if let Err(error) = receiving.receiver.write(offset, part) {
            return if error.is_refusal() { Ok(Err(refused(transfer, &error))) } else { Err(error.into()) };
        }
        if !receiving.receiver.is_complete() {
            let offset = receiving.receiver.offset();
            self.receiving = Some(receiving);
            return Ok(Ok(Reception::Wants(offset)));
        }
        match receiving.receiver.finish(&self.directory) {
            Ok(meta) => Ok(Ok(Reception::Whole(meta))),
            // The state went on meanwhile.
            Err(error) if error.is_refusal() && self.durable_applied() >= transfer.last.index => {
                Ok(Ok(Reception::Refused))
            }
            Err(error) if error.is_refusal() => Ok(Err(refused(transfer, &error))),
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing comes by this transfer any more; what came is kept.
    fn break_off(&mut self, transfer: u64) {
        if let Some(receiving) = self.receiving.as_mut().filter(|one| one.transfer == Some(transfer)) {
            receiving.transfer = None;
        }
    }
}

/// Every part that is sent is a part of the file that was offered (K7).
fn refused(transfer: &Transfer, error: &StoreError) -> String {
    format!("snapshots: {} refuses what {} sent: {error}", transfer.to.raft_id, transfer.from.raft_id)
}

impl World {
    /// A leader wants a snapshot sent.
    pub(super) fn send_snapshot(
        &mut self,
        number: MemberNumber,
        (to, term, epoch): (ServerId, Term, Epoch),
        at_least: LogId,
        inputs: &mut VecDeque<Input>,
    ) -> Happened {
        let Some(process) = &self.fleet[number].process else { return Ok(()) };
        let snapshot = process.snapshot(at_least);
        let Some((last, file)) = of_disk(number, snapshot)? else {
            // The core asks again; a state that is never flushed would never do.
            self.flush(number);
            inputs.push_back(Input::SnapshotSent { to, epoch, delivered: None });
            self.say(|_| format!("m{number} has no snapshot from {} on", at_least.index.0));
            return Ok(());
        };
        self.coverage.hit(Happening::SnapshotSent);
        inputs.push_back(Input::SnapshotProgress { to: to.clone(), epoch, last });
        let (from, sender) = (self.fleet[number].id.clone(), self.fleet.boot(number));
        let part_bytes = file.len() / self.rng.random_range(1..=PARTS_MAX) + 1;
        let transfer = Transfer {
            number: self.coverage.count(Happening::SnapshotSent),
            sender,
            from,
            term,
            to,
            epoch,
            last,
            file,
            part_bytes,
            part: Part::Offer,
        };
        self.send_part(transfer);
        Ok(())
    }

    /// The next part is on its way, or the transfer breaks off.
    fn send_part(&mut self, mut transfer: Transfer) {
        let is_broken = matches!(transfer.part, Part::Bytes(_)) && self.breaks_now(BREAKS_OFF);
        let arrival = match self.fleet.place_of(&transfer.to) {
            Some(place) => self.arrivals((transfer.sender.member, place)).first().copied(),
            None => None,
        };
        let arrival = arrival.filter(|_| !is_broken);
        if arrival.is_none() {
            transfer.part = Part::Nothing;
        }
        self.schedule.after(arrival.unwrap_or(LOST_AFTER), Event::Snapshot(Box::new(transfer)));
    }

    /// A part of a snapshot arrives, or both ends notice that none does any more.
    pub(super) fn snapshot_arrives(&mut self, mut transfer: Transfer) -> Happened {
        let reception = self.receive(&transfer);
        if let Ok(Reception::Wants(offset)) = reception {
            transfer.part = Part::Bytes(offset);
            self.send_part(transfer);
            return Ok(());
        }
        let is_delivered = matches!(reception, Ok(Reception::Whole(_)));
        if !is_delivered {
            self.coverage.hit(Happening::SnapshotLost);
        }
        let ended = match reception {
            Ok(Reception::Whole(meta)) => self.snapshot_received(&transfer, meta),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let Transfer { sender, to, epoch, last, .. } = transfer;
        if !self.fleet.lives(sender) {
            return ended;
        }
        let delivered = is_delivered.then_some(last);
        let told = self.step(sender.member, Input::SnapshotSent { to, epoch, delivered });
        // Both may have met their end; the receiver's came first.
        ended.and(told)
    }

    fn receive(&mut self, transfer: &Transfer) -> Result<Reception> {
        let Some(number) = self.fleet.holder_of(&transfer.to) else { return Ok(Reception::Refused) };
        // The connection ends with the process at its other end.
        let is_over =
            !self.fleet.lives(transfer.sender) || self.refusal((transfer.sender.member, number)).is_some();
        let Some(process) = &mut self.fleet[number].process else { return Ok(Reception::Refused) };
        let mut is_resumed = false;
        let reception = match transfer.part {
            _ if is_over => Ok(Ok(Reception::Refused)),
            Part::Nothing => Ok(Ok(Reception::Refused)),
            Part::Offer => process.begin_receiving(transfer, &mut is_resumed).map(Ok),
            Part::Bytes(offset) => process.receive(transfer, offset),
        };
        if let Ok(Ok(Reception::Refused)) = reception {
            process.break_off(transfer.number);
        }
        let received = of_disk(number, reception)?;
        if is_resumed {
            self.coverage.hit(Happening::SnapshotResumed);
            self.say(|_| format!("m{number} goes on with the snapshot up to {}", transfer.last.index.0));
        }
        match received {
            Ok(_) if self.fleet[number].is_dead() => Ok(Reception::Refused),
            Ok(reception) => Ok(reception),
            Err(broken) => {
                let verdict: Verdict = Err(broken);
                check(verdict).map(|()| Reception::Refused)
            }
        }
    }

    /// A whole snapshot is at a member.
    fn snapshot_received(&mut self, transfer: &Transfer, meta: SnapshotMeta) -> Happened {
        let Transfer { from, term, to, epoch, last, .. } = transfer;
        let Some(number) = self.fleet.holder_of(to) else { return Ok(()) };
        self.say(|_| format!("m{number} received a snapshot up to {}", last.index.0));
        self.step(number, Input::SnapshotReceived { from: from.clone(), term: *term, epoch: *epoch, meta })
    }
}
