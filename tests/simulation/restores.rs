//! Somebody restores an archive, as the sidecar does it (K17): the leader spreads it, and proposes it when a quorum has it
//! on disk.
//!
//! ```text
//!   ask ─▶ staged at the leader ──Staging──▶ staged at others ──StageHeld──▶ a quorum? ─▶ proposed ─▶ applied: answered
//! ```
//! Invariant: from the place to the answer this leader changes no membership, and it proposes only in the term and under
//! the configuration of the place: the quorum that has the archive is the one that commits it.
//! Not here: what each member does when the entry's turn comes (`restoring`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_linearizability::{Answer, CallId, Operation};
use quorate_machine::{ApiIndex, Command, RestoreOrder, Tagged};
use quorate_raft::{IndexedConfiguration, Input, RecoveryEpoch, Refusal, Role, ServerId, Status, Term};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::archive::{self, Archived, Contents};
use super::coverage::Happening;
use super::event::{Boot, Event};
use super::faults::Phase;
use super::hello::Refused;
use super::invariants::RestoredKeys;
use super::network::MemberNumber;
use super::requests::Waiting;
use super::world::{Happened, World, check, of_disk};

/// A quorum that does not have an archive by then never will: whatever was sent to it is lost.
const SPREAD_PATIENCE: Duration = Duration::from_secs(3);
/// Entries that an archive stands at most behind.
const ARCHIVED_ENTRIES_MAX: u64 = 1_500;
/// How likely a key is in an archive.
const ARCHIVED: f64 = 0.7;

/// How likely the transfer of an archive from the leader ends in the middle, beside what a single message suffers.
const TRANSFER_BREAKS: f64 = 0.25;

/// What is in the archives of a run, by their hash.
pub type Archives = BTreeMap<[u8; 32], Archived>;

/// The one place of a restore on a leader.
pub struct Place {
    order: RestoreOrder,
    term: Term,
    configuration: IndexedConfiguration,
    holders: BTreeSet<ServerId>,
    /// Its place in the history of each key, once it was proposed.
    calls: Vec<CallId>,
}

/// An archive on its way to a member's disk.
pub struct Staging {
    /// For whom it is.
    pub to: ServerId,
    /// Which one.
    pub order: RestoreOrder,
    /// All of it.
    pub bytes: Bytes,
    /// The term it may be proposed in, or was.
    pub term: Term,
    /// The leader that counts who has it; none if the receiver fetched it.
    pub counted_by: Option<Boot>,
    /// The recovery epoch of its sender.
    pub epoch: RecoveryEpoch,
}

impl Place {
    /// Whether a majority of the voters has it, of both halves if there are two (K14).
    fn is_on_a_quorum(&self) -> bool {
        let is_enough = |half: &BTreeSet<&ServerId>| {
            half.iter().filter(|id| self.holders.contains(**id)).count() > half.len() / 2
        };
        self.configuration.configuration.majorities().iter().all(is_enough)
    }

    /// Whether leader and configuration are still those it was begun under.
    fn is_of(&self, status: &Status) -> bool {
        let latest = status.latest.as_ref().map(|latest| latest.index);
        status.role == Role::Leader && status.term == self.term && latest == Some(self.configuration.index)
    }
}

impl World {
    /// Somebody sends an archive to a leader.
    pub(super) fn ask_restore(&mut self) -> Happened {
        let Some(every) = self.options.restore_every.filter(|_| self.phase == Phase::Breaking) else {
            return Ok(());
        };
        let next = self.around(every);
        self.schedule.after(next, Event::AskRestore);
        // At times one that was deposed and does not know yet.
        let Some((number, status)) = self.fleet.leaders().choose(&mut self.rng).cloned() else {
            return Ok(());
        };
        let is_placed = self.fleet[number].process.as_ref().is_some_and(|process| process.place.is_some());
        let Some(configuration) =
            status.latest.clone().filter(|_| !status.is_changing() && status.is_ready && !is_placed)
        else {
            self.coverage.hit(Happening::RestoreRefused);
            return Ok(());
        };
        let contents: Contents = (0..self.options.keys)
            .map(|_| self.rng.random_bool(ARCHIVED).then(|| self.clients.new_value()))
            .collect();
        let archived = Archived::new(contents, self.rng.random_range(0..ARCHIVED_ENTRIES_MAX));
        let bytes = archive::make(&archived, &configuration.configuration)?;
        let Some(process) = &self.fleet[number].process else { return Ok(()) };
        let staged = process.stage(&bytes, None, status.term);
        let Some(order) = of_disk(number, staged)? else {
            self.coverage.hit(Happening::RestoreRefused);
            return Ok(());
        };
        self.say(|_| format!("m{number} is to restore {:?}", archived.contents));
        self.archives.insert(order.sha256, archived);
        self.spread(number, order, &bytes, &status, configuration);
        self.propose_restore(number)
    }

    /// Sends an archive to all other servers; who has it on disk says so.
    fn spread(
        &mut self,
        number: MemberNumber,
        order: RestoreOrder,
        bytes: &Bytes,
        status: &Status,
        configuration: IndexedConfiguration,
    ) {
        let (boot, term, epoch) = (self.fleet.boot(number), status.term, self.fleet[number].epoch);
        for server in configuration.configuration.servers().iter().filter(|server| server.id != status.id) {
            let Some(place) = self.fleet.place_of(&server.id) else { continue };
            let (to, bytes) = (server.id.clone(), bytes.clone());
            self.transfer((number, place), Staging { to, order, bytes, term, counted_by: Some(boot), epoch });
        }
        self.schedule.after(SPREAD_PATIENCE, Event::SpreadEnds(boot, order));
        if let Some(process) = &mut self.fleet[number].process {
            let holders = BTreeSet::from([status.id.clone()]);
            process.place = Some(Place { order, term, configuration, holders, calls: Vec::new() });
        }
    }

