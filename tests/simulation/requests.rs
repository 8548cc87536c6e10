//! What a member does with clients' requests, as the sidecar does it: it proposes what it leads, points elsewhere
//! what it does not, and answers reads from its own machine.
//!
//! ```text
//!   read ─▶ follower ──index wanted──▶ leader: ReadIndex, a heartbeat round ──index──▶ follower: applied? ─▶ answer
//! ```
//! Everything here dies with its process: those that wait hear nothing.

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{KeyRead, Outcome, SessionId};
use quorate_raft::{Index, Input, RecoveryEpoch, Refusal, Role, ServerId, Term, Ticket};
use quorate_sidecar::driver::SessionClock;
use rand::Rng;

use super::coverage::Happening;
use super::event::{Boot, Event, IndexWanted};
use super::keeper::Renewing;
use super::network::MemberNumber;
use super::world::{Happened, World, of_disk};

/// The way between a client and a member takes up to this long.
const CLIENT_DELAY_MS_MAX: u64 = 10;
/// How likely a request or an answer is lost between a client and a member, while things break.
const CLIENT_LOSS: f64 = 0.01;

/// One sending of one call of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whose: those who use locks are numbered after the others.
    pub client: usize,
    /// Which of its calls.
    pub call: u64,
    /// Which sending of it.
    pub attempt: u32,
    /// The recovery epoch of the cluster that it was sent to: all processes of that end with it, and what is under way
    /// between them and clients is lost.
    pub epoch: RecoveryEpoch,
}

/// What a client sends.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the answer goes.
    pub attempt: Attempt,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked of a member.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Propose this command.
    Propose(Bytes),
    /// Read this key.
    Read(Bytes),
    /// Renew this session.
    Renew(SessionId),
}

/// What a client hears.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A command was applied and came to this.
    Outcome(Outcome),
    /// A read.
    Read(KeyRead),
    /// Whether the session lives; if so, it was renewed.
    Renewed(bool),
    /// Nothing was done; perhaps this one can.
    Refused(Option<ServerId>),
    /// Leadership was lost: perhaps it was done.
    Unknown,
}

/// Who waits for the core's answer to a ticket.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    /// A client, for its command.
    Call(Attempt),
    /// Whoever sent an archive to be restored.
    Restore,
    /// A client, for the round of a renewal.
    Renewal(Renewing),
    /// A leader's clock for sessions, for the round that it begins after.
    Lead(Term),
    /// A leader's clock, for the end of what is over.
    End(Term, SessionClock),
    /// A read, for its index.
    Index {
        /// What was committed when it was asked for.
        floor: Index,
        /// For whom it is.
        whom: IndexWanted,
    },
}

/// A read at a member.
#[derive(Clone, Debug)]
pub struct DelayedRead {
    /// Whose.
    pub attempt: Attempt,
    /// Of what.
    pub key: Bytes,
    /// Which question for an index it waits for.
    pub question: u64,
    /// The index that must be applied, once it is known.
    pub index: Option<Index>,
}

impl World {
    /// A client's request arrives.
    pub(super) fn request(&mut self, number: MemberNumber, Request { attempt, ask }: Request) -> Happened {
        if attempt.epoch != self.fleet.epoch {
            return Ok(());
        }
        // Connection refused: surely nothing was done.
        if self.fleet[number].process.is_none() {
            self.answer_client(attempt, Reply::Refused(None));
            return Ok(());
        }
        match ask {
            Ask::Propose(command) => {
                self.coverage.hit(Happening::Proposed);
                let ticket = self.administrator.ticket();
                self.wait(number, ticket, Waiting::Call(attempt));
                self.step(number, Input::Propose { ticket, command })
            }
            Ask::Read(key) => self.read(number, attempt, key),
            Ask::Renew(session) => self.renew(number, self.renewing(attempt, session)),
        }
    }

    fn read(&mut self, number: MemberNumber, attempt: Attempt, key: Bytes) -> Happened {
        let boot = self.fleet.boot(number);
        let question = self.administrator.ticket().0;
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let status = process.raft.status();
        let leader = match (status.role, status.leader) {
            (Role::Leader, _) => Some(number),
            (_, Some(leader)) => self.fleet.place_of(&leader.id),
            (_, None) => None,
        };
        let Some(leader) = leader else {
            self.answer_client(attempt, Reply::Refused(None));
            return Ok(());
        };
        if let Some(process) = &mut self.fleet[number].process {
            process.reads.push(DelayedRead { attempt, key, question, index: None });
        }
        let wanted = IndexWanted { asker: boot, question };
        if leader == number {
            return self.index_wanted(leader, wanted);
        }
        for delay in self.arrivals((number, leader)) {
            self.schedule.after(delay, Event::IndexWanted(leader, wanted));
        }
        Ok(())
    }

