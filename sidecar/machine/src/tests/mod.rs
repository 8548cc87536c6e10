//! The machine against a plain model, and the stories of single rules.

mod application;
mod changes;
mod dedup;
mod flushes;
pub(crate) mod generate;
mod hostile;
mod locks;
mod memory;
mod model;
mod reads;
mod rules;
mod schedules;

use crate::command::{Command, Tag, Tagged};
use crate::machine::Machine;
use crate::meta::Position;
use crate::outcome::Outcome;
use memory::Memory;

/// A machine over an empty base.
fn machine() -> Machine<Memory> {
    Machine::open(Memory::default()).unwrap()
}

/// Apply a command as the next entry.
fn apply(machine: &mut Machine<Memory>, command: Command) -> Outcome {
    apply_tagged(machine, None, command)
}

fn apply_tagged(machine: &mut Machine<Memory>, tag: Option<Tag>, command: Command) -> Outcome {
    let bytes = Tagged { tag, command }.encode();
    machine.apply(next(machine), &bytes).unwrap()
}

fn next(machine: &Machine<Memory>) -> Position {
    Position { index: machine.applied().index + 1, term: machine.applied().term.max(1) }
}

fn put(key: &'static str, value: &'static str) -> Command {
    Command::Put { key: key.into(), value: value.into(), flags: 0 }
}

/// Freeze and write to the base, as the store would; whether there was anything to write.
fn flush(machine: &mut Machine<Memory>) -> bool {
    let Some(flush) = machine.freeze() else { return false };
    machine.base().write(&flush);
    machine.flushed(flush.applied());
    true
}