    /// An archive is on its way: it arrives as a whole, or not at all.
    pub(super) fn transfer(&mut self, link: (MemberNumber, MemberNumber), staging: Staging) {
        let breaks = if staging.counted_by.is_some() { TRANSFER_BREAKS } else { self.options.fetch_breaks };
        let is_broken = self.breaks_now(breaks);
        if let Some(delay) = self.arrivals(link).first().filter(|_| !is_broken) {
            self.schedule.after(*delay, Event::Staging(Box::new(staging)));
        }
    }

    /// An archive arrives at a member.
    pub(super) fn staging_arrives(&mut self, staging: &Staging) -> Happened {
        let Staging { to, order, bytes, term, counted_by, epoch } = staging;
        let Some(number) = self.fleet.holder_of(to) else { return Ok(()) };
        if self.fleet[number].epoch != *epoch {
            self.refused(Refused::Epoch);
            return Ok(());
        }
        let Some(process) = &self.fleet[number].process else { return Ok(()) };
        let staged = process.stage(bytes, Some(*order), *term);
        let is_staged = of_disk(number, staged)?.is_some();
        if !is_staged || self.fleet[number].is_dead() {
            return Ok(());
        }
        self.coverage.hit(Happening::Staged);
        self.say(|_| format!("m{number} has the archive"));
        let Some(boot) = counted_by else { return Ok(()) };
        if let Some(delay) = self.arrivals((number, boot.member)).first() {
            self.schedule.after(*delay, Event::StageHeld(*boot, *order, to.clone()));
        }
        Ok(())
    }

    /// A leader hears that a member has the archive.
    pub(super) fn stage_held(&mut self, number: MemberNumber, order: RestoreOrder, by: ServerId) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        if let Some(place) = process.place.as_mut().filter(|place| place.order == order) {
            place.holders.insert(by);
        }
        self.propose_restore(number)
    }

    /// Proposes the archive, once a quorum has it.
    fn propose_restore(&mut self, number: MemberNumber) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let status = process.raft.status();
        let is_due = |place: &&mut Place| place.calls.is_empty() && place.is_on_a_quorum();
        let Some(place) = process.place.as_mut().filter(is_due) else { return Ok(()) };
        if !place.is_of(&status) {
            process.place = None;
            self.coverage.hit(Happening::RestoreRefused);
            return Ok(());
        }
        let order = place.order;
        let archived = self.archives.get(&order.sha256).into_iter();
        let contents = archived.flat_map(|archived| archived.contents.iter().copied().enumerate());
        // No archive has a key that is locked here, nor a session.
        let locks = self.lockers.recorded_keys().map(|key| (key, None));
        place.calls = contents
            .chain(locks)
            .map(|(key, value)| self.clients.history.begins(key, Operation::Restore(value)))
            .collect();
        self.coverage.hit(Happening::RestoreProposed);
        self.say(|_| format!("m{number} proposes the archive"));
        let ticket = self.administrator.ticket();
        self.wait(number, ticket, Waiting::Restore);
        let command = Tagged { tag: None, command: Command::Restore(order) }.encode();
        self.step(number, Input::Propose { ticket, command })
    }

    /// Whoever does not have the archive by now does not get it: without a quorum it is given up.
    pub(super) fn spread_ends(&mut self, number: MemberNumber, order: RestoreOrder) {
        let Some(process) = &mut self.fleet[number].process else { return };
        let is_over = |place: &mut Place| place.order == order && place.calls.is_empty();
        if process.place.take_if(is_over).is_some() {
            self.coverage.hit(Happening::RestoreRefused);
        }
    }

    /// The leader's machine is on the restored state: whoever sent the archive hears it.
    pub(super) fn restore_answered(&mut self, number: MemberNumber) {
        let place = self.fleet[number].process.as_mut().and_then(|process| process.place.take());
        for call in place.into_iter().flat_map(|place| place.calls) {
            self.clients.history.answered(call, Answer::Written);
        }
        self.coverage.hit(Happening::RestoreAnswered);
    }

    /// The core will not say what became of a restore; whether nothing did is in the refusal, if there is one.
    pub(super) fn restore_ends(&mut self, number: MemberNumber, refusal: Option<&Refusal>) {
        let place = self.fleet[number].process.as_mut().and_then(|process| process.place.take());
        if matches!(refusal, None | Some(Refusal::LeadershipLost { .. })) {
            self.coverage.hit(Happening::RestoreUnknown);
            return;
        }
        for call in place.into_iter().flat_map(|place| place.calls) {
            self.clients.history.void(call);
        }
        self.coverage.hit(Happening::RestoreRefused);
    }

    /// A member is right at a restore: it holds the archive's keys, and every one stands under the restore's own index,
    /// whoever restored it.
    pub(super) fn look_at_restored(
        &mut self,
        number: MemberNumber,
        order: RestoreOrder,
        index: ApiIndex,
    ) -> Happened {
        let Some(archived) = self.archives.get(&order.sha256) else { return Ok(()) };
        let Some(process) = &self.fleet[number].process else { return Ok(()) };
        let held = process.keys_held(archived.contents.len());
        let held = of_disk(number, held)?;
        check(RestoredKeys::are(&self.fleet[number].id, archived, index, &held))?;
        for value in archived.contents.iter().flatten() {
            check(self.clients.learns(*value, index))?;
        }
        Ok(())
    }
}
