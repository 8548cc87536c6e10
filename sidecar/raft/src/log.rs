//! The log as the core sees it: all terms, the newest bodies, and what storage has confirmed.
//!
//! ```text
//! previous │ first ........ persisted ... handed ...... last
//!          │ <------ terms of all of it (term runs) ------->
//!          │            <------- bodies in `cache` -------->
//! ```
//!
//! `handed` is what was given to storage, `persisted` what it confirmed; entries above
//! `persisted` exist only here, so the cache never drops them. A write that storage has not yet
//! confirmed may cover entries that were replaced since: replacing lowers what it will confirm.
//! Not here: which entries conflict (`follower.rs`) or commit (`commit.rs`).

use std::collections::VecDeque;

use crate::compaction::{LogSizes, Need};
use crate::entry::{Entry, Stored};
use crate::settings::Settings;
use crate::term_runs::TermRuns;
use crate::types::{Index, LogId, Sequence, Term};

pub(crate) struct Log {
    previous: LogId,
    last: LogId,
    terms: TermRuns,
    /// Contiguous and ending at `last`, or empty.
    cache: VecDeque<Entry>,
    cache_bytes: u64,
    cache_bytes_max: u64,
    /// The first entry that storage was not yet told of, if any.
    unwritten_from: Option<Index>,
    /// The last entry of the log as handed to storage.
    handed: Index,
    /// Writes under way and the last entry each confirms; ascending in sequence.
    writes: VecDeque<(Sequence, Index)>,
    persisted: Index,
    sizes: LogSizes,
}

/// What a read finds in memory.
pub(crate) enum Read {
    Entries(Vec<Entry>),
    /// Storage must be asked.
    OnDisk,
    /// It is gone: only a snapshot helps.
    Compacted,
}

impl Log {
    /// Takes what storage kept; none if it contradicts itself.
    pub(crate) fn new(stored: &mut Stored, settings: &Settings) -> Option<Self> {
        let (previous, last) = (stored.previous, stored.last);
        let terms = TermRuns::new(std::mem::take(&mut stored.terms), previous, last)?;
        let sizes = LogSizes::new(settings, previous.index.next(), last.index, stored.log_bytes);
        let mut log = Self {
            previous,
            last,
            terms,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max: settings.cache_bytes_max,
            unwritten_from: None,
            handed: last.index,
            writes: VecDeque::new(),
            persisted: last.index,
            sizes,
        };
        let mut expected = Index((last.index.0 + 1).checked_sub(stored.tail.len() as u64)?);
        for entry in std::mem::take(&mut stored.tail) {
            if entry.index != expected || expected <= previous.index || !log.matches(entry.id()) {
                return None;
            }
            expected = expected.next();
            log.cache_bytes += entry.bytes();
            log.cache.push_back(entry);
        }
        log.shrink_cache();
        Some(log)
    }

    pub(crate) const fn previous(&self) -> LogId {
        self.previous
    }

    pub(crate) const fn first(&self) -> Index {
        self.previous.index.next()
    }

    pub(crate) const fn last(&self) -> LogId {
        self.last
    }

    pub(crate) const fn persisted(&self) -> Index {
        self.persisted
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.sizes.total()
    }

