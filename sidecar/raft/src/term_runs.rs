//! The terms of the whole retained log, as runs: matching never needs the disk.
//!
//! Invariant: runs ascend strictly in index and in term; the last one has no end of its own.

use crate::entry::TermRun;
use crate::types::{Index, LogId, Term};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TermRuns {
    runs: Vec<TermRun>,
}

impl TermRuns {
    /// Takes what storage kept, if it is what a log can hold between `previous` and `last`.
    pub(crate) fn new(runs: Vec<TermRun>, previous: LogId, last: LogId) -> Option<Self> {
        let ascend = runs.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term);
        let fits = match (runs.first(), runs.last()) {
            (Some(first), Some(end)) => {
                first.first == previous.index.next()
                    && first.term >= previous.term
                    && end.first <= last.index
                    && end.term == last.term
            }
            _ => last == previous,
        };
        (ascend && fits).then_some(Self { runs })
    }

    pub(crate) fn append(&mut self, id: LogId) {
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            self.runs.push(TermRun { first: id.index, term: id.term });
        }
    }

    pub(crate) fn truncate_from(&mut self, index: Index) {
        self.runs.retain(|run| run.first < index);
    }

    /// Forgets everything up to and including `upto`, which is below `last`.
    pub(crate) fn drop_upto(&mut self, upto: Index, last: Index) {
        if upto >= last {
            self.runs.clear();
            return;
        }
        let keep = self.runs.partition_point(|run| run.first <= upto.next()).saturating_sub(1);
        self.runs.drain(..keep);
        if let Some(run) = self.runs.first_mut() {
            run.first = upto.next();
        }
    }

    /// The term at `index`, which the caller knows to lie inside the log.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        let after = self.runs.partition_point(|run| run.first <= index);
        after.checked_sub(1).map(|at| self.runs[at].term)
    }

    /// The greatest index at or below `index` whose term is at or below `term`; none if there is
    /// none in the log.
    pub(crate) fn at_or_below(&self, index: Index, term: Term) -> Option<LogId> {
        let inside = self.runs.partition_point(|run| run.first <= index);
        let low_enough = self.runs[..inside].partition_point(|run| run.term <= term);
        let run = self.runs[..low_enough].last()?;
        // The run ends where the next one begins, or at `index`.
        let end = self.runs.get(low_enough).map_or(index, |next| next.first.previous().min(index));
        Some(LogId::new(run.term, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// S13: lookups in runs equal lookups in the plain list of terms, after any history.
        #[test]
        fn runs_answer_like_the_plain_list_of_terms(
            steps in proptest::collection::vec((0_u64..3, 1_u64..6), 1..60),
            dropped in 0_u64..40,
            truncated in 1_u64..60,
            asked in (0_u64..60, 0_u64..80),
        ) {
            let mut runs = TermRuns::default();
            let mut plain: Vec<u64> = Vec::new();
            let mut term = 1;
            for (raise, count) in steps {
                term += raise;
                for _ in 0..count {
                    plain.push(term);
                    runs.append(LogId::new(Term(term), Index(plain.len() as u64)));
                }
            }
            plain.truncate(usize::try_from(truncated).unwrap().max(1));
            runs.truncate_from(Index(plain.len() as u64 + 1));
            let last = plain.len() as u64;
            let dropped = dropped.min(last);
            runs.drop_upto(Index(dropped), Index(last));
            for index in dropped + 1..=last {
                prop_assert_eq!(runs.term_at(Index(index)), Some(Term(plain[usize::try_from(index - 1).unwrap()])));
            }
            let (index, term) = (asked.0.min(last), asked.1);
            let expected = (dropped + 1..=index).rev()
                .find(|at| plain[usize::try_from(at - 1).unwrap()] <= term)
                .map(|at| LogId::new(Term(plain[usize::try_from(at - 1).unwrap()]), Index(at)));
            prop_assert_eq!(runs.at_or_below(Index(index), Term(term)), expected);
        }
    }
}
