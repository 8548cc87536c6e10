//! One member's storage in memory: what is synced, and what is still on its way and lost in a crash.
//!
//! Operations complete strictly in order, each after the member's own delay. The state file is
//! flushed in one piece with its configuration (K4); a snapshot is a copy of it.

use std::collections::VecDeque;

use quorate_raft::{
    ClusterId, Entry, HardState, Index, IndexedConfiguration, LogId, LogReader, Now, Payload, Persist,
    Stored, Term, TermRun,
};

/// The replicated state: every command with its index, so that two members are equal or they are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) applied: LogId,
    pub(crate) commands: Vec<(Index, bytes::Bytes)>,
    pub(crate) configuration: Option<IndexedConfiguration>,
}

impl State {
    pub(crate) fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.index.next(), "entries are applied in order, each once");
        self.applied = entry.id();
        match &entry.payload {
            Payload::Command(command) => self.commands.push((entry.index, command.clone())),
            Payload::Configuration(configuration) => {
                let configuration = configuration.clone();
                self.configuration = Some(IndexedConfiguration { index: entry.index, configuration });
            }
            Payload::Noop | Payload::Barrier => {}
        }
    }
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) hard_state: HardState,
    pub(crate) commit: Index,
    pub(crate) previous: LogId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) state: State,
}

/// What is on its way to the disk, or waits behind such a thing.
#[derive(Debug)]
pub(crate) enum Operation {
    Persist(Persist),
    Compact(LogId),
    Read { reader: LogReader, from: Index, upto: Index, bytes_max: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<(Now, Operation)>,
}

impl Disk {
    pub(crate) fn last(&self) -> LogId {
        self.entries.last().map_or(self.previous, Entry::id)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.previous.index.0 + 1)?;
        self.entries.get(usize::try_from(at).unwrap())
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.previous.index {
            Some(self.previous.term)
        } else {
            self.get(index).map(|entry| entry.term)
        }
    }

    /// One commit. `snapshot` is the received state that the write names, if it names one.
    pub(crate) fn commit(&mut self, persist: &Persist, snapshot: Option<State>) {
        if let Some(cluster_id) = persist.cluster_id {
            assert!(self.cluster_id.is_none(), "only an empty directory takes a cluster");
            self.cluster_id = Some(cluster_id);
        }
        assert!(self.cluster_id.is_some(), "the first write names the cluster (K2)");
        if let Some(hard_state) = &persist.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "the stored term never falls");
            self.hard_state = hard_state.clone();
        }
        if let Some(meta) = &persist.install {
            let snapshot = snapshot.expect("an installed snapshot was received before");
            assert_eq!(snapshot.applied, meta.last);
            self.state = snapshot;
            self.previous = meta.last;
            self.entries.clear();
        }
        if let Some(from) = persist.truncate_from {
            assert!(from > self.previous.index && from > self.commit, "committed entries are never dropped");
            self.entries.retain(|entry| entry.index < from);
        }
        for entry in &persist.entries {
            assert_eq!(entry.index, self.last().index.next(), "the log has no gap");
            assert!(entry.term >= self.last().term);
            self.entries.push(entry.clone());
        }
        assert!(persist.commit <= self.last().index, "the stored commit index is inside the log (K6)");
        assert!(persist.commit >= self.commit, "the stored commit index never falls");
        self.commit = persist.commit;
    }

    pub(crate) fn compact(&mut self, upto: LogId) {
        assert!(upto.index <= self.state.applied.index, "only what is synced may be forgotten (K3)");
        if upto.index <= self.previous.index {
            return;
        }
        assert_eq!(self.term_at(upto.index), Some(upto.term));
        self.entries.retain(|entry| entry.index > upto.index);
        self.previous = upto;
    }

    pub(crate) fn read(&self, from: Index, upto: Index, bytes_max: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = self.entries.iter().filter(|entry| entry.index >= from && entry.index <= upto);
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.bytes();
            is_first || bytes <= bytes_max
        };
        let read: Vec<Entry> = wanted.take_while(fits).cloned().collect();
        if read.first().is_some_and(|entry| entry.index == from) { read } else { Vec::new() }
    }

    /// What a process finds when it starts; `tail_count` bodies come along, the rest is read on demand.
    pub(crate) fn stored(&self, tail_count: usize) -> Stored {
        let mut terms: Vec<TermRun> = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|run| run.term != entry.term) {
                terms.push(TermRun { first: entry.index, term: entry.term });
            }
        }
        let above = self.entries.iter().filter(|entry| entry.index > self.state.applied.index);
        let of = |entry: &Entry| match &entry.payload {
            Payload::Configuration(configuration) => {
                Some(IndexedConfiguration { index: entry.index, configuration: configuration.clone() })
            }
            _ => None,
        };
        Stored {
            cluster_id: self.cluster_id,
            hard_state: self.hard_state.clone(),
            commit: self.commit,
            applied: self.state.applied,
            previous: self.previous,
            last: self.last(),
            terms,
            configurations: self
                .state
                .configuration
                .clone()
                .into_iter()
                .chain(above.filter_map(of))
                .collect(),
            tail: self.entries[self.entries.len().saturating_sub(tail_count)..].to_vec(),
            log_bytes: self.entries.iter().map(Entry::bytes).sum(),
        }
    }
}
