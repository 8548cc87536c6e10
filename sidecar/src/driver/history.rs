//! The latest changes of keys, for watchers (K25).
//!
//! ```text
//!   machine's thread ──push──▶ │ 41 │ 42 │ 42 │ 45 │ …      one history for all watchers; the oldest goes at a limit
//!                                      ▲         ▲
//!                              a watcher's cursor, each reads at its own pace: nothing waits for it
//! ```
//!
//! Invariant: whoever reads on from a cursor gets every change after it, in order and once, or hears that some are no
//! longer kept. A slow watcher costs nobody anything but itself.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use quorate_machine::{ApiIndex, KeyChange};
use tokio::sync::watch;

use crate::limits::{WATCH_HISTORY_BYTES_MAX, WATCH_HISTORY_MAX, WATCH_READ_BYTES_MAX, WATCH_READ_MAX};

/// See the module.
#[derive(Debug)]
pub struct KeyHistory {
    kept: RwLock<Kept>,
    /// How many changes there ever were, for who waits for the next.
    count: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    changes: VecDeque<KeyChange>,
    /// The number of the first one kept; they are numbered from 0 since the process started.
    first: u64,
    bytes: usize,
    /// The index of the last change that is not kept.
    before: ApiIndex,
    /// The index of the last change.
    last: ApiIndex,
}

/// Where a watcher is: the number of the change it reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

/// Changes that a watcher has not seen are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Watching can begin after this index, or a later one.
    pub oldest: ApiIndex,
}

/// What a watcher reads at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Those that match, in order.
    pub changes: Vec<KeyChange>,
    /// Where to read on; where it was begun if there is nothing more.
    pub next: Cursor,
    /// Every change up to this index has been read now. Lower than the last one's if more of the same entry are to come.
    pub upto: ApiIndex,
}

impl KeyHistory {
    /// Of a state whose keys changed last at this index.
    pub(crate) fn new(last: ApiIndex) -> Self {
        let kept = Kept { changes: VecDeque::new(), first: 0, bytes: 0, before: last, last };
        Self { kept: RwLock::new(kept), count: watch::Sender::new(0) }
    }

    /// All changes of one entry, or of several in order.
    pub(crate) fn push(&self, changes: Vec<KeyChange>) {
        if changes.is_empty() {
            return;
        }
        let mut kept = self.lock();
        for change in changes {
            kept.bytes += change.bytes();
            kept.last = change.index;
            kept.changes.push_back(change);
        }
        while kept.changes.len() > WATCH_HISTORY_MAX || kept.bytes > WATCH_HISTORY_BYTES_MAX {
            kept.drop_first();
        }
        let count = kept.end();
        drop(kept);
        self.count.send_replace(count);
    }

    /// The keys are others now: a snapshot or an archive took their place. What changed on the way nobody knows.
    pub(crate) fn replace(&self, last: ApiIndex) {
        let mut kept = self.lock();
        // One that never was, so that whoever is at the end misses something too.
        kept.first = kept.end() + 1;
        kept.changes.clear();
        (kept.bytes, kept.before, kept.last) = (0, last, last);
        let count = kept.end();
        drop(kept);
        self.count.send_replace(count);
    }

