//! Snapshot transfers: the real file of the sender's store, over the simulated network, into the receiver's store.
//!
//! A transfer arrives as a whole or not at all; that it can resume in the middle is the store's own test.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quorate_raft::{Epoch, Input, LogId, ServerId, Term};

use super::coverage::Happening;
use super::event::Event;
use super::network::MemberNumber;
use super::world::{Happened, World, of_disk};

/// After how long a sender gives up on a transfer that does not arrive.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// A snapshot on its way.
pub struct Transfer {
    /// The leader that sends it.
    pub from: ServerId,
    /// Its term.
    pub term: Term,
    /// The receiver.
    pub to: ServerId,
    /// The replication it is for.
    pub epoch: Epoch,
    /// The last entry in it.
    pub last: LogId,
    /// The whole file; none if it was lost on the way, which only the sender will notice.
    pub file: Option<Bytes>,
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
        let from = self.fleet[number].id.clone();
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
        let arrival = match self.fleet.place_of(&to) {
            Some(place) => self.arrivals((number, place)).first().copied(),
            None => None,
        };
        let transfer = Transfer { from, term, to, epoch, last, file: arrival.map(|_| file) };
        self.schedule.after(arrival.unwrap_or(LOST_AFTER), Event::Snapshot(Box::new(transfer)));
        Ok(())
    }

    /// A snapshot arrives, or the sender notices that it does not.
    pub(super) fn snapshot_arrives(&mut self, transfer: Transfer) -> Happened {
        let received = self.receive(&transfer);
        let is_delivered = matches!(received, Ok(true));
        if !is_delivered {
            self.coverage.hit(Happening::SnapshotLost);
        }
        let Transfer { from, to, epoch, last, .. } = transfer;
        if let Some(sender) = self.fleet.holder_of(&from) {
            let told =
                self.step(sender, Input::SnapshotSent { to, epoch, delivered: is_delivered.then_some(last) });
            // Both may have met their end; the receiver's came first.
            received.and(told)
        } else {
            received.map(|_| ())
        }
    }

    fn receive(&mut self, transfer: &Transfer) -> Result<bool> {
        let (Some(file), Some(number)) = (&transfer.file, self.fleet.holder_of(&transfer.to)) else {
            return Ok(false);
        };
        let Some(process) = &self.fleet[number].process else { return Ok(false) };
        let received = process.receive(transfer.last, file);
        let Some(meta) = of_disk(number, received)? else { return Ok(false) };
        if self.fleet[number].is_dead() {
            return Ok(false);
        }
        self.say(|_| format!("m{number} received a snapshot up to {}", transfer.last.index.0));
        let Transfer { from, term, epoch, .. } = transfer;
        let input = Input::SnapshotReceived { from: from.clone(), term: *term, epoch: *epoch, meta };
        self.step(number, input)?;
        Ok(true)
    }
}
