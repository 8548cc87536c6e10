//! A member's log in memory; what is written is synced at once.

use quorate_raft::{
    ClusterId, Entry, HardState, Index, IndexedConfiguration, LogId, Payload, Persist, Stored, TermRun,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    cluster_id: Option<ClusterId>,
    hard_state: HardState,
    commit: Index,
    entries: Vec<Entry>,
}

impl Disk {
    pub(crate) fn write(&mut self, write: &Persist) {
        self.cluster_id = write.cluster_id.or(self.cluster_id);
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        assert!(write.install.is_none(), "no log is ever compacted here");
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
        self.commit = write.commit;
    }

    pub(crate) fn read(&self, from: Index, upto: Index) -> Vec<Entry> {
        self.entries.iter().filter(|entry| from <= entry.index && entry.index <= upto).cloned().collect()
    }

    pub(crate) fn stored(&self) -> Stored {
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
            last: self.entries.last().map_or_else(LogId::default, Entry::id),
            terms,
            configurations: self.entries.iter().filter_map(of).collect(),
            tail: self.entries.clone(),
            log_bytes: self.entries.iter().map(Entry::bytes).sum(),
        }
    }
}
