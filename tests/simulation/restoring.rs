//! A restore at a member (K17): the entry's turn has come, and the machine waits for the state made from the archive.
//!
//! ```text
//!   apply ─▶ staged here? else fetched ─▶ state file built ─▶ the log names it ─▶ the machine moves there ─▶ what came after
//! ```
//! All of it is done by the store that ships; what the driver does between its calls is repeated here.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quorate_machine::{Base, KeyRange, Outcome, RestoreOrder, Table, Tagged};
use quorate_raft::{Apply, Entry, Index, Input, LogId, Payload, Term, Ticket};
use quorate_store::StoreError;
use rand::seq::SliceRandom;

use super::client::{key_bytes, value_in};
use super::coverage::Happening;
use super::event::Event;
use super::invariants::KeysHeld;
use super::network::MemberNumber;
use super::process::{Applied, Process};
use super::requests::Waiting;
use super::restores::Staging;
use super::world::{Happened, World, of_disk};

/// A member that lacks the archive asks again after this.
const FETCH_PAUSE: Duration = Duration::from_millis(150);

/// A restore whose turn it is to be applied.
pub struct Restoring {
    /// Its entry.
    pub entry: Entry,
    /// Which archive.
    pub order: RestoreOrder,
    /// Who waits for it.
    pub ticket: Option<Ticket>,
    /// What was to be applied after it, in order.
    pub held: VecDeque<Apply>,
}

/// A restore that is behind the machine, by its own state or by that of a later snapshot.
struct Restored {
    restoring: Restoring,
    /// What it came to; none if a snapshot overtook it.
    applied: Option<Applied>,
}

/// The archive that an entry restores, if it does.
pub fn order_in(entry: &Entry) -> Option<RestoreOrder> {
    match &entry.payload {
        Payload::Command(command) => Tagged::restore_order(command),
        Payload::Noop | Payload::Barrier | Payload::Configuration(_) => None,
    }
}

