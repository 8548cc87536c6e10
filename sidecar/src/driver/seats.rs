//! Who waits for which answer of the core. A seat is taken with a ticket and left exactly once.

use std::collections::HashMap;
use std::time::Instant;

use quorate_raft::{Answer, Index, Refusal, Ticket};

use super::error::{CallError, ErrorKind};
use super::machine::Waiter;
use super::request::Reply;
use super::writer::Writer;

/// One waiting caller.
pub(super) enum Seat {
    /// And since when.
    Write(Writer, Instant),
    Barrier(Reply<Index>),
    ReadIndex(Reply<Index>),
    /// Membership changes and bootstrap: answered with a configuration's index.
    Configuration(Reply<Index>),
    Transfer(Reply<()>),
}

/// Bounded by the core: it answers or refuses each ticket, and its own queues have limits (K25).
#[derive(Default)]
pub(super) struct Seats {
    taken: HashMap<Ticket, Seat>,
    last: u64,
}

impl Seats {
    pub(super) fn take(&mut self, seat: Seat) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.taken.insert(ticket, seat);
        ticket
    }

    /// When this write was asked for.
    pub(super) fn asked_at(&self, ticket: Ticket) -> Option<Instant> {
        match self.taken.get(&ticket)? {
            Seat::Write(_, asked_at) => Some(*asked_at),
            _ => None,
        }
    }

    /// The seat moves to the machine, which answers after applying.
    pub(super) fn waiter(&mut self, ticket: Ticket) -> Option<Waiter> {
        match self.taken.remove(&ticket)? {
            Seat::Write(writer, _) => Some(Waiter::Write(writer)),
            Seat::Barrier(reply) => Some(Waiter::Barrier(reply)),
            // The core answers these itself.
            Seat::ReadIndex(_) | Seat::Configuration(_) | Seat::Transfer(_) => None,
        }
    }

    /// Who is gone is not told.
    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) {
        let Some(seat) = self.taken.remove(&ticket) else { return };
        match (seat, result) {
            (Seat::Write(writer, _), Err(refusal)) => writer.tell(Err(refusal.into())),
            (Seat::Barrier(reply) | Seat::ReadIndex(reply) | Seat::Configuration(reply), Err(refusal)) => {
                drop(reply.send(Err(refusal.into())));
            }
            (Seat::Transfer(reply), Err(refusal)) => drop(reply.send(Err(refusal.into()))),
            (Seat::ReadIndex(reply), Ok(Answer::ReadIndex { index })) => drop(reply.send(Ok(index))),
            (
                Seat::Configuration(reply),
                Ok(
                    Answer::Bootstrapped { configuration_index }
                    | Answer::MembershipChanged { configuration_index },
                ),
            ) => drop(reply.send(Ok(configuration_index))),
            (Seat::Transfer(reply), Ok(Answer::Transferred)) => drop(reply.send(Ok(()))),
            (seat, Ok(answer)) => seat.mismatch(answer),
        }
    }
}

impl Seat {
    /// The core answered a question that was not asked: a mistake of ours, told and not hidden.
    fn mismatch(self, answer: Answer) {
        let error = CallError::unknown(
            ErrorKind::FailedPrecondition,
            format!("unexpected answer {answer:?}: outcome unknown; this is a bug, please report it"),
        );
        match self {
            Self::Write(writer, _) => writer.tell(Err(error)),
            Self::Barrier(reply) | Self::ReadIndex(reply) | Self::Configuration(reply) => {
                drop(reply.send(Err(error)));
            }
            Self::Transfer(reply) => drop(reply.send(Err(error))),
        }
    }
}
