//! Quorum recovery: what a lone survivor's log becomes (K18, S28).
//!
//! ```text
//! 1 … commit … last      the survivor's log; how much of it a majority held, nobody can say any more
//! 1 … commit … last R    all of it counts as committed; R: this member is the one voter, in a new epoch
//! ```
//!
//! It gains what was never acknowledged and loses what only the lost disks held: so a person decides, and
//! names the lost. `R` has a term above any this directory knows, and its epoch keeps the old majority,
//! should it come back, from being heard again. Storage writes it in one transaction with that epoch, so
//! there is nothing between the old cluster and the recovered one.
//! Not here: whether it may be done (`quorate_store`), and applying the log. `R` is committed where it
//! stands, so the next start does it as always.

use quorate_mutants::{Mutant, broken};

use crate::entry::{Entry, HardState, Payload, Stored};
use crate::membership::{Intent, Server, Suffrage};
use crate::output::Persist;
use crate::types::{RecoveryEpoch, Sequence, ServerId};

impl Stored {
    /// What makes `id` the one voter of a cluster recovered in `epoch`: to be stored together with that epoch. None if
    /// it is not in the configuration that its directory knows last.
    pub fn recovered(&self, id: &ServerId, epoch: RecoveryEpoch) -> Option<Persist> {
        let latest = &self.configurations.last()?.configuration;
        let alone = Server { suffrage: Suffrage::Voter, intent: Intent::Voter, ..latest.get(id)?.clone() };
        let configuration = latest.half(vec![alone]).in_epoch(epoch);
        // Above what this directory knows: `R` shares its name with no entry it may have acknowledged.
        let term = self.hard_state.term.max(self.last.term).next();
        let index = self.last.index.next();
        Some(Persist {
            sequence: Sequence(1),
            cluster_id: None,
            hard_state: Some(HardState { term, vote: None, was_member: true }),
            install: None,
            truncate_from: None,
            entries: vec![Entry { term, index, payload: Payload::Configuration(configuration) }],
            commit: if broken(Mutant::S28) { self.commit } else { index },
        })
    }
}