    /// Where to begin to read the changes after this index.
    pub fn after(&self, index: ApiIndex) -> Result<Cursor, Compacted> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if index < kept.before {
            return Err(kept.compacted());
        }
        let skipped = kept.changes.partition_point(|change| change.index <= index);
        Ok(Cursor(kept.first + skipped as u64))
    }

    /// Of the next [`WATCH_READ_MAX`] changes those that match, up to about [`WATCH_READ_BYTES_MAX`] unless one alone is
    /// larger.
    pub fn read(&self, from: Cursor, matches: impl Fn(&KeyChange) -> bool) -> Result<Read, Compacted> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let skipped = from.0.checked_sub(kept.first).ok_or_else(|| kept.compacted())?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(kept.changes.len());
        let (mut changes, mut bytes, mut end, mut last) = (Vec::new(), 0, skipped, kept.before);
        for change in kept.changes.range(skipped..).take(WATCH_READ_MAX) {
            if matches(change) {
                bytes += change.bytes();
                if bytes > WATCH_READ_BYTES_MAX && !changes.is_empty() {
                    break;
                }
                changes.push(change.clone());
            }
            (end, last) = (end + 1, change.index);
        }
        let upto = match (kept.changes.get(end), last) {
            (None, _) => kept.last,
            // The next one is of the same entry: that one is not through yet.
            (Some(next), last) if next.index == last => ApiIndex(last.0.saturating_sub(1)),
            (Some(_), last) => last,
        };
        Ok(Read { changes, next: Cursor(from.0 + (end - skipped) as u64), upto })
    }

    /// Grows with each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    fn compacted(&self) -> Compacted {
        Compacted { oldest: self.before }
    }

    fn drop_first(&mut self) {
        let Some(change) = self.changes.pop_front() else { return };
        self.first += 1;
        self.bytes -= change.bytes();
        self.before = change.index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes of keys that are named by numbers, by the index of their entry.
    fn changes(indexes: impl IntoIterator<Item = u64>) -> Vec<KeyChange> {
        let change = |index: u64| KeyChange::deleted(ApiIndex(index), index.to_string().into());
        indexes.into_iter().map(change).collect()
    }

    /// Everything after this index, read to the end; and up to where that is.
    fn read_all(history: &KeyHistory, after: u64) -> Result<(Vec<u64>, u64), Compacted> {
        let (mut cursor, mut found) = (history.after(ApiIndex(after))?, Vec::new());
        loop {
            let read = history.read(cursor, |_| true)?;
            found.extend(read.changes.iter().map(|change| change.index.0));
            if read.next == cursor {
                return Ok((found, read.upto.0));
            }
            cursor = read.next;
        }
    }

    /// K25: in order and without a gap from the index asked; what is not known from the start on is no longer kept.
    #[test]
    fn every_change_after_an_index_is_read_once_and_in_order() {
        let history = KeyHistory::new(ApiIndex(10));
        assert_eq!(read_all(&history, 10), Ok((vec![], 10)));
        history.push(changes([11, 12, 12]));
        history.push(changes([15]));
        assert_eq!(read_all(&history, 10), Ok((vec![11, 12, 12, 15], 15)));
        assert_eq!(read_all(&history, 12), Ok((vec![15], 15)));
        assert_eq!(read_all(&history, 99), Ok((vec![], 15)));
        assert_eq!(read_all(&history, 9), Err(Compacted { oldest: ApiIndex(10) }));
    }

    /// K25: of more changes than are kept the oldest go; who was behind them hears it, whoever was not reads on.
    #[test]
    fn a_watcher_that_falls_behind_the_history_is_told() {
        let history = KeyHistory::new(ApiIndex(0));
        let begun = history.after(ApiIndex(0)).unwrap();
        let kept = WATCH_HISTORY_MAX as u64;
        history.push(changes(1..=kept));
        assert!(history.read(begun, |_| true).is_ok());
        history.push(changes([kept + 1]));
        assert_eq!(history.read(begun, |_| true), Err(Compacted { oldest: ApiIndex(1) }));
        let (found, upto) = read_all(&history, 1).unwrap();
        assert_eq!((found.len(), found[0], upto), (WATCH_HISTORY_MAX, 2, kept + 1));
        let large = vec![KeyChange::deleted(ApiIndex(kept + 2), vec![0; WATCH_HISTORY_BYTES_MAX / 2].into())];
        history.push(large.clone());
        history.push(large);
        assert!(read_all(&history, kept + 1).is_err(), "bytes count, too");
    }

    /// A watcher may stop anywhere: the index it has is of an entry that it has all changes of.
    #[test]
    fn an_entry_counts_as_read_once_all_its_changes_are() {
        let history = KeyHistory::new(ApiIndex(0));
        let before = WATCH_READ_MAX as u64 - 1;
        history.push(changes((1..=before).chain([before + 1, before + 1])));
        let cursor = history.after(ApiIndex(0)).unwrap();
        let read = history.read(cursor, |change| change.index.0 == before + 1).unwrap();
        assert_eq!((read.changes.len(), read.upto.0), (1, before));
        let read = history.read(read.next, |_| true).unwrap();
        assert_eq!((read.changes.len(), read.upto.0), (1, before + 1));
    }

    /// K5, K17: after a snapshot or an archive took the keys' place, nobody can say what changed on the way.
    #[test]
    fn who_watched_before_the_keys_were_replaced_begins_anew() {
        let history = KeyHistory::new(ApiIndex(0));
        history.push(changes([1]));
        let cursor = history.after(ApiIndex(1)).unwrap();
        history.replace(ApiIndex(7));
        let compacted = Compacted { oldest: ApiIndex(7) };
        assert_eq!(history.read(cursor, |_| true), Err(compacted));
        assert_eq!(read_all(&history, 6), Err(compacted));
        history.push(changes([8]));
        assert_eq!(read_all(&history, 7), Ok((vec![8], 8)));
    }
}
