//! Writes, from a caller to an entry: checked, sent to whoever leads, answered when applied.
//!
//! ```text
//!   one:   propose ──▶ leads here? ─ yes ─▶ driver ─▶ core ─▶ committed ─▶ machine ─▶ outcome
//!             ▲            │ no: one hop to the leader, which does the same `here`
//!             └─ not applied: the next leader, until the deadline
//!   many:  propose_many_here ─▶ driver, in one request; each is answered by its place
//! ```
//!
//! Not here: what a stream does with writes that were not applied: it proposes each again, as one.

use std::sync::Arc;

use bytes::Bytes;
use quorate_machine::{Command, Tagged, TxnOp};
use quorate_raft::{RaftId, ServerId, Version};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::error::{CallError, Effect, ErrorKind};
use super::handle::{Applied, Handle, capped, next_leader};
use super::own_client::{OpenWrite, is_refused_as_client};
use super::request::{Ask, Proposals, Request};
use super::writer::{Answers, Writer, overdue, stopped};
use crate::limits::PROPOSALS_TOGETHER_MAX;

impl Handle {
    /// Writes: returns once the command is committed and applied. From a follower it goes to the leader.
    ///
    /// `NotApplied` errors of leaders that could not take it are retried here until the deadline. What is forwarded
    /// untagged is tagged with this member's own registration, and so it may be sent again when a leader vanished
    /// without an answer (K20).
    pub async fn propose(&self, command: &Tagged, deadline: Instant) -> Result<Applied, CallError> {
        self.check_serving()?;
        if command.tag.is_none() {
            return Box::pin(self.propose_untagged(&command.command, capped(deadline))).await;
        }
        let command = command.encode();
        self.with_leader(deadline, |leader| {
            let command = command.clone();
            async move { self.propose_to(leader, command, deadline).await }
        })
        .await
    }

    async fn propose_to(
        &self,
        leader: Option<ServerId>,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, CallError> {
        match leader {
            None => self.propose_here(command, deadline).await,
            Some(leader) => self.shared.leaders.propose(&leader, command, deadline).await,
        }
    }

    async fn propose_untagged(&self, command: &Command, deadline: Instant) -> Result<Applied, CallError> {
        let (mut own, mut is_refused) = (None, false);
        // The error of an earlier attempt that may have been applied: from then on no other error is the whole truth.
        let mut unknown: Option<CallError> = None;
        loop {
            let mut leadership = self.watch_leadership();
            leadership.mark_unchanged();
            let leader = match self.leader(deadline).await {
                Ok(leader) => leader,
                Err(error) => return Err(unknown.unwrap_or(error)),
            };
            if leader.is_some() && own.is_none() && !is_refused {
                own = self.shared.own_client.open();
            }
            let tagged = Tagged { tag: own.as_ref().map(OpenWrite::tag), command: command.clone() };
            let error = match self.propose_to(leader, tagged.encode(), deadline).await {
                Ok(applied) => {
                    let Some(refused) = own.take_if(|_| is_refused_as_client(&applied.outcome)) else {
                        return Ok(applied);
                    };
                    self.shared.own_client.refused(&refused, &applied.outcome);
                    // This attempt was not applied. An earlier one may have been, and is never sent again.
                    if let Some(unknown) = unknown {
                        return Err(unknown);
                    }
                    is_refused = true;
                    continue;
                }
                Err(error) => error,
            };
            let may_be_sent_again =
                error.is_retried_on_next_leader() || own.is_some() && error.is_left_open();
            if error.effect == Effect::Unknown {
                unknown = Some(error.clone());
            }
            if !may_be_sent_again || !next_leader(&mut leadership, deadline).await {
                return Err(unknown.unwrap_or(error));
            }
        }
    }

    /// As [`Handle::propose`], but only if this member leads: a forwarded call ends here.
    pub async fn propose_here(&self, command: Bytes, deadline: Instant) -> Result<Applied, CallError> {
        self.check_command(&command)?;
        let permit = self.permit(command.len())?;
        let (reply, answer) = oneshot::channel();
        let writer = Writer::Call(reply);
        self.send(Request { ask: Ask::Propose { command, writer }, _permit: Some(permit) })?;
        // From here on the driver has it: a deadline can't take it back.
        match tokio::time::timeout_at(capped(deadline), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(overdue()),
        }
    }

    /// As [`Handle::propose_here`] for many at once, which their caller has validated: as few requests to the driver as may
    /// be, and each write answered under its number. Deadlines are the caller's.
    pub(crate) fn propose_many_here<'a>(
        &self,
        writes: impl Iterator<Item = (u64, &'a Tagged)>,
        answers: &Answers,
    ) {
        let (mut bytes, mut proposals) = (0, Vec::new());
        for (number, tagged) in writes {
            let writer = Writer::of_stream(number, answers);
            match self.admit(&tagged.command) {
                Ok(()) => {
                    let command = tagged.encode();
                    bytes += command.len();
                    proposals.push((command, writer));
                }
                Err(error) => writer.tell(Err(error)),
            }
            if proposals.len() == PROPOSALS_TOGETHER_MAX {
                self.send_many(std::mem::take(&mut bytes), std::mem::take(&mut proposals));
            }
        }
        if !proposals.is_empty() {
            self.send_many(bytes, proposals);
        }
    }

    /// Each is told if there is no room for them.
    fn send_many(&self, bytes: usize, proposals: Proposals) {
        let places = self.permit(bytes).and_then(|permit| Ok((permit, self.place()?)));
        match places {
            Ok((permit, place)) => {
                place.send(Request { ask: Ask::ProposeMany(proposals), _permit: Some(permit) });
            }
            Err(error) => proposals.into_iter().for_each(|(_, writer)| writer.tell(Err(error.clone()))),
        }
    }

    /// Room for so many bytes of commands on their way to the driver.
    fn permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, CallError> {
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.shared.bytes)
            .try_acquire_many_owned(weight)
            .map_err(|_| CallError::busy("the proposal queue (bytes)"))
    }

