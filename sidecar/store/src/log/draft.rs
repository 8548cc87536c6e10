//! What one transaction will change: many `Persist`s folded into one (group commit).
//!
//! Pure: the draft begins as a copy of the log's head and ends as the head after the commit, so a
//! transaction that fails leaves the log's own head untouched.
//!
//! ```text
//!   Persist 7: append 5 6 7        cut: none    entries: 5 6 7
//!   Persist 8: truncate 6, append 6'            entries: 5 6'
//!   Persist 9: truncate 3, append 3'  cut: 3    entries: 3'
//! ```
//!
//! Invariant: `entries` are contiguous and end at `head.last`; `cut` is at or below the first of them.

use quorate_raft::{ClusterId, Configuration, Entry, Index, LogId, Payload, Persist, SnapshotMeta};

use super::terms::Terms;
use crate::codec::meta::Head;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) head: Head,
    pub(super) terms: Terms,
    pub(super) cluster_id: Option<ClusterId>,
    /// Stored entries from here on are removed.
    pub(super) cut: Option<Index>,
    /// Entries to append after the cut.
    pub(super) entries: Vec<Entry>,
    /// The snapshot whose state file becomes ours (K5).
    pub(super) install: Option<LogId>,
}

impl Draft {
    pub(super) fn new(head: Head, terms: Terms, cluster_id: Option<ClusterId>) -> Self {
        Self { head, terms, cluster_id, cut: None, entries: Vec::new(), install: None }
    }

    /// Folds one more `Persist` in; the error says what it contradicts.
    pub(super) fn fold(&mut self, persist: &Persist) -> Result<(), String> {
        self.set_cluster_id(persist.cluster_id)?;
        if let Some(hard_state) = &persist.hard_state {
            if hard_state.term < self.head.hard_state.term {
                return Err(format!(
                    "the term would fall from {} to {}",
                    self.head.hard_state.term, hard_state.term
                ));
            }
            self.head.hard_state = hard_state.clone();
        }
        if let Some(meta) = &persist.install {
            self.install(meta);
        }
        if let Some(from) = persist.truncate_from {
            self.truncate(from)?;
        }
        for entry in &persist.entries {
            self.append(entry)?;
        }
        // K6. A commit index that was known before an install or restart is never stored lower.
        self.head.commit = self.head.commit.max(persist.commit).min(self.head.last.index);
        Ok(())
    }

    /// New configurations, for the table that finds them without reading the log.
    pub(super) fn configurations(&self) -> impl Iterator<Item = (Index, &Configuration)> {
        self.entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some((entry.index, configuration)),
            Payload::Noop | Payload::Command(_) | Payload::Barrier => None,
        })
    }

    fn set_cluster_id(&mut self, cluster_id: Option<ClusterId>) -> Result<(), String> {
        match (self.cluster_id, cluster_id) {
            (Some(ours), Some(other)) if ours != other => {
                Err(format!("the directory belongs to cluster {ours}, not {other}"))
            }
            (ours, other) => {
                self.cluster_id = ours.or(other);
                Ok(())
            }
        }
    }

    /// K5: a log that holds the snapshot's last entry keeps its tail; any other is dropped whole.
    fn install(&mut self, meta: &SnapshotMeta) {
        self.install = Some(meta.last);
        let last = meta.last;
        let holds = self.head.first() <= last.index
            && last.index <= self.head.last.index
            && self.terms.at(last.index) == Some(last.term);
        if !holds {
            self.entries.clear();
            self.cut = Some(Index(0));
            self.terms.clear();
            self.head.previous = last;
            self.head.last = last;
        }
        self.head.commit = self.head.commit.max(last.index);
    }

    fn truncate(&mut self, from: Index) -> Result<(), String> {
        if from <= self.head.previous.index || from > self.head.last.index.next() {
            return Err(format!(
                "the log holds {} to {}, it cannot be cut at {from}",
                self.head.first(),
                self.head.last.index
            ));
        }
        if from <= self.head.commit {
            return Err(format!(
                "entries up to {} are committed, the log cannot be cut at {from}",
                self.head.commit
            ));
        }
        if from > self.head.last.index {
            return Ok(());
        }
        let stored_until = self.entries.first().map_or(from, |entry| entry.index);
        if from < stored_until || self.entries.is_empty() {
            self.cut = Some(self.cut.map_or(from, |cut| cut.min(from)));
        }
        self.entries.retain(|entry| entry.index < from);
        self.terms.truncate(from);
        let last = from.previous();
        self.head.last = match self.terms.at(last) {
            Some(term) if last > self.head.previous.index => LogId::new(term, last),
            _ => self.head.previous,
        };
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), String> {
        if entry.index != self.head.last.index.next() || entry.term < self.head.last.term {
            return Err(format!("entry {} cannot follow {}", entry.id(), self.head.last));
        }
        self.terms.append(entry.index, entry.term);
        self.head.last = entry.id();
        self.entries.push(entry.clone());
        Ok(())
    }
}
