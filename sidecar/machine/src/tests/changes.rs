//! What watchers are told of the keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::generate::command;
use super::{apply, flush, machine, put};
use crate::change::KeyEvent;
use crate::command::Command;
use crate::entry::KvEntry;
use crate::machine::Machine;
use crate::read::PageLimit;
use crate::tests::memory::Memory;

fn entries(machine: &Machine<Memory>) -> Vec<KvEntry> {
    let limit = PageLimit { rows_max: usize::MAX, bytes_max: usize::MAX };
    machine.list(b"", None, limit).unwrap().entries
}

proptest! {
    /// K25: whoever repeats every change on a copy of the keys has the keys, whatever made it: writes, locks, transactions,
    /// ends of sessions; and all changes of an entry have its index.
    #[test]
    fn a_copy_kept_by_the_changes_is_the_keys(commands in vec((command(), any::<bool>()), 1..120)) {
        let mut machine = machine();
        machine.note_key_changes();
        let mut copy: BTreeMap<Bytes, KvEntry> = BTreeMap::new();
        for (command, flushes) in commands {
            apply(&mut machine, command);
            let index = machine.meta().api_index(machine.applied().index);
            for change in machine.take_key_changes() {
                prop_assert_eq!(change.index, index);
                match change.event().unwrap() {
                    KeyEvent::Put(entry) => {
                        prop_assert!(change.touches_key(&entry.key) && change.touches_prefix(b""));
                        copy.insert(entry.key.clone(), entry);
                    }
                    KeyEvent::Deleted(key) => _ = copy.remove(&key),
                    KeyEvent::PrefixDeleted(prefix) => copy.retain(|key, _| !key.starts_with(&prefix)),
                }
            }
            if flushes {
                flush(&mut machine);
            }
            prop_assert_eq!(entries(&machine), copy.values().cloned().collect::<Vec<_>>());
        }
    }
}

/// K25: nobody is told of what changed nothing, and nothing is kept for nobody.
#[test]
fn what_changes_nothing_is_no_change() {
    let mut machine = machine();
    apply(&mut machine, put("a", "1"));
    assert_eq!(machine.take_key_changes(), [], "nobody asked yet");
    machine.note_key_changes();
    apply(&mut machine, put("a", "1"));
    apply(&mut machine, Command::Delete { key: "b".into(), expected: None });
    apply(&mut machine, Command::DeletePrefix { prefix: "b".into() });
    assert_eq!(machine.take_key_changes(), []);
    apply(&mut machine, Command::DeletePrefix { prefix: "a".into() });
    let changes = machine.take_key_changes();
    assert_eq!(changes.len(), 1);
    let touched =
        |key: &[u8], prefix: &[u8]| (changes[0].touches_key(key), changes[0].touches_prefix(prefix));
    assert_eq!(touched(b"a", b""), (true, true));
    assert_eq!(touched(b"ab", b"ab"), (true, true));
    assert_eq!(touched(b"b", b"b"), (false, false));
}
