//! Snapshot transfers: the real file of the sender's store, over the simulated network, into the receiver's store.
//!
//! A transfer arrives as a whole or not at all; that it can resume in the middle is the store's own test.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quorate_raft::{Epoch, Input, LogId, ServerId, Term};
use rand::Rng;

use super::network::MemberNumber;
use super::world::{Event, Happened, World};

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
        let from = self.members[number].id.clone();
        let Some(process) = &mut self.members[number].process else { return Ok(()) };
        let flushed = process.flush()?;
        inputs.extend(flushed.map(|applied| Input::DurableApplied { applied }));
        let Some((last, file)) = process.snapshot(at_least)? else {
            inputs.push_back(Input::SnapshotSent { to, epoch, delivered: None });
            self.say(&format!("m{number} has no snapshot from {} on", at_least.index.0));
            return Ok(());
        };
        inputs.push_back(Input::SnapshotProgress { to: to.clone(), epoch, last });
        let arrival = match self.slot_of(&to) {
            Some(slot) => self.network.arrivals(number, slot, &self.options, &mut self.rng).first().copied(),
            None => None,
        };
        let transfer = Transfer { from, term, to, epoch, last, file: arrival.map(|_| file) };
        self.schedule.after(arrival.unwrap_or(LOST_AFTER), Event::Snapshot(Box::new(transfer)));
        Ok(())
    }

    /// A snapshot arrives, or the sender notices that it does not.
    pub(super) fn snapshot_arrives(&mut self, transfer: Transfer) -> Happened {
        let delivered = self.receive(&transfer)?.then_some(transfer.last);
        if let Some(sender) = self.slot_of(&transfer.from) {
            let Transfer { to, epoch, .. } = transfer;
            self.step(sender, Input::SnapshotSent { to, epoch, delivered })?;
        }
        Ok(())
    }

    fn receive(&mut self, transfer: &Transfer) -> Result<bool> {
        let (Some(file), Some(number)) = (&transfer.file, self.slot_of(&transfer.to)) else {
            return Ok(false);
        };
        let power_fails = self.breaks_now(0.05);
        let calls = self.rng.random_range(0..20);
        let Some(received) =
            self.members[number].receive(transfer.last, file, power_fails.then_some(calls))?
        else {
            return Ok(false);
        };
        self.say(&format!("m{number} received a snapshot up to {}", transfer.last.index.0));
        let Transfer { from, term, epoch, .. } = transfer;
        let input =
            Input::SnapshotReceived { from: from.clone(), term: *term, epoch: *epoch, meta: received };
        self.step(number, input)?;
        Ok(true)
    }
}
