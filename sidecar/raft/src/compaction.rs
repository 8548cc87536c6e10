//! What the log may forget: a policy in bytes (K3, K7).
//!
//! ```text
//! drop up to min(durable_applied, all but the last `retention_bytes`)
//! but no further than a live follower or an advancing transfer needs,
//! unless that would keep more than `retention_bytes_max`
//! ```
//!
//! Sizes are kept per chunk of the log, not per entry: the answer may keep up to one chunk too
//! much, never too little.

use std::collections::VecDeque;

use quorate_mutants::{Mutant, broken};

use crate::settings::Settings;
use crate::types::Index;

/// Chunks are this small at least, so that a tiny log needs few of them.
const CHUNK_BYTES_MIN: u64 = 4 << 10;
/// And this fine: a sixty-fourth of the retention.
const CHUNKS_PER_RETENTION: u64 = 64;

/// Sizes of consecutive pieces of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogSizes {
    chunks: VecDeque<Chunk>,
    total: u64,
    chunk_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    first: Index,
    bytes: u64,
}

/// What the policy looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The last entry a synced flush holds.
    pub(crate) durable_applied: Index,
    /// The lowest match index of a live follower, or the last entry of a snapshot under way.
    pub(crate) slowest: Option<Index>,
}

impl LogSizes {
    /// A log from `first` to `last` whose whole size is known: assumed to be spread evenly.
    pub(crate) fn new(settings: &Settings, first: Index, last: Index, total: u64) -> Self {
        let chunk_bytes = (settings.retention_bytes / CHUNKS_PER_RETENTION).max(CHUNK_BYTES_MIN);
        let mut sizes = Self { chunks: VecDeque::new(), total: 0, chunk_bytes };
        let count = (last.0 + 1).saturating_sub(first.0);
        let pieces = (total / chunk_bytes + 1).min(count);
        for piece in 0..pieces {
            let chunk = Chunk { first: Index(first.0 + count * piece / pieces), bytes: total / pieces };
            sizes.chunks.push_back(chunk);
            sizes.total += chunk.bytes;
        }
        sizes
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn append(&mut self, index: Index, bytes: u64) {
        self.total += bytes;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.bytes < self.chunk_bytes => chunk.bytes += bytes,
            _ => self.chunks.push_back(Chunk { first: index, bytes }),
        }
    }

    pub(crate) fn truncate_from(&mut self, index: Index) {
        while let Some(chunk) = self.chunks.pop_back_if(|chunk| chunk.first >= index) {
            self.total -= chunk.bytes;
        }
    }

    pub(crate) fn drop_upto(&mut self, upto: Index) {
        while self.chunks.get(1).is_some_and(|next| next.first <= upto.next()) {
            self.total -= self.chunks.pop_front().map_or(0, |chunk| chunk.bytes);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.total = 0;
    }

    /// The first entry of the longest tail of whole chunks within `bytes`, and always at most
    /// `end`, the index after the last entry.
    fn first_within(&self, bytes: u64, end: Index) -> Index {
        let mut kept = 0;
        let mut first = end;
        for chunk in self.chunks.iter().rev() {
            if kept >= bytes {
                break;
            }
            kept += chunk.bytes;
            first = chunk.first;
        }
        first
    }

    /// The last entry that may go, if any may. `first` and `last` are those of the log.
    pub(crate) fn compact_upto(
        &self,
        settings: &Settings,
        need: Need,
        first: Index,
        last: Index,
    ) -> Option<Index> {
        let durable = if broken(Mutant::K3) { last } else { need.durable_applied };
        let droppable = |bytes| self.first_within(bytes, last.next()).previous().min(durable);
        let normal = droppable(settings.retention_bytes);
        let upto = match need.slowest {
            Some(slowest) if slowest < normal => {
                slowest.max(droppable(settings.retention_bytes_max)).min(normal)
            }
            _ => normal,
        };
        (upto >= first).then_some(upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn settings(retention: u64, retention_max: u64) -> Settings {
        Settings { retention_bytes: retention, retention_bytes_max: retention_max, ..Settings::default() }
    }

    /// 1,000 entries of 4 KiB, a chunk each.
    fn filled(settings: &Settings) -> LogSizes {
        let mut sizes = LogSizes::new(settings, Index(1), Index(0), 0);
        (1..=1_000).for_each(|index| sizes.append(Index(index), 4 * KIB));
        sizes
    }

    fn upto(settings: &Settings, durable: u64, slowest: Option<u64>) -> Option<u64> {
        let need = Need { durable_applied: Index(durable), slowest: slowest.map(Index) };
        filled(settings).compact_upto(settings, need, Index(1), Index(1_000)).map(|index| index.0)
    }

    /// K3, K7: never beyond what is synced; otherwise all but the retention.
    #[test]
    fn the_log_keeps_its_retention_and_whatever_is_not_synced() {
        let settings = settings(400 * KIB, 2_000 * KIB);
        assert_eq!(upto(&settings, 1_000, None), Some(900));
        assert_eq!(upto(&settings, 300, None), Some(300));
        assert_eq!(upto(&settings, 0, None), None);
    }

    /// K7: a follower that lags holds the log up to the second limit and not beyond.
    #[test]
    fn a_live_follower_holds_the_log_up_to_the_greater_limit() {
        let settings = settings(400 * KIB, 2_000 * KIB);
        assert_eq!(upto(&settings, 1_000, Some(700)), Some(700));
        assert_eq!(upto(&settings, 1_000, Some(100)), Some(500));
        assert_eq!(upto(&settings, 1_000, Some(950)), Some(900));
    }

    /// O6: with no retention everything that is synced goes.
    #[test]
    fn without_retention_everything_synced_goes() {
        assert_eq!(upto(&settings(0, 0), 1_000, None), Some(1_000));
        assert_eq!(upto(&settings(0, 0), 999, Some(3)), Some(999));
    }

    #[test]
    fn an_estimated_log_is_compacted_in_proportion() {
        let settings = settings(400 * KIB, 400 * KIB);
        let mut sizes = LogSizes::new(&settings, Index(101), Index(1_100), 4_000 * KIB);
        let need = Need { durable_applied: Index(1_100), slowest: None };
        let upto = sizes.compact_upto(&settings, need, Index(101), Index(1_100)).unwrap();
        assert!((980..=1_000).contains(&upto.0), "{upto}");
        sizes.drop_upto(upto);
        assert!((400 * KIB..420 * KIB).contains(&sizes.total()), "{}", sizes.total());
        sizes.truncate_from(Index(1_050));
        assert!(sizes.total() < 300 * KIB, "{}", sizes.total());
    }
}
