//! Bytes that nobody wrote: commands of the log, outcomes of peers, rows of the state (B6; raft.md §7, 21).

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use quorate_fuzz::Samples;

use super::memory::Memory;
use super::{generate, next};
use crate::base::Table;
use crate::command::Tagged;
use crate::machine::Machine;
use crate::meta::Meta;
use crate::outcome::Outcome;

/// Of each strategy so many values are encoded to begin from.
const SAMPLES: usize = 200;

/// Values of a strategy, the same each time.
fn drawn<S: Strategy>(strategy: &S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..SAMPLES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// A bad entry must not stop every member at once: any bytes give a command or an error, and what is valid is applied.
#[test]
fn commands_never_panic() {
    let samples = Samples::new(drawn(&generate::tagged()).iter().map(Tagged::encode));
    quorate_fuzz::bytes("commands_never_panic", &samples, |bytes| {
        let bytes = Bytes::copy_from_slice(bytes);
        let Ok(tagged) = Tagged::decode(&bytes) else { return };
        if tagged.command.validate().is_ok() && Tagged::restore_order(&bytes).is_none() {
            let mut machine = super::machine();
            machine.apply(next(&machine), &bytes).unwrap();
        }
    });
}

/// Outcomes come over the network: any bytes give an outcome or an error.
#[test]
fn outcomes_never_panic() {
    let samples = Samples::new(drawn(&generate::outcome()).iter().map(Outcome::encode));
    quorate_fuzz::bytes("outcomes_never_panic", &samples, |bytes| {
        let _ = Outcome::decode(&Bytes::copy_from_slice(bytes));
    });
}

/// A row of a damaged file is refused or misread, never a panic; the store's checksums are what tells damage.
#[test]
fn rows_of_the_state_never_panic() {
    let mut machine = super::machine();
    for tagged in drawn(&generate::tagged()) {
        let bytes = tagged.encode();
        if Tagged::restore_order(&bytes).is_none() {
            machine.apply(next(&machine), &bytes).unwrap();
        }
    }
    super::flush(&mut machine);
    let rows: Vec<Bytes> = machine.base().rows().into_values().flat_map(BTreeMap::into_values).collect();
    let samples = Samples::new(rows.into_iter().filter(|row| !row.is_empty()));
    quorate_fuzz::bytes("rows_of_the_state_never_panic", &samples, |bytes| {
        let row = Bytes::copy_from_slice(bytes);
        let _ = Meta::decode(&row);
        for table in [
            Table::Clients,
            Table::Keys,
            Table::Tombstones,
            Table::TombstoneOrder,
            Table::Sessions,
            Table::LockDelays,
        ] {
            let base = Memory::default();
            base.put(table, "eight by", &row);
            if let Ok(machine) = Machine::open(base) {
                let _ = machine.keys(b"", None, None, usize::MAX);
                let _ = machine.get(b"eight by");
                let _ = machine.prefix_index(b"e");
                let _ = machine.sessions();
                let _ = machine.lock_delays();
            }
        }
    });
}
