//! A volume, and the member's directory on it. What is written is synced at once: disks that forget are the subject of
//! `simulation`.

use anyhow::{Result, ensure};
use quorate_raft::{
    ClusterId, Entry, HardState, Incarnation, Index, IndexedConfiguration, LogId, Payload, Persist, RaftId,
    RecoveryEpoch, ServerId, Stored, TermRun,
};

/// A volume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// The node it is on, if it is on one node only.
    pub node: Option<String>,
    /// The member's directory, once a sidecar made it.
    pub directory: Option<Directory>,
    /// Its data is damaged.
    pub is_damaged: bool,
}

/// A member's data directory.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Whose it is (K1).
    pub id: ServerId,
    /// The recovery epoch it is in (K18).
    pub epoch: RecoveryEpoch,
    /// The cluster it belongs to; none before the first write (K2).
    pub cluster_id: Option<ClusterId>,
    hard_state: HardState,
    commit: Index,
    entries: Vec<Entry>,
}

impl Directory {
    /// An empty one.
    pub fn create(raft_id: RaftId, incarnation: Incarnation, epoch: RecoveryEpoch) -> Self {
        Self {
            id: ServerId::new(raft_id, incarnation),
            epoch,
            cluster_id: None,
            hard_state: HardState::default(),
            commit: Index(0),
            entries: Vec::new(),
        }
    }

    /// The last entry.
    pub fn last(&self) -> LogId {
        self.entries.last().map_or_else(LogId::default, Entry::id)
    }

    /// One commit.
    pub fn write(&mut self, write: &Persist) -> Result<()> {
        self.cluster_id = write.cluster_id.or(self.cluster_id);
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        ensure!(write.install.is_none(), "no log is ever compacted here, so nobody needs a snapshot");
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
        self.commit = write.commit;
        Ok(())
    }

    /// Entries from here up to there.
    pub fn read(&self, from: Index, upto: Index) -> Vec<Entry> {
        self.entries.iter().filter(|entry| from <= entry.index && entry.index <= upto).cloned().collect()
    }

    /// What a process finds when it starts. The state is built anew from the log.
    pub fn stored(&self) -> Stored {
        let mut terms: Vec<TermRun> = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|run| run.term != entry.term) {
                terms.push(TermRun { first: entry.index, term: entry.term });
            }
        }
        let of = |entry: &Entry| match &entry.payload {
            Payload::Configuration(configuration) => {
                Some(IndexedConfiguration { index: entry.index, configuration: configuration.clone() })
            }
            Payload::Noop | Payload::Barrier | Payload::Command(_) => None,
        };
        Stored {
            cluster_id: self.cluster_id,
            hard_state: self.hard_state.clone(),
            commit: self.commit,
            applied: LogId::default(),
            previous: LogId::default(),
            last: self.last(),
            terms,
            configurations: self.entries.iter().filter_map(of).collect(),
            tail: self.entries.clone(),
            log_bytes: self.entries.iter().map(Entry::bytes).sum(),
        }
    }
}