    /// A member is asked for an index to read at.
    pub(super) fn index_wanted(&mut self, number: MemberNumber, whom: IndexWanted) -> Happened {
        if self.refusal((whom.asker.member, number)).is_some() {
            return Ok(());
        }
        let ticket = self.administrator.ticket();
        let floor = self.watch.read_floor();
        self.wait(number, ticket, Waiting::Index { floor, whom });
        self.step(number, Input::ReadIndex { ticket })
    }

    /// The core said from where on a read may be answered.
    pub(super) fn give_index(
        &mut self,
        number: MemberNumber,
        whom: IndexWanted,
        index: Option<Index>,
    ) -> Happened {
        if whom.asker.member == number {
            return self.index_given(whom, index);
        }
        for delay in self.arrivals((number, whom.asker.member)) {
            self.schedule.after(delay, Event::IndexGiven(whom, index));
        }
        Ok(())
    }

    /// A member hears the index one of its reads waited for.
    pub(super) fn index_given(&mut self, whom: IndexWanted, index: Option<Index>) -> Happened {
        let IndexWanted { asker: Boot { member, .. }, question } = whom;
        if !self.fleet.lives(whom.asker) {
            return Ok(());
        }
        let Some(process) = &mut self.fleet[member].process else { return Ok(()) };
        let asked = process.reads.iter().position(|read| read.question == question);
        match (asked, index) {
            (Some(at), Some(index)) => process.reads[at].index = Some(index),
            (Some(at), None) => {
                let read = process.reads.remove(at);
                self.answer_client(read.attempt, Reply::Refused(None));
            }
            // Told twice.
            (None, _) => {}
        }
        self.finish_reads(member)
    }

    /// Answers the reads at a member whose index its machine has applied.
    pub(super) fn finish_reads(&mut self, number: MemberNumber) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let applied = process.applied();
        let ready: Vec<_> =
            process.reads.extract_if(.., |read| read.index.is_some_and(|index| index <= applied)).collect();
        let is_leader = process.raft.role() == Role::Leader;
        for DelayedRead { attempt, key, .. } in ready {
            let Some(process) = &self.fleet[number].process else { return Ok(()) };
            let read = process.read(&key);
            let read = of_disk(number, read)?;
            self.coverage.hit(if is_leader { Happening::ReadAtLeader } else { Happening::ReadAtFollower });
            self.answer_client(attempt, Reply::Read(read));
        }
        Ok(())
    }

    /// A machine applied what somebody waited for.
    pub(super) fn applied(&mut self, number: MemberNumber, ticket: Ticket, outcome: Option<Outcome>) {
        let Some(process) = &mut self.fleet[number].process else { return };
        match (process.waiting.remove(&ticket), outcome) {
            (Some(Waiting::Call(attempt)), Some(outcome)) => {
                self.answer_client(attempt, Reply::Outcome(outcome));
            }
            (Some(Waiting::Restore), _) => self.restore_answered(number),
            _ => {}
        }
    }

    /// The core refused a client's command.
    pub(super) fn refuse(&mut self, number: MemberNumber, attempt: Attempt, refusal: &Refusal) {
        let reply = match refusal {
            Refusal::LeadershipLost { .. } => {
                self.coverage.hit(Happening::LeadershipLost);
                Reply::Unknown
            }
            Refusal::NotLeader { leader } => Reply::Refused(leader.clone()),
            _ => Reply::Refused(None),
        };
        self.say(|_| format!("m{number} refuses client {}: {refusal}", attempt.client));
        self.answer_client(attempt, reply);
    }

    /// Who waited for it hears nothing from the core any more.
    pub(super) fn stop_waiting(&mut self, number: MemberNumber, ticket: Ticket) -> Option<Waiting> {
        self.fleet[number].process.as_mut()?.waiting.remove(&ticket)
    }

    /// Notes who waits for the core's answer.
    pub(super) fn wait(&mut self, number: MemberNumber, ticket: Ticket, waiting: Waiting) {
        if let Some(process) = &mut self.fleet[number].process {
            process.waiting.insert(ticket, waiting);
        }
    }

    pub(super) fn answer_client(&mut self, attempt: Attempt, reply: Reply) {
        if let Some(delay) = self.client_delay() {
            self.schedule.after(delay, Event::Reply(attempt, reply));
        }
    }

    /// How long something takes between a client and a member; none if it is lost.
    pub(super) fn client_delay(&mut self) -> Option<Duration> {
        let is_lost = self.breaks_now(CLIENT_LOSS);
        (!is_lost).then(|| Duration::from_millis(self.rng.random_range(0..=CLIENT_DELAY_MS_MAX)))
    }
}