    /// The term at `index`, from the entry before the first one to the last.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.previous.index {
            Some(self.previous.term)
        } else if index > self.previous.index && index <= self.last.index {
            self.terms.term_at(index)
        } else {
            None
        }
    }

    /// Whether the log holds exactly this entry, or begins right after it.
    pub(crate) fn matches(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The greatest entry at or below `index` whose term is at or below `term`. Where the log does
    /// not reach, `previous` stands for all of it.
    pub(crate) fn at_or_below(&self, index: Index, term: Term) -> LogId {
        self.terms.at_or_below(index.min(self.last.index), term).unwrap_or(self.previous)
    }

    /// Appends the next entry.
    pub(crate) fn append(&mut self, entry: Entry) {
        assert!(entry.index == self.last.index.next(), "an append leaves no gap");
        assert!(entry.term >= self.last.term, "terms never fall along the log");
        self.last = entry.id();
        self.terms.append(self.last);
        let bytes = entry.bytes();
        self.sizes.append(entry.index, bytes);
        self.cache_bytes += bytes;
        self.unwritten_from.get_or_insert(entry.index);
        self.cache.push_back(entry);
    }

    /// Drops `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.previous.index && index <= self.last.index, "only what is there can be dropped");
        let kept = index.previous();
        while let Some(entry) = self.cache.pop_back_if(|entry| entry.index >= index) {
            self.cache_bytes -= entry.bytes();
        }
        self.last = LogId::new(self.term_at(kept).unwrap_or_default(), kept);
        self.terms.truncate_from(index);
        self.sizes.truncate_from(index);
        self.unwritten_from = Some(self.unwritten_from.map_or(index, |from| from.min(index)));
        self.persisted = self.persisted.min(kept);
        for (_, confirms) in &mut self.writes {
            *confirms = (*confirms).min(kept);
        }
    }

    /// Drops the whole log: it continues after `previous`, which a snapshot holds (K5).
    pub(crate) fn reset(&mut self, previous: LogId) {
        self.previous = previous;
        self.last = previous;
        self.terms = TermRuns::default();
        self.cache.clear();
        self.cache_bytes = 0;
        self.sizes.clear();
        self.unwritten_from = None;
        self.handed = previous.index;
        // What storage is still writing belongs to the log that is gone.
        self.writes.iter_mut().for_each(|(_, confirms)| *confirms = previous.index);
        self.persisted = previous.index;
    }

    /// Entries from `from` to at most `upto`: one, and more while they stay within `bytes_max`.
    pub(crate) fn read(&self, from: Index, upto: Index, bytes_max: u64) -> Read {
        if from <= self.previous.index {
            return Read::Compacted;
        }
        let cached_from = self.cache.front().map_or(self.last.index.next(), |entry| entry.index);
        if from < cached_from {
            return Read::OnDisk;
        }
        let skip = usize::try_from(from.0 - cached_from.0).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.bytes();
            entry.index <= upto && (entry.index == from || bytes <= bytes_max)
        };
        Read::Entries(self.cache.iter().skip(skip).take_while(fits).cloned().collect())
    }

    /// What storage must be told now: from where it drops, and what it appends. `None` if nothing.
    pub(crate) fn take_write(&mut self, sequence: Sequence) -> Option<(Option<Index>, Vec<Entry>)> {
        let from = self.unwritten_from.take()?;
        let truncate = (from <= self.handed).then_some(from);
        let keep = self.cache.partition_point(|entry| entry.index < from);
        let entries = self.cache.iter().skip(keep).cloned().collect();
        self.handed = self.last.index;
        self.writes.push_back((sequence, self.last.index));
        Some((truncate, entries))
    }

    /// Storage has confirmed all writes up to `sequence`.
    pub(crate) fn confirm(&mut self, sequence: Sequence) {
        while let Some((_, confirms)) = self.writes.pop_front_if(|(written, _)| *written <= sequence) {
            self.persisted = confirms;
        }
        self.shrink_cache();
    }

    /// What the policy lets go (K3, K7).
    pub(crate) fn compactable(&self, settings: &Settings, need: Need) -> Option<LogId> {
        let need = Need { durable_applied: need.durable_applied.min(self.persisted), ..need };
        let upto = self.sizes.compact_upto(settings, need, self.first(), self.last.index)?;
        self.term_at(upto).map(|term| LogId::new(term, upto))
    }

    /// Forgets everything up to and including `upto`.
    pub(crate) fn compact(&mut self, upto: LogId) {
        assert!(self.matches(upto) && upto.index <= self.persisted, "only what is on disk may be dropped");
        self.terms.drop_upto(upto.index, self.last.index);
        self.sizes.drop_upto(upto.index);
        while let Some(entry) = self.cache.pop_front_if(|entry| entry.index <= upto.index) {
            self.cache_bytes -= entry.bytes();
        }
        self.previous = upto;
    }

    fn shrink_cache(&mut self) {
        while self.cache_bytes > self.cache_bytes_max {
            let persisted = self.persisted;
            let Some(entry) = self.cache.pop_front_if(|entry| entry.index <= persisted) else { break };
            self.cache_bytes -= entry.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(u64),
        Truncate(u64),
        Write,
        Confirm(u64),
        Compact(u64),
        Reset(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u64..2).prop_map(Step::Append),
            2 => (0_u64..20).prop_map(Step::Truncate),
            4 => Just(Step::Write),
            3 => (0_u64..4).prop_map(Step::Confirm),
            1 => (0_u64..20).prop_map(Step::Compact),
            1 => (1_u64..5).prop_map(Step::Reset),
        ]
    }

    /// The plain model: the terms of all entries, what storage was told, and what it has confirmed.
    #[derive(Default)]
    struct Model {
        previous: LogId,
        terms: Vec<Term>,
        disk: Vec<(u64, Vec<LogId>)>,
    }

    impl Model {
        fn ids(&self) -> Vec<LogId> {
            let id =
                |(at, term): (usize, &Term)| LogId::new(*term, Index(self.previous.index.0 + 1 + at as u64));
            self.terms.iter().enumerate().map(id).collect()
        }

        fn last(&self) -> LogId {
            self.ids().last().copied().unwrap_or(self.previous)
        }
    }

    fn empty() -> Log {
        Log::new(&mut Stored::default(), &Settings::default()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// S22, O4: whatever is appended, replaced and confirmed in whatever order, what counts as
        /// persisted is on disk exactly as it is in the log now.
        #[test]
        fn what_counts_as_persisted_is_on_disk_as_it_is_in_the_log(steps in proptest::collection::vec(step(), 1..60)) {
            let mut log = empty();
            let mut model = Model::default();
            let (mut sequence, mut confirmed, mut term) = (0, 0, 1);
            // What the disk holds, write by write.
            let mut disk: Vec<LogId> = Vec::new();
            for step in steps {
                match step {
                    Step::Append(raise) => {
                        term += raise;
                        log.append(Entry { term: Term(term), index: log.last().index.next(), payload: Payload::Noop });
                        model.terms.push(Term(term));
                    }
                    Step::Truncate(back) => {
                        let from = log.last().index.0.saturating_sub(back).max(log.first().0);
                        if from <= log.last().index.0 {
                            log.truncate_from(Index(from));
                            model.terms.truncate(usize::try_from(from - model.previous.index.0 - 1).unwrap());
                            term += 1;
                        }
                    }
                    Step::Write => {
                        if let Some((truncate, entries)) = log.take_write(Sequence(sequence + 1)) {
                            sequence += 1;
                            if let Some(from) = truncate {
                                disk.retain(|id| id.index < from);
                            }
                            disk.extend(entries.iter().map(Entry::id));
                            model.disk.push((sequence, disk.clone()));
                        }
                    }
                    Step::Confirm(count) => {
                        confirmed = (confirmed + count).min(sequence);
                        log.confirm(Sequence(confirmed));
                    }
                    Step::Compact(back) => {
                        let upto = Index(log.persisted().0.saturating_sub(back));
                        if upto >= log.first() {
                            let id = LogId::new(log.term_at(upto).unwrap(), upto);
                            log.compact(id);
                            let dropped = usize::try_from(upto.0 - model.previous.index.0).unwrap();
                            model.terms.drain(..dropped);
                            model.previous = id;
                        }
                    }
                    Step::Reset(forward) => {
                        let previous = LogId::new(Term(term), Index(log.last().index.0 + forward));
                        log.reset(previous);
                        model = Model { previous, ..Model::default() };
                        disk.clear();
                        (sequence, confirmed) = (sequence + 1, sequence + 1);
                        log.confirm(Sequence(confirmed));
                    }
                }
                prop_assert_eq!(log.last(), model.last());
                for id in model.ids() {
                    prop_assert!(log.matches(id));
                }
                let synced = model.disk.iter().rev().find(|(written, _)| *written <= confirmed);
                let on_disk = |id: &LogId| synced.is_some_and(|(_, ids)| ids.contains(id));
                for id in model.ids().iter().filter(|id| id.index <= log.persisted()) {
                    prop_assert!(on_disk(id), "{id} counts as persisted and is not on disk");
                }
            }
        }
    }

    /// A read never skips: it gives the first entry whatever its size, then what fits.
    #[test]
    fn a_read_gives_at_least_one_entry_and_stays_within_the_limit() {
        let mut log = empty();
        for index in 1..=10 {
            log.append(Entry {
                term: Term(1),
                index: Index(index),
                payload: Payload::Command(vec![0; 100].into()),
            });
        }
        let count = |from, bytes_max| match log.read(Index(from), Index(10), bytes_max) {
            Read::Entries(entries) => entries.len(),
            Read::OnDisk | Read::Compacted => 99,
        };
        assert_eq!(count(3, 1), 1);
        assert_eq!(count(3, 164 * 2), 2);
        assert_eq!(count(3, u64::MAX), 8);
        assert!(matches!(log.read(Index(0), Index(10), 1), Read::Compacted));
    }

    /// K25: memory holds a bounded number of bodies, and every body that is nowhere else.
    #[test]
    fn the_cache_drops_old_bodies_and_never_one_that_is_not_on_disk() {
        let mut log = empty();
        for index in 1..=40 {
            let payload = Payload::Command(vec![0; 1 << 20].into());
            log.append(Entry { term: Term(1), index: Index(index), payload });
        }
        log.take_write(Sequence(1));
        assert!(matches!(log.read(Index(1), Index(40), 1), Read::Entries(_)), "nothing is confirmed yet");
        log.confirm(Sequence(1));
        assert!(matches!(log.read(Index(1), Index(40), 1), Read::OnDisk));
        assert!(log.cache_bytes <= log.cache_bytes_max);
        assert!(matches!(log.read(Index(30), Index(40), 1), Read::Entries(_)));
    }
}
