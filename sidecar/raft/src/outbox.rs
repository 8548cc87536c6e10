//! The gate: nothing that promises something leaves before storage has confirmed it.
//!
//! ```text
//! change term or vote ──► mark_hard ┐                        ┌─► messages of any kind
//! change the log ───────► mark_log ─┴► Persist{n} ► Persisted┴─► acknowledgements of appends
//! ```
//!
//! Every message shows our term, so none leaves before the term and vote it was made under are on
//! disk (O4); one that also promises log entries waits for the write that holds them. A leader's
//! appends show only its term, long stored: they go out beside its own disk write.
//! Invariant: what is held is keyed by the write it waits for, each above `persisted`.

use std::collections::BTreeMap;

use quorate_mutants::{Mutant, broken};

use crate::limits::OUTPUTS_HELD_MAX;
use crate::output::Output;
use crate::types::Sequence;

/// What an output promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promises {
    /// Our term and vote.
    Term,
    /// Those, and the log as it is now.
    Log,
}

#[derive(Default)]
pub(crate) struct Outbox {
    ready: Vec<Output>,
    held: BTreeMap<Sequence, Vec<Output>>,
    held_count: usize,
    /// The last write handed to storage.
    issued: Sequence,
    /// The last write storage has confirmed.
    persisted: Sequence,
    /// The write that covers term and vote as they are now, and the one for the log.
    hard_at: Sequence,
    log_at: Sequence,
}

impl Outbox {
    /// The number the next write will have.
    pub(crate) const fn next_write(&self) -> Sequence {
        Sequence(self.issued.0 + 1)
    }

    /// Term, vote or membership changed.
    pub(crate) const fn mark_hard(&mut self) {
        self.hard_at = self.next_write();
    }

    /// The log changed.
    pub(crate) const fn mark_log(&mut self) {
        self.log_at = self.next_write();
    }

    pub(crate) fn hard_is_unwritten(&self) -> bool {
        self.hard_at > self.issued
    }

    pub(crate) fn log_is_unwritten(&self) -> bool {
        self.log_at > self.issued
    }

    /// The write that covers term and vote.
    pub(crate) const fn hard_at(&self) -> Sequence {
        self.hard_at
    }

    /// Whether storage has confirmed this write.
    pub(crate) fn is_persisted(&self, sequence: Sequence) -> bool {
        sequence <= self.persisted
    }

    /// Gives the next write its number.
    pub(crate) fn issue(&mut self) -> Sequence {
        self.issued = self.next_write();
        self.issued
    }

    /// Puts out what promises nothing.
    pub(crate) fn push(&mut self, output: Output) {
        self.ready.push(output);
    }

    /// Puts out `output` once everything it promises is on disk.
    pub(crate) fn push_after(&mut self, promises: Promises, output: Output) {
        let after = match promises {
            Promises::Term => self.hard_at,
            Promises::Log => self.hard_at.max(self.log_at),
        };
        if self.is_persisted(after) || broken(Mutant::P1Answer) {
            self.ready.push(output);
        } else if self.held_count < OUTPUTS_HELD_MAX || !matches!(output, Output::Send(_)) {
            // A message that finds no room is lost, as it may be on the wire; answers never are.
            self.held_count += 1;
            self.held.entry(after).or_default().push(output);
        }
    }

    /// Storage has confirmed everything up to `sequence`. A number never issued counts as the last.
    pub(crate) fn confirm(&mut self, sequence: Sequence) {
        self.persisted = self.persisted.max(sequence.min(self.issued));
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() <= self.persisted) {
            let outputs = entry.remove();
            self.held_count -= outputs.len();
            self.ready.extend(outputs);
        }
    }

    /// Moves everything that may go to `out`.
    pub(crate) fn drain(&mut self, out: &mut Vec<Output>) {
        out.append(&mut self.ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, LogId, Term};

    fn marked(number: u64) -> Output {
        Output::DiscardSnapshot { last: LogId::new(Term(1), Index(number)) }
    }

    fn drained(outbox: &mut Outbox) -> Vec<Output> {
        let mut out = Vec::new();
        outbox.drain(&mut out);
        out
    }

    /// Persist before answer (O4): each output waits for exactly the write it depends on.
    #[test]
    fn an_output_leaves_when_its_own_write_is_confirmed() {
        let mut outbox = Outbox::default();
        outbox.mark_hard();
        outbox.push_after(Promises::Term, marked(1));
        assert!(drained(&mut outbox).is_empty(), "not before the write was even issued");
        outbox.issue();
        outbox.mark_log();
        outbox.push_after(Promises::Log, marked(2));
        outbox.push_after(Promises::Term, marked(3));
        outbox.issue();
        outbox.confirm(Sequence(1));
        assert_eq!(drained(&mut outbox), [marked(1), marked(3)]);
        outbox.confirm(Sequence(2));
        assert_eq!(drained(&mut outbox), [marked(2)]);
        outbox.push_after(Promises::Log, marked(4));
        assert_eq!(drained(&mut outbox), [marked(4)]);
    }

    #[test]
    fn a_confirmation_from_the_future_confirms_only_what_was_issued() {
        let mut outbox = Outbox::default();
        outbox.confirm(Sequence(9));
        outbox.mark_hard();
        outbox.push_after(Promises::Term, marked(1));
        outbox.issue();
        assert!(drained(&mut outbox).is_empty());
    }
}
