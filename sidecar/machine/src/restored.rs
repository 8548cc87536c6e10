//! What becomes of an archive when it takes the place of the state: keys from there, everything else from here (K17).
//!
//! ```text
//!                    archive            here               after the restore
//!   keys, values     ────────────────────────────────────▶ the archive's
//!   modify index     dropped            dropped            the restore's own, of every key
//!   tombstones       dropped            dropped            none; the floor under prefixes is the restore's index
//!   clients          dropped            dropped            none: a retry from before is told SessionExpired (K20)
//!   `LockIndex`        of a key           the greatest       the greater one, and one more; as it was where nothing was held
//!   sessions, locks  dropped            dropped            none; if there were any, nothing can be acquired for the
//!                                                          longest lock delay: who held a key does not know yet
//!   cluster, configuration, version, settings ───────────▶ this cluster's
//!   index base                                             raised, so that the restore's index exceeds all of both
//! ```
//!
//! Every key gets the restore's index because an index must never fall for whoever watches, and because a
//! compare-and-set that was read before must not hit a key that happens to carry the same number in the archive.
//!
//! Invariant: it depends on the archive, the entry and the state before it alone, so every member makes the same.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_mutants::{Mutant, broken};

use crate::base::{Base, KeyRange, Table};
use crate::codec::DecodeError;
use crate::command::ApiIndex;
use crate::entry::{Head, KvEntry};
use crate::limits::{KEY_BYTES_MAX, LOCK_DELAY_MAX, VALUE_BYTES_MAX};
use crate::machine::Machine;
use crate::meta::{KeysMeta, Meta, Position, SessionsMeta, StateError};
use crate::session::SessionId;
use crate::session_codec::delay_row;

/// The highest API index an archive may have: far above any real one, far below where numbers end.
pub const ARCHIVE_INDEX_MAX: ApiIndex = ApiIndex(1 << 62);

/// What a restore takes from the state before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The state's own numbers.
    pub meta: Meta,
    /// The greatest `LockIndex` of any key; 0 if none was ever acquired.
    pub lock_index: u64,
}

/// The state made by one restore.
#[derive(Clone, Debug)]
pub struct Restored {
    meta: Meta,
    lock_floor: u64,
}

impl<B: Base> Machine<B> {
    /// What a restore that is the next entry takes from here. Looks at every key.
    pub fn here(&self) -> Result<Here, StateError<B::Error>> {
        let (mut lock_index, mut broken) = (0, None);
        self.view().scan(Table::Keys, &KeyRange::all(), &mut |_, row| match Head::of(row) {
            Ok(head) => {
                lock_index = lock_index.max(head.lock_index);
                ControlFlow::Continue(())
            }
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        })?;
        broken.map_or(Ok(Here { meta: self.meta().clone(), lock_index }), |error| Err(error.into()))
    }
}

impl Restored {
    /// By the entry at `at`, the next one after `here`, from an archive whose last API index is `archive`.
    pub fn new(Here { meta: here, lock_index }: &Here, at: Position, archive: ApiIndex) -> Self {
        // The restore's own index must exceed the archive's; it exceeds ours as every entry does.
        let needed = archive.0.saturating_add(1).saturating_sub(at.index);
        let index_base = if broken(Mutant::K17Index) { here.index_base } else { here.index_base.max(needed) };
        let index = ApiIndex(at.index + index_base);
        let keys = KeysMeta { index, tombstones: 0, tombstone_floor: index };
        // A place for the lock delay that is owed to whoever held a key here.
        let sessions = SessionsMeta { index, places: here.sessions.places.min(1) };
        let restore_epoch = here.restore_epoch + 1;
        let meta = Meta { applied: at, index_base, keys, sessions, restore_epoch, ..here.clone() };
        Self { meta, lock_floor: if broken(Mutant::K17Lock) { 0 } else { *lock_index } }
    }

    /// The restore's own API index: that of every key it brings.
    pub fn index(&self) -> ApiIndex {
        self.meta.keys.index
    }

    /// The state's own numbers after it.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The row of the lock delay after it, with its key in [`Table::LockDelays`](crate::Table::LockDelays): for every key
    /// and in full (K17), because nobody knows any more what the sessions held. None if there were none. To be asked
    /// after the last key.
    pub fn lock_delay(&self) -> Option<(Bytes, Bytes)> {
        let is_owed = self.meta.sessions.places > 0;
        let id = SessionId::NONE.0.to_be_bytes();
        is_owed.then(|| (Bytes::copy_from_slice(&id), delay_row(LOCK_DELAY_MAX)))
    }

