//! What all clients of a test asked and heard, and whether one copy of the data could have answered so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_client::Error;
use quorate_linearizability::{Answer, CallId, Finding, History, Key, Operation, Recorded, Value};

/// Calls shown around one that cannot be explained, in moments of the history before and after its answer.
const SHOWN_AROUND: u64 = 60;

/// The record of one test; clones write into the same one.
#[derive(Clone, Default)]
pub(crate) struct Record {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    history: History,
    values: u32,
    tally: Tally,
}

/// How calls ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answered, by the member asked.
    pub(crate) answered: Vec<usize>,
    /// Of unknown outcome.
    pub(crate) unknown: usize,
    /// Certainly without effect.
    pub(crate) void: usize,
}

impl Record {
    /// A value that no other write of this test writes.
    pub(crate) fn new_value(&self) -> Value {
        let mut inner = self.inner();
        inner.values += 1;
        Value(inner.values)
    }

    /// A call begins.
    pub(crate) fn begins(&self, key: Key, operation: Operation) -> CallId {
        self.inner().history.begins(key, operation)
    }

    /// The call was answered by this member.
    pub(crate) fn answered(&self, call: CallId, member: usize, answer: Answer) {
        let mut inner = self.inner();
        inner.history.answered(call, answer);
        let counts = &mut inner.tally.answered;
        counts.resize(counts.len().max(member + 1), 0);
        counts[member] += 1;
    }

    /// The call failed. What the client says of its effect is taken at its word, and so is checked with the rest.
    pub(crate) fn failed(&self, call: CallId, error: &Error) {
        let mut inner = self.inner();
        if let Error::OutcomeUnknown { .. } = error {
            inner.tally.unknown += 1;
        } else {
            inner.tally.void += 1;
            inner.history.void(call);
        }
    }

    /// How calls ended so far.
    pub(crate) fn tally(&self) -> Tally {
        self.inner().tally.clone()
    }

    /// Asserts that each key's calls could have been answered by one copy of it, in an order that time allows.
    ///
    /// A search that gives up has shown nothing, and fails too: keys are in use for moments only, so that none has to.
    pub(crate) fn assert_linearizable(&self) {
        let inner = self.inner();
        for (key, finding) in inner.history.check() {
            match finding {
                Finding::Linearizable => {}
                Finding::Broken { explained, answers, stuck } => panic!(
                    "not linearizable: no order of the calls of key {key} explains more than {explained} of {answers} \
                     answers; {stuck:?} does not fit:\n{}",
                    around(&inner.history.calls_of(key), &stuck)
                ),
                Finding::GaveUp => panic!("the checker gave up on key {key}"),
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls that were under way near the one that does not fit.
fn around(calls: &[Recorded], stuck: &Recorded) -> String {
    let middle = stuck.answered.map_or(stuck.began, |(answered, _)| answered);
    let near = (middle.saturating_sub(SHOWN_AROUND), middle + SHOWN_AROUND);
    let is_near = |call: &&Recorded| {
        call.began <= near.1 && call.answered.is_none_or(|(answered, _)| answered >= near.0)
    };
    calls.iter().filter(is_near).map(|call| format!("  {call:?}")).collect::<Vec<_>>().join("\n")
}
