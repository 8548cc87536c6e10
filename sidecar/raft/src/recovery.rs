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
//! Not here: applying the log. `R` is committed where it stands, so the next start does it as always.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::entry::{Entry, HardState, Payload, Stored};
use crate::membership::{Configuration, Intent, Server, Suffrage};
use crate::output::Persist;
use crate::types::{LogId, RaftId, RecoveryEpoch, Sequence, ServerId};

/// What a person asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryRequest {
    /// The voters that are given up: exactly all but the survivor.
    pub lost: BTreeSet<RaftId>,
    /// The epoch of the recovered cluster; none: the next one.
    pub epoch: Option<RecoveryEpoch>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It was done before: nothing.
    Done,
    /// Store both in one transaction.
    Write {
        /// The directory's recovery epoch from now on.
        epoch: RecoveryEpoch,
        /// The rest; its last entry is the new configuration.
        persist: Box<Persist>,
    },
}

/// Why a directory is not recovered. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unrecoverable {
    /// There is no log and no configuration.
    #[error("this directory is empty, there is nothing to recover: choose a survivor that holds the log")]
    Empty,
    /// It may lack anything that was decided without it.
    #[error("{id} is not in the configuration it knows last: choose a survivor that is")]
    NotMember {
        /// The owner of the directory.
        id: ServerId,
    },
    /// The voters given up are not the other voters.
    #[error(
        "its log ends at term {}, index {}; the other voters it knows are {}: if none of them holds a log that ends \
         later (greater term, then greater index) and all of them may be given up, name exactly these as lost",
        last.term, last.index, list(others)
    )]
    LostDiffer {
        /// The last entry of this directory's log: survivors are compared by it.
        last: LogId,
        /// Who would have to be named.
        others: BTreeSet<RaftId>,
    },
    /// It belongs to a later recovery.
    #[error("it is at recovery epoch {}, past {}: name a later epoch, or none", found.0, asked.0)]
    EpochPassed {
        /// The directory's.
        found: RecoveryEpoch,
        /// The one asked for.
        asked: RecoveryEpoch,
    },
}

impl RecoveryRequest {
    /// The epoch to go to; none if that was done before. Asked about `id`, whose directory is in epoch
    /// `found`, knows `latest` and ends at `last`.
    pub fn check(
        &self,
        id: &ServerId,
        found: RecoveryEpoch,
        latest: Option<&Configuration>,
        last: LogId,
    ) -> Result<Option<RecoveryEpoch>, Unrecoverable> {
        let latest = latest.ok_or(Unrecoverable::Empty)?;
        if !latest.contains(id) {
            return Err(Unrecoverable::NotMember { id: id.clone() });
        }
        let others: BTreeSet<RaftId> =
            latest.voters().filter(|voter| voter.id != *id).map(|voter| voter.id.raft_id.clone()).collect();
        let epoch = match self.epoch {
            Some(asked) if asked == found => return Ok(None),
            Some(asked) if asked < found => return Err(Unrecoverable::EpochPassed { found, asked }),
            Some(asked) => asked,
            // Nobody else votes: that is what a recovery makes, and this is its repetition.
            None if others.is_empty() && latest.is_voter(id) => return Ok(None),
            None => RecoveryEpoch(found.0 + 1),
        };
        if self.lost == others { Ok(Some(epoch)) } else { Err(Unrecoverable::LostDiffer { last, others }) }
    }
}

impl Stored {
    /// What makes `id`, whose directory is in epoch `found`, the one voter of a recovered cluster.
    pub fn recover(
        &self,
        id: &ServerId,
        found: RecoveryEpoch,
        request: &RecoveryRequest,
    ) -> Result<Recovery, Unrecoverable> {
        let latest = self.configurations.last().map(|latest| &latest.configuration);
        let epoch = request.check(id, found, latest, self.last)?;
        let own = latest.and_then(|latest| Some((latest, latest.get(id)?)));
        let (Some(epoch), Some((latest, own))) = (epoch, own) else { return Ok(Recovery::Done) };
        let alone = Server { suffrage: Suffrage::Voter, intent: Intent::Voter, ..own.clone() };
        let configuration = latest.half(vec![alone]).in_epoch(epoch);
        Ok(Recovery::Write { epoch, persist: Box::new(self.sealed_by(configuration)) })
    }

    /// The whole log committed, with `configuration` behind it.
    fn sealed_by(&self, configuration: Configuration) -> Persist {
        // Above what this directory knows: `R` shares its name with no entry it may have acknowledged.
        let term = self.hard_state.term.max(self.last.term).next();
        let index = self.last.index.next();
        Persist {
            sequence: Sequence(1),
            cluster_id: None,
            hard_state: Some(HardState { term, vote: None, was_member: true }),
            install: None,
            truncate_from: None,
            entries: vec![Entry { term, index, payload: Payload::Configuration(configuration) }],
            commit: index,
        }
    }
}

fn list(ids: &BTreeSet<RaftId>) -> String {
    let ids: Vec<&str> = ids.iter().map(RaftId::as_str).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
