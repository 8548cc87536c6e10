//! What clients do to the world: calls, answers, patience.

use std::time::Duration;

use anyhow::Result;
use quorate_raft::{Answer, Input, Refusal, Role, Ticket};
use rand::Rng;

use super::client::{self, Call, CallKind, PATIENCE};
use super::network::MemberNumber;
use super::world::{CallNumber, Event, Happened, World, check};

/// The longest rest between two calls of a client.
const REST_MS_MAX: u64 = 60;

impl World {
    /// A client meets a member at random, and calls the leader that one knows.
    pub(super) fn client_calls(&mut self, number: usize) -> Happened {
        let via = self.rng.random_range(0..self.members.len());
        let Some(leader) = self.leader_known_to(via) else {
            self.rest(number);
            return Ok(());
        };
        self.clients[number].calls += 1;
        let call = self.clients[number].calls;
        self.schedule.after(PATIENCE, Event::ClientGivesUp(CallNumber { client: number, call }));
        let ticket = self.ticket();
        let is_write = self.rng.random_bool(0.7);
        let knows = &mut self.clients[number].knows;
        let kind = if is_write {
            CallKind::Write(knows.propose())
        } else {
            CallKind::Read { via, at_least: knows.at_least(), index: None }
        };
        self.clients[number].waits = Some(Call { ticket, kind });
        let input = match kind {
            CallKind::Write(value) => {
                let padding = self.rng.random_range(0..400);
                Input::Propose { ticket, command: client::write(number, value, padding) }
            }
            CallKind::Read { .. } => Input::ReadIndex { ticket },
        };
        self.step(leader, input)
    }

    /// A client that still waits for this call forgets it: its outcome is unknown to it for ever.
    pub(super) fn client_gives_up(&mut self, CallNumber { client: number, call }: CallNumber) {
        if self.clients[number].calls == call {
            self.clients[number].waits = None;
            self.schedule.after(Duration::ZERO, Event::ClientCalls(number));
        }
    }

    /// A machine applied what `ticket` waited for.
    pub(super) fn applied(&mut self, ticket: Ticket, is_done: bool) {
        let Some(number) = self.waiting_for(ticket) else { return };
        let Some(Call { kind: CallKind::Write(value), .. }) = self.clients[number].waits.take() else {
            return;
        };
        if is_done {
            self.clients[number].knows.acknowledged(value);
            self.report.acknowledged += 1;
            self.say(&format!("client {number}: {value} is acknowledged"));
        }
        self.rest(number);
    }

    /// A core answered `ticket`.
    pub(super) fn answered(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) -> Happened {
        let Some(number) = self.waiting_for(ticket) else { return Ok(()) };
        let Some(call) = &mut self.clients[number].waits else { return Ok(()) };
        if let (Ok(Answer::ReadIndex { index: confirmed }), CallKind::Read { via, index, .. }) =
            (result, &mut call.kind)
        {
            *index = Some(confirmed);
            let via = *via;
            return self.finish_reads(via);
        }
        self.clients[number].waits = None;
        self.rest(number);
        Ok(())
    }

    /// Answers the reads through `via` whose index its machine has applied.
    pub(super) fn finish_reads(&mut self, via: MemberNumber) -> Happened {
        for number in 0..self.clients.len() {
            let Some(Call { kind: CallKind::Read { via: through, at_least, index: Some(index) }, .. }) =
                self.clients[number].waits
            else {
                continue;
            };
            let Some(process) = &self.members[via].process else { return Ok(()) };
            if through != via || process.applied() < index {
                continue;
            }
            let value = process.read(number)?;
            self.clients[number].waits = None;
            self.report.reads += 1;
            self.say(&format!("client {number}: reads {value} through m{via}"));
            check(self.clients[number].knows.read(at_least, value))?;
            self.rest(number);
        }
        Ok(())
    }

    fn rest(&mut self, number: usize) {
        // The call is over: its patience must not end the next one.
        self.clients[number].calls += 1;
        let rest = Duration::from_millis(self.rng.random_range(0..=REST_MS_MAX));
        self.schedule.after(rest, Event::ClientCalls(number));
    }

    fn waiting_for(&self, ticket: Ticket) -> Option<usize> {
        let waits = |client: &client::Client| client.waits.as_ref().is_some_and(|call| call.ticket == ticket);
        self.clients.iter().position(waits)
    }

    fn leader_known_to(&self, via: MemberNumber) -> Option<MemberNumber> {
        let status = self.members[via].process.as_ref()?.raft.status();
        let leader = match status.role {
            Role::Leader => via,
            _ => self.slot_of(&status.leader?.id)?,
        };
        self.members[leader].process.as_ref().map(|_| leader)
    }

    /// A ticket nobody else has.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }
}
