//! Clients: each writes rising numbers to a key of its own and reads it back, one call at a time, through whichever
//! member it meets.
//!
//! A call that gets no answer in time is given up: its outcome is unknown, and the next number is tried. Writes are
//! not tagged here, so an unknown write is never sent again.

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{Command, Tagged};
use quorate_raft::{Index, Ticket};

use super::invariants::AcknowledgedWrites;
use super::network::MemberNumber;

/// After how long a client gives up on a call.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// One client.
#[derive(Default)]
pub struct Client {
    /// What it knows of its key.
    pub knows: AcknowledgedWrites,
    /// What it waits for.
    pub waits: Option<Call>,
    /// How many calls it has made.
    pub calls: u64,
}

/// A call under way.
pub struct Call {
    /// Its ticket at the leader.
    pub ticket: Ticket,
    /// What it is.
    pub kind: CallKind,
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Write this number.
    Write(u64),
    /// Read through `via`; the answer must be at least `at_least`.
    Read {
        /// The member whose machine answers.
        via: MemberNumber,
        /// What was acknowledged when the read began.
        at_least: u64,
        /// The index to wait for, once the leader gave one.
        index: Option<Index>,
    },
}

/// The key of client `number`.
pub fn key(number: usize) -> Bytes {
    Bytes::from(format!("client/{number}"))
}

/// The command that writes `value` for client `number`, padded so that logs grow.
pub fn write(number: usize, value: u64, padding: usize) -> Bytes {
    let value = Bytes::from(format!("{value} {:padding$}", ""));
    Tagged { tag: None, command: Command::Put { key: key(number), value, flags: 0 } }.encode()
}

/// The number in a stored value; a missing key is zero.
pub fn number_in(value: Option<&Bytes>) -> u64 {
    value
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
