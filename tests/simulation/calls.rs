//! What clients do to the world: calls, answers, patience.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quorate_linearizability::{Answer, Finding, Key, Operation};
use quorate_machine::{Command, Outcome, Refusal, Tagged};
use rand::Rng;

use super::client::{Call, answer_in, key_bytes, value_in};
use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::requests::{Ask, Attempt, Reply, Request};
use super::world::{Happened, World, check};

/// A sending without an answer is given up after this.
const ATTEMPT_PATIENCE: Duration = Duration::from_millis(700);
/// A call is given up after this.
const CALL_PATIENCE: Duration = Duration::from_secs(5);
/// Between a refusal and the next sending.
const RETRY_PAUSE: Duration = Duration::from_millis(40);
/// Bytes that a value is padded with.
const PADDING_MAX: usize = 300;

impl World {
    /// A client begins its next call, unless it began one since.
    pub(super) fn client_turn(&mut self, number: usize, calls: u64) {
        let client = &self.clients.each[number];
        if client.calls != calls || self.clients.are_quiet {
            return;
        }
        let needs_session = client.is_numbering && client.session.is_none();
        let (ask, about) = if needs_session {
            let command = Command::RegisterClient { owner: None };
            (Ask::Propose(Tagged { tag: None, command }.encode()), None)
        } else {
            let key = self.rng.random_range(0..self.options.keys);
            let operation = self.choose_operation(number, key);
            self.clients.each[number].sequence += 1;
            let padding = self.rng.random_range(0..PADDING_MAX);
            let command: Option<Bytes> = self.clients.each[number].command(key, operation, padding);
            (command.map_or_else(|| Ask::Read(key_bytes(key)), Ask::Propose), Some((key, operation)))
        };
        let recorded = about.map(|(key, operation)| self.clients.history.begins(key, operation));
        let call = Call {
            ask,
            recorded,
            about,
            attempts: 0,
            is_uncertain: false,
            deadline: self.schedule.now() + CALL_PATIENCE,
            began_calm: self.phase == Phase::Calm,
        };
        let client = &mut self.clients.each[number];
        client.calls += 1;
        client.call = Some(call);
        self.say(|_| format!("client {number} calls: {about:?}"));
        self.send_call(number);
    }

    fn choose_operation(&mut self, number: usize, key: Key) -> Operation {
        let known = self.clients.each[number].knows.get(&key).copied();
        match (self.rng.random_range(0..20), known) {
            (0..8, _) => Operation::Read,
            (8..13, Some((expected, _))) => {
                Operation::CompareAndSet { expected, new: self.clients.new_value() }
            }
            (13..15, _) => Operation::Delete,
            (15, Some((Some(expected), _))) => Operation::DeleteIf { expected },
            _ => Operation::Put(self.clients.new_value()),
        }
    }

    /// Sends the call of a client, perhaps again.
    fn send_call(&mut self, number: usize) {
        let members = self.fleet.count();
        let random = self.rng.random_range(0..members);
        let client = &mut self.clients.each[number];
        let Some(call) = &mut client.call else { return };
        call.attempts += 1;
        let epoch = self.fleet.epoch;
        let attempt = Attempt { client: number, call: client.calls, attempt: call.attempts, epoch };
        let hinted = client.hint.as_ref().and_then(|hint| self.fleet.place_of(hint));
        // Reads are answered by any member; what must be proposed goes to the leader, once one was named.
        let to = match call.ask {
            Ask::Read(_) => random,
            Ask::Propose(_) | Ask::Renew(_) => hinted.unwrap_or(random),
        };
        let request = Request { attempt, ask: call.ask.clone() };
        if call.attempts > 1 && call.is_uncertain && matches!(call.ask, Ask::Propose(_)) {
            self.coverage.hit(Happening::Retried);
        }
        if let Some(delay) = self.client_delay() {
            self.schedule.after(delay, Event::Request(to, request));
        }
        self.schedule.after(ATTEMPT_PATIENCE, Event::Timeout(attempt));
    }

    /// A client hears an answer.
    pub(super) fn reply(&mut self, attempt: Attempt, reply: Reply) -> Happened {
        if attempt.client >= self.clients.each.len() {
            return self.locker_hears(attempt, reply);
        }
        if attempt.epoch != self.fleet.epoch {
            return Ok(());
        }
        let client = &mut self.clients.each[attempt.client];
        let (calls, sequence) = (client.calls, client.sequence);
        let Some(call) = client.call.as_mut().filter(|_| calls == attempt.call) else { return Ok(()) };
        let is_newest = call.attempts == attempt.attempt;
        match reply {
            Reply::Refused(hint) => {
                self.coverage.hit(Happening::Refused);
                client.hint = hint;
                if is_newest {
                    self.retry(attempt.client);
                }
            }
            Reply::Unknown => {
                call.is_uncertain = true;
                client.hint = None;
                if is_newest {
                    self.retry(attempt.client);
                }
            }
            Reply::Outcome(Outcome::Refused(refusal)) => {
                // This speaks of this sending only (K20): of earlier ones nobody knows.
                self.say(|_| format!("client {} is refused command {sequence}: {refusal}", attempt.client));
                if matches!(refusal, Refusal::SessionExpired { .. }) {
                    self.clients.each[attempt.client].session = None;
                }
                self.give_up(attempt.client);
            }
            Reply::Outcome(outcome) => self.outcome(attempt.client, &outcome)?,
            Reply::Read(read) => {
                let held = read.entry.map(|entry| (value_in(&entry.value), entry.modify_index));
                let (value, index) = held.unwrap_or_default();
                if let (Some((key, _)), Some(recorded)) = (call.about, call.recorded) {
                    client.knows.insert(key, (value, index));
                    self.clients.history.answered(recorded, Answer::Holds(value));
                    check(value.map_or(Ok(()), |value| self.clients.learns(value, index)))?;
                }
                self.finish(attempt.client);
            }
            Reply::Renewed(_) => {
                check(Err(format!("client {} is told of a session, and has none", attempt.client)))?;
            }
        }
        Ok(())
    }

