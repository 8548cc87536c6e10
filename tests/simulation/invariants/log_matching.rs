//! Two logs that hold an entry of the same index and term are equal up to it (Raft paper: log matching).
//!
//! It is enough that an (index, term) names one payload and one predecessor wherever it is written: equality of
//! everything before follows by induction.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use quorate_raft::{Entry, Index, LogId, Payload, Term};

use super::Verdict;
use crate::simulation::mirror::Mirror;

/// Every entry that was ever written anywhere.
#[derive(Default)]
pub struct LogMatching {
    entries: BTreeMap<LogId, (u64, Term)>,
}

impl LogMatching {
    /// A cluster goes on from one log, whose entry `by` it was recovered with, and may give names anew that are not in it.
    pub fn recovered(&mut self, log: &Mirror, by: Index) {
        self.entries.retain(|id, _| id.index < by && log.holds(*id));
    }

    /// A member writes `entry` after an entry of `previous` term.
    pub fn written(&mut self, entry: &Entry, previous: Term) -> Verdict {
        let facts = (fingerprint(entry), previous);
        match self.entries.insert(entry.id(), facts) {
            Some(other) if other != facts => {
                Err(format!("log matching: {:?} stands for two different entries or histories", entry.id()))
            }
            _ => Ok(()),
        }
    }
}

/// A number that differs when entries differ.
pub fn fingerprint(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &entry.payload {
        Payload::Noop => 0_u8.hash(&mut hasher),
        Payload::Command(command) => (1_u8, command).hash(&mut hasher),
        // Configurations derive no hash; their text says all of them.
        Payload::Configuration(configuration) => (2_u8, format!("{configuration:?}")).hash(&mut hasher),
        Payload::Barrier => 3_u8.hash(&mut hasher),
    }
    hasher.finish()
}