impl Process {
    /// Puts an archive's state on the disk; none if the store wants none, for want of room.
    pub fn stage(
        &self,
        bytes: &Bytes,
        expected: Option<RestoreOrder>,
        term: Term,
    ) -> Result<Option<RestoreOrder>> {
        let stage = || {
            let mut incoming = self.stages.begin(bytes.len() as u64)?;
            incoming.write(bytes)?;
            incoming.finish(expected, term)
        };
        match stage() {
            Ok(staged) => Ok(Some(staged.order())),
            Err(StoreError::SnapshotRefused { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of an archive, for a member that lacks it; none if it is not here.
    fn staged(&self, order: RestoreOrder, term: Term) -> Result<Option<Bytes>> {
        let Some(staged) = self.stages.get(order, term) else { return Ok(None) };
        Ok(Some(staged.read(0, usize::try_from(order.bytes)?)?))
    }

    /// Builds the state of the restore that waits, to be named by the next commit. False if the archive is not here.
    fn build_restored(&mut self) -> Result<bool> {
        let Some(Restoring { entry, order, .. }) = &self.restoring else { return Ok(false) };
        let Some(staged) = self.stages.get(*order, entry.term) else { return Ok(false) };
        self.stages.named_by(*order, entry.index)?;
        staged.build(&self.directory, entry.id(), &self.machine.here()?)?;
        self.to_name = Some(entry.id());
        Ok(true)
    }

    /// Makes a received snapshot the state that the next commit names.
    fn adopt_snapshot(&mut self, last: LogId) -> Result<()> {
        self.directory.adopt_snapshot(last)?;
        self.to_name = Some(last);
        Ok(())
    }

    /// What the first `keys` keys hold on a machine that has just been opened, and how many there are in all.
    pub fn keys_held(&self, keys: usize) -> Result<KeysHeld> {
        let mut count = 0;
        self.machine.base().scan(Table::Keys, &KeyRange::all(), &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        let held = |key| {
            let entry = self.read(&key_bytes(key))?.entry;
            Ok(entry.map(|entry| (value_in(&entry.value), entry.modify_index)))
        };
        Ok(KeysHeld { first: (0..keys).map(held).collect::<Result<_>>()?, count })
    }

    /// The restore that the machine has passed, whichever way.
    fn take_restored(&mut self) -> Option<Restored> {
        let (applied, meta) = (self.applied(), self.machine.meta());
        let outcome = Outcome::Written { modify_index: meta.keys.index };
        let restoring = self.restoring.take_if(|restoring| restoring.entry.index <= applied)?;
        let (before, entry) = (restoring.entry.index.previous(), restoring.entry.clone());
        let applied = (entry.index == applied).then(|| Applied {
            before,
            entry,
            outcome: Some(outcome),
            ticket: restoring.ticket,
        });
        Some(Restored { restoring, applied })
    }

    /// Removes staged archives that no entry can name any more.
    pub fn sweep(&self, durable_applied: LogId) -> Result<()> {
        Ok(self.stages.sweep(durable_applied, self.log.first())?)
    }
}

impl World {
    /// The turn of a restore has come, or comes again because the archive was not there.
    pub(super) fn restore(&mut self, number: MemberNumber, at: LogId) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let waits = process.restoring.as_ref().filter(|restoring| restoring.entry.id() == at);
        // Not if a snapshot is to be named for it.
        let waits = waits.filter(|_| process.to_name.is_none());
        let Some(order) = waits.map(|restoring| restoring.order) else { return Ok(()) };
        let built = process.build_restored();
        if of_disk(number, built)? {
            self.coverage.hit(Happening::RestoreBuilt);
            self.say(|_| format!("m{number} built the state of the restore {}", at.index.0));
            self.commit_soon(number);
            return Ok(());
        }
        self.schedule.after(FETCH_PAUSE, Event::Restore(self.fleet.boot(number), at));
        self.fetch(number, order, at.term)
    }

    /// A member asks one other after another for the archive, until one gives it.
    fn fetch(&mut self, number: MemberNumber, order: RestoreOrder, term: Term) -> Happened {
        let mut peers: Vec<_> = (0..self.fleet.count()).filter(|peer| *peer != number).collect();
        peers.shuffle(&mut self.rng);
        for peer in peers {
            let is_cut = self.network.is_cut((number, peer)) || self.network.is_cut((peer, number));
            let is_refused = self.refusal((number, peer)).is_some();
            let staged = match self.fleet[peer].process.as_ref().filter(|_| !is_cut && !is_refused) {
                Some(process) => process.staged(order, term),
                None => Ok(None),
            };
            let Some(bytes) = of_disk(peer, staged)? else {
                self.coverage.hit(Happening::FetchInVain);
                continue;
            };
            self.coverage.hit(Happening::Fetched);
            let (to, epoch) = (self.fleet[number].id.clone(), self.fleet[peer].epoch);
            self.transfer((peer, number), Staging { to, order, bytes, term, counted_by: None, epoch });
            return Ok(());
        }
        let restoring = self.fleet[number].process.as_ref().and_then(|process| process.restoring.as_ref());
        let Some(at) = restoring.map(|restoring| restoring.entry.index) else { return Ok(()) };
        self.coverage.hit(Happening::ArchiveMissing);
        self.step(number, Input::ArchiveMissing { at })
    }

    /// A core wants its machine on the state of a snapshot, in place of the restore that it waits for.
    pub(super) fn adopt_snapshot(&mut self, number: MemberNumber, last: LogId) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        if process.restoring.is_none() || process.to_name.is_some() {
            // The archive came meanwhile.
            let discarded = process.discard_snapshot(last);
            return of_disk(number, discarded);
        }
        let adopted = process.adopt_snapshot(last);
        of_disk(number, adopted)?;
        self.coverage.hit(Happening::SnapshotAdopted);
        self.say(|_| format!("m{number} is to move to the snapshot up to {}", last.index.0));
        self.commit_soon(number);
        Ok(())
    }

    /// The machine is on another state: that of a snapshot, or of the restore it waited for.
    pub(super) fn moved(&mut self, number: MemberNumber, applied: LogId) -> Happened {
        self.step(number, Input::Applied { upto: applied.index })?;
        self.step(number, Input::DurableApplied { applied })?;
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let Some(Restored { restoring, applied: done }) = process.take_restored() else { return Ok(()) };
        let Restoring { order, ticket, held, .. } = restoring;
        if let Some(done) = done {
            self.restored(number, order, done)?;
        } else {
            self.coverage.hit(Happening::RestoreOvertaken);
            // It was applied, and nobody here knows what came of it.
            let waiting = ticket.and_then(|ticket| self.stop_waiting(number, ticket));
            if matches!(waiting, Some(Waiting::Restore)) {
                self.restore_ends(number, None);
            }
        }
        for apply in held {
            self.go_on(number, apply, applied.index)?;
        }
        Ok(())
    }

    /// The machine is on the restored state.
    fn restored(&mut self, number: MemberNumber, order: RestoreOrder, done: Applied) -> Happened {
        self.coverage.hit(Happening::Restored);
        self.say(|_| format!("m{number} restored an archive at {}", done.entry.index.0));
        self.note_applied(number, &done)?;
        if let Some(Outcome::Written { modify_index }) = &done.outcome {
            self.look_at_restored(number, order, *modify_index)?;
        }
        if let Some(ticket) = done.ticket {
            self.applied(number, ticket, done.outcome);
        }
        Ok(())
    }

    /// Removes the archives at a member that no entry of its log names any more.
    pub(super) fn sweep(&mut self, number: MemberNumber, durable_applied: LogId) -> Happened {
        let Some(process) = self.fleet[number].process.as_ref().filter(|process| !process.stages.is_empty())
        else {
            return Ok(());
        };
        let swept = process.sweep(durable_applied);
        self.coverage.hit(Happening::Swept);
        of_disk(number, swept)
    }

    /// Applies what was held back, as far as the state does not have it.
    fn go_on(&mut self, number: MemberNumber, mut apply: Apply, upto: Index) -> Happened {
        apply.entries.retain(|entry| entry.index > upto);
        apply.tickets.retain(|(index, _)| *index > upto);
        if apply.entries.is_empty() || self.fleet[number].is_dead() {
            return Ok(());
        }
        for input in self.apply(number, apply)? {
            self.step(number, input)?;
        }
        Ok(())
    }
}
