//! The terms of the whole log as runs, so that nobody reads the disk to learn a term.

use quorate_raft::{Index, Term, TermRun};

/// Invariant: first indexes ascend strictly, terms ascend strictly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms {
    runs: Vec<TermRun>,
}

impl Terms {
    /// Takes runs as stored; `None` if they do not ascend.
    pub(super) fn new(runs: Vec<TermRun>) -> Option<Self> {
        let ascend = runs.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term);
        ascend.then_some(Self { runs })
    }

    pub(super) fn runs(&self) -> &[TermRun] {
        &self.runs
    }

    /// The term at an index at or above the first run's beginning; the caller bounds it above.
    pub(super) fn at(&self, index: Index) -> Option<Term> {
        let after = self.runs.partition_point(|run| run.first <= index);
        Some(self.runs.get(after.checked_sub(1)?)?.term)
    }

    pub(super) fn append(&mut self, index: Index, term: Term) {
        if self.runs.last().is_none_or(|run| run.term < term) {
            self.runs.push(TermRun { first: index, term });
        }
    }

    /// Forgets everything from `index` on.
    pub(super) fn truncate(&mut self, index: Index) {
        let kept = self.runs.partition_point(|run| run.first < index);
        self.runs.truncate(kept);
    }

    /// Forgets everything before `first`; the run that holds it stays, and begins there.
    pub(super) fn compact(&mut self, first: Index) {
        let passed = self.runs.partition_point(|run| run.first <= first);
        self.runs.drain(..passed.saturating_sub(1));
        if let Some(run) = self.runs.first_mut().filter(|run| run.first < first) {
            run.first = first;
        }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        let mut terms = Terms::default();
        for (index, term) in [(1, 1), (2, 1), (3, 4), (4, 4), (5, 6)] {
            terms.append(Index(index), Term(term));
        }
        terms
    }

    #[test]
    fn terms_are_found_cut_and_compacted() {
        let mut cut = terms();
        assert_eq!(cut.at(Index(2)), Some(Term(1)));
        assert_eq!(cut.at(Index(4)), Some(Term(4)));
        cut.truncate(Index(4));
        assert_eq!(cut.runs().len(), 2);
        let mut compacted = terms();
        compacted.compact(Index(4));
        assert_eq!(compacted.at(Index(3)), None);
        assert_eq!(compacted.at(Index(4)), Some(Term(4)));
        assert_eq!(compacted.runs()[0].first, Index(4));
    }
}