    /// A command was applied.
    fn outcome(&mut self, number: usize, outcome: &Outcome) -> Happened {
        let client = &mut self.clients.each[number];
        let Some(call) = &client.call else { return Ok(()) };
        if let Outcome::Registered { client: session } = outcome {
            client.session = Some(*session);
            client.sequence = 0;
            self.coverage.hit(Happening::Registered);
            self.finish(number);
            return Ok(());
        }
        let (Some((key, operation)), Some(recorded)) = (call.about, call.recorded) else { return Ok(()) };
        let Some(answer) = answer_in(outcome) else {
            return check(Err(format!("client {number}: {operation:?} came to {outcome:?}")));
        };
        if let Outcome::Written { modify_index } = outcome {
            let value = operation.writes();
            client.knows.insert(key, (value, *modify_index));
            if let Some(value) = value {
                check(self.clients.learns(value, *modify_index))?;
            }
        } else {
            client.knows.remove(&key);
        }
        if answer == Answer::Mismatch {
            self.coverage.hit(Happening::Mismatch);
        }
        self.coverage.hit(Happening::Written);
        let began_calm = self.clients.each[number].call.as_ref().is_some_and(|call| call.began_calm);
        self.clients.written += u64::from(began_calm);
        self.clients.history.answered(recorded, answer);
        self.finish(number);
        Ok(())
    }

    /// No answer came to this sending.
    pub(super) fn timeout(&mut self, attempt: Attempt) -> Happened {
        if attempt.client >= self.clients.each.len() {
            return self.locker_hears(attempt, Reply::Unknown);
        }
        let client = &mut self.clients.each[attempt.client];
        let Some(call) = client.call.as_mut().filter(|_| client.calls == attempt.call) else { return Ok(()) };
        if call.attempts == attempt.attempt {
            call.is_uncertain = true;
            client.hint = None;
            self.retry(attempt.client);
        }
        Ok(())
    }

    /// The newest sending came to nothing: the call is sent again if that can do no harm, or given up.
    fn retry(&mut self, number: usize) {
        let now = self.schedule.now();
        let client = &self.clients.each[number];
        let Some(call) = &client.call else { return };
        let is_harmless = match call.ask {
            Ask::Read(_) | Ask::Renew(_) => true,
            // A session too many does no harm.
            Ask::Propose(_) => !call.is_uncertain || client.session.is_some() || call.about.is_none(),
        };
        if !is_harmless || now >= call.deadline {
            self.give_up(number);
            return;
        }
        self.clients.each[number].call.iter_mut().for_each(|call| call.attempts += 1);
        let attempt = Attempt {
            client: number,
            call: self.clients.each[number].calls,
            attempt: self.clients.each[number].call.as_ref().map_or(0, |call| call.attempts),
            epoch: self.fleet.epoch,
        };
        self.schedule.after(RETRY_PAUSE, Event::Resend(attempt));
    }

    /// The pause before the next sending is over.
    pub(super) fn resend(&mut self, attempt: Attempt) {
        let client = &self.clients.each[attempt.client];
        let is_due = client.call.as_ref().is_some_and(|call| call.attempts == attempt.attempt);
        if client.calls == attempt.call && is_due {
            self.send_call(attempt.client);
        }
    }

    /// The client will never know what became of its call, or knows that it had no effect.
    fn give_up(&mut self, number: usize) {
        let Some(call) = &self.clients.each[number].call else { return };
        let is_write = matches!(call.ask, Ask::Propose(_));
        if let Some(recorded) = call.recorded {
            if is_write && call.is_uncertain {
                self.coverage.hit(Happening::Unknown);
            } else {
                self.clients.history.void(recorded);
            }
        }
        self.finish(number);
    }

    /// The client rests until its next call.
    fn finish(&mut self, number: usize) {
        let client = &mut self.clients.each[number];
        client.call = None;
        let calls = client.calls;
        let rest = self.options.rest.mul_f64(self.rng.random_range(0.0..1.0));
        self.schedule.after(rest, Event::ClientTurn(number, calls));
    }

    /// Whether what clients saw of each key can be explained by one copy of it.
    pub(super) fn check_history(&mut self) -> Result<()> {
        self.coverage.add(Happening::Checked, self.clients.history.answered_count());
        for (key, finding) in self.clients.history.check() {
            match finding {
                Finding::Linearizable => {}
                Finding::GaveUp => self.coverage.hit(Happening::GaveUp),
                Finding::Broken { explained, answers, stuck } => {
                    return check(Err(format!(
                        "linearizability: no order of the calls of key {key} explains more than {explained} of \
                         {answers} answers; the next due was {:?} to {:?}",
                        stuck.answered.map(|(_, answer)| answer),
                        stuck.operation
                    )));
                }
            }
        }
        Ok(())
    }
}