    /// The row of a key, from its row in the archive. One that was held is free, and says that it was locked once more:
    /// also than any key here, for whoever held one here must not be taken for a later holder (K17).
    pub fn key_row(&mut self, key: &[u8], row: &Bytes) -> Result<Bytes, DecodeError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(DecodeError::OutOfRange { what: "length of a key" });
        }
        let mut entry = KvEntry::from_row(Bytes::copy_from_slice(key), row)?;
        if entry.value.len() > VALUE_BYTES_MAX {
            return Err(DecodeError::OutOfRange { what: "length of a value" });
        }
        // It came into being no later than it is here, whatever the archive says.
        entry.create_index = entry.create_index.min(self.index());
        entry.modify_index = self.index();
        let was_held = entry.session.take().is_some();
        if was_held {
            self.meta.sessions.places = 1;
        }
        if was_held || self.lock_floor > 0 {
            entry.lock_index = entry.lock_index.max(self.lock_floor).saturating_add(1);
        }
        Ok(entry.to_row())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::AutopilotRecord;

    fn here(index: u64, index_base: u64) -> Meta {
        let autopilot = AutopilotRecord { modify_index: ApiIndex(3), ..AutopilotRecord::default() };
        let applied = Position { index, term: 4 };
        Meta { applied, index_base, autopilot, restore_epoch: 6, ..Meta::default() }
    }

    fn restored(here: &Meta, archive: u64) -> Restored {
        let at = Position { index: here.applied.index + 1, term: 5 };
        Restored::new(&Here { meta: here.clone(), lock_index: 0 }, at, ApiIndex(archive))
    }

    /// B14, K17: into a younger or an older cluster, again and again: the index only grows, and exceeds the archive's.
    #[test]
    fn the_index_after_a_restore_exceeds_ours_and_the_archive_s() {
        for (index, base, archive) in
            [(10, 0, 5), (10, 0, 10), (10, 0, 11), (10, 0, 5_000), (10, 90, 100), (10, 90, 101), (10, 90, 3)]
        {
            let before = here(index, base);
            let after = restored(&before, archive);
            assert!(after.index() > before.api_index(index), "{index} {base} {archive}");
            assert!(after.index().0 > archive, "{index} {base} {archive}");
            assert_eq!(after.meta().api_index(index + 1), after.index());
            assert!(after.meta().index_base >= base);
        }
        assert!(
            restored(&here(10, 0), u64::MAX).index().0 > 1 << 62,
            "no overflow, whatever an archive says"
        );
    }

    /// K17: what the cluster is stays; what clients were forgets itself.
    #[test]
    fn a_restore_keeps_what_the_cluster_is() {
        let before = here(10, 0);
        let after = restored(&before, 500).meta().clone();
        assert_eq!(after.applied, Position { index: 11, term: 5 });
        assert_eq!(after.restore_epoch, 7);
        assert_eq!(
            (after.autopilot, after.era, after.configuration),
            (before.autopilot, before.era, before.configuration)
        );
        assert_eq!((after.keys.tombstones, after.keys.tombstone_floor), (0, after.keys.index));
    }

    /// A compare-and-set of before must not hit, and a watcher must see the key change.
    #[test]
    fn a_restored_key_has_the_restore_s_index() {
        let entry = KvEntry {
            key: "k".into(),
            value: "v".into(),
            flags: 7,
            create_index: ApiIndex(3),
            modify_index: ApiIndex(4),
            lock_index: 2,
            session: None,
        };
        let mut after = restored(&here(10, 0), 4);
        let row = after.key_row(b"k", &entry.to_row()).unwrap();
        let found = KvEntry::from_row("k".into(), &row).unwrap();
        assert_eq!(found, KvEntry { modify_index: ApiIndex(11), ..entry });
        assert!(after.key_row(b"", &row).is_err());
        assert!(after.key_row(&[b'k'; KEY_BYTES_MAX + 1], &row).is_err());
        assert!(after.key_row(b"k", &Bytes::from_static(b"\x01short")).is_err());
    }

    /// K17: `LockIndex` only grows over a restore. Whoever held the key here, when its `LockIndex` was 9, cannot be taken for
    /// whoever acquires it next, though the archive knows of two locks only; one that the archive knows more of has that.
    #[test]
    fn the_lock_index_after_a_restore_exceeds_the_archive_s_and_ours() {
        let lock_index_after = |ours: u64, archived: u64| {
            let before = Here { meta: here(10, 0), lock_index: ours };
            let mut after = Restored::new(&before, Position { index: 11, term: 5 }, ApiIndex(4));
            let index = ApiIndex(4);
            let entry = KvEntry {
                key: "k".into(),
                value: "v".into(),
                flags: 0,
                create_index: index,
                modify_index: index,
                lock_index: archived,
                session: None,
            };
            let row = after.key_row(b"k", &entry.to_row()).unwrap();
            KvEntry::from_row("k".into(), &row).unwrap().lock_index
        };
        assert_eq!(lock_index_after(9, 2), 10);
        assert_eq!(lock_index_after(2, 9), 10);
        assert_eq!(lock_index_after(3, 0), 4, "it may be the key that was held here");
        assert_eq!(lock_index_after(0, 2), 2, "nothing was ever held here");
        assert_eq!(lock_index_after(u64::MAX, 2), u64::MAX);
    }

    /// K17: whoever held a key, here or in the archive, is gone, and nobody gets its key before it can know.
    #[test]
    fn a_restore_frees_what_was_held_and_delays_every_lock() {
        let mut after = restored(&here(10, 0), 4);
        assert_eq!(after.lock_delay(), None, "nobody held anything");
        let session = Some(SessionId::from_random(7));
        let index = ApiIndex(4);
        let held = KvEntry {
            key: "k".into(),
            value: "v".into(),
            flags: 7,
            create_index: index,
            modify_index: index,
            lock_index: 2,
            session,
        };
        let row = after.key_row(b"k", &held.to_row()).unwrap();
        let found = KvEntry::from_row("k".into(), &row).unwrap();
        assert_eq!((found.session, found.lock_index), (None, 3));
        assert!(after.lock_delay().is_some());
        assert_eq!(after.meta().sessions.places, 1);
        let sessions = SessionsMeta { index, places: 12 };
        let after = restored(&Meta { sessions, ..here(10, 0) }, 4);
        assert!(after.lock_delay().is_some(), "here were sessions");
        assert_eq!(after.meta().sessions, SessionsMeta { index: after.index(), places: 1 });
    }
}
