//! What a recovery makes: its one voter alone, in the next epoch, right behind its log (K18, S28).

use std::collections::BTreeMap;

use quorate_machine::{ClientId, Outcome};
use quorate_raft::{Configuration, Entry, Index, Payload, RecoveryEpoch, ServerId};

use super::Verdict;
use crate::simulation::mirror::Mirror;

/// The rule for the entry by which a volume is recovered.
pub struct Alone;

impl Alone {
    /// `log`: with that entry.
    pub fn is(id: &ServerId, epoch: RecoveryEpoch, entry: &Entry, log: &Mirror) -> Verdict {
        let Payload::Configuration(configuration) = &entry.payload else {
            return Err(format!("recovery: {} is recovered by {entry:?}", id.raft_id));
        };
        let is_alone = configuration.servers().len() == 1 && configuration.is_voter(id);
        let is_last =
            log.last() == entry.id() && log.terms.values().filter(|term| **term == entry.term).count() == 1;
        if is_alone && is_last && configuration.recovery_epoch() == epoch && log.commit == entry.index {
            return Ok(());
        }
        Err(format!(
            "recovery: {} is recovered in epoch {} by {entry:?}, and its log ends at {} and is committed up to {}",
            id.raft_id,
            epoch.0,
            log.last(),
            log.commit.0
        ))
    }
}

/// The rule for a leader's configurations: they stay in the epoch of its directory.
pub struct OneEpoch;

impl OneEpoch {
    /// A leader whose directory is in `epoch` appends `configuration`.
    pub fn stays(leader: &ServerId, epoch: RecoveryEpoch, configuration: &Configuration) -> Verdict {
        let appended = configuration.recovery_epoch();
        if appended == epoch {
            return Ok(());
        }
        Err(format!(
            "recovery: {} is in epoch {} and appends a configuration of {}",
            leader.raft_id, epoch.0, appended.0
        ))
    }
}

/// What a recovery has lost, which no survivor had.
pub struct Lost {
    /// Everything that was applied after this entry.
    pub after: Index,
    /// How many entries that had been committed.
    pub committed: usize,
    /// The numbered commands among what was applied, and what they had come to.
    pub commands: BTreeMap<(ClientId, u64), Outcome>,
}