    /// The last look at a command before it becomes an entry: one that can't be applied would stop every
    /// member at once, and it may come from a peer.
    fn check_command(&self, command: &Bytes) -> Result<(), CallError> {
        let invalid = |why: &dyn std::fmt::Display| {
            CallError::not_applied(ErrorKind::Invalid, format!("{why}; not applied"))
        };
        let tagged = Tagged::decode(command).map_err(|error| invalid(&error))?;
        tagged.command.validate().map_err(|error| invalid(&error))?;
        self.admit(&tagged.command)
    }

    /// Whether the cluster takes such a command as things are now.
    fn admit(&self, command: &Command) -> Result<(), CallError> {
        let needed = Version(command.since());
        let version = self.shared.view.borrow().status.version;
        if let Some(cluster) = version.filter(|cluster| *cluster < needed) {
            return Err(CallError::not_applied(
                ErrorKind::FailedPrecondition,
                format!(
                    "this command needs version {needed} of the cluster, which is at {cluster}: update every member, then it is \
                     raised; not applied"
                ),
            ));
        }
        if is_growing(command) { self.check_room() } else { Ok(()) }
    }

    /// K8: what grows goes on the leader's volume and on those of a majority.
    fn check_room(&self) -> Result<(), CallError> {
        let view = self.shared.view.borrow();
        if view.is_space_low {
            return Err(CallError::not_applied(
                ErrorKind::NoSpace,
                "the leader's volume is nearly full: delete keys or grow the volume claim; deletes still work; not applied",
            ));
        }
        if view.low_majority.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = view.low_majority.iter().map(RaftId::as_str).collect();
        Err(CallError::not_applied(
            ErrorKind::NoSpace,
            format!(
                "the volumes of a majority of the voters are nearly full ({}): delete keys or grow the volume claims; deletes \
                 still work; not applied",
                names.join(", ")
            ),
        ))
    }
}

/// Whether a command may need more space than it frees (K8).
fn is_growing(command: &Command) -> bool {
    match command {
        Command::Put { .. }
        | Command::CompareAndSet { .. }
        | Command::Acquire { .. }
        | Command::CreateSession(_)
        | Command::Propose { .. } => true,
        Command::Txn(ops) => {
            ops.iter().any(|op| matches!(op, TxnOp::Set { .. } | TxnOp::Cas { .. } | TxnOp::Lock { .. }))
        }
        // A release writes too, but only where something was acquired before.
        Command::Release { .. }
        | Command::DestroySession { .. }
        | Command::EndLockDelay { .. }
        | Command::Delete { .. }
        | Command::DeletePrefix { .. }
        | Command::RegisterClient { .. }
        | Command::SetAutopilot { .. }
        | Command::RememberServers(_)
        | Command::Restore(_)
        | Command::Trim { .. }
        | Command::RecordSnapshot(_) => false,
    }
}
