//! Which configurations may be in force: the newest committed one, and each that stands after it in some log.
//!
//! No invariant by itself: it says whose disks the others count.

use std::collections::BTreeMap;

use quorate_raft::{Configuration, Entry, Index, LogId, Payload};

use super::Commitment;
use crate::simulation::mirror::Mirror;

/// Every configuration that was ever written.
#[derive(Default)]
pub struct Configurations {
    written: BTreeMap<LogId, Configuration>,
}

impl Configurations {
    /// An entry is written somewhere.
    pub fn written(&mut self, entry: &Entry) {
        if let Payload::Configuration(configuration) = &entry.payload {
            self.written.insert(entry.id(), configuration.clone());
        }
    }

    /// The first configuration in a log between two indexes, both left out.
    pub fn between(&self, after: Index, before: Index, log: &Mirror) -> Option<LogId> {
        let is_there = |id: &&LogId| id.index > after && id.index < before && log.holds_itself(**id);
        self.written.keys().find(is_there).copied()
    }

    /// The newest committed one.
    pub fn newest_committed(&self, commitment: &Commitment) -> Option<&Configuration> {
        let committed = self.written.iter().rev().find(|(id, _)| commitment.has(**id));
        committed.map(|(_, configuration)| configuration)
    }

    /// The newest committed one that a log holds, and those that stand after it there, in their order.
    pub fn known_to(&self, commitment: &Commitment, log: &Mirror) -> Vec<Configuration> {
        let is_held = |id: &LogId| id.index <= log.last().index && log.holds(*id) && commitment.has(*id);
        let committed = self.written.iter().rev().find(|(id, _)| is_held(id));
        let last = committed.map_or(Index(0), |(id, _)| id.index);
        let pending = self.written.iter().filter(|(id, _)| id.index > last && log.holds_itself(**id));
        committed.into_iter().chain(pending).map(|(_, configuration)| configuration.clone()).collect()
    }

    /// Those in force while this is committed and these are the logs; the newest committed one first.
    pub fn in_force<'a>(
        &self,
        commitment: &Commitment,
        logs: &(impl Iterator<Item = &'a Mirror> + Clone),
    ) -> Vec<Configuration> {
        let stands = |id: &LogId| logs.clone().any(|log| log.holds_itself(*id));
        let committed = self.written.iter().rev().find(|(id, _)| commitment.has(**id));
        let last = commitment.last().index;
        let pending = self.written.iter().filter(|(id, _)| id.index > last && stands(id));
        committed.into_iter().chain(pending).map(|(_, configuration)| configuration.clone()).collect()
    }
}
