//! What is committed stays: its leader counted right, a quorum's disks hold it (crashed ones count), it never
//! changes, and every later leader has it (Raft paper: leader completeness; K9, K13).

use std::collections::{BTreeMap, BTreeSet};

use quorate_raft::{Configuration, Index, LogId, Persist, ServerId, Term};

use super::Verdict;
use crate::simulation::member::Member;
use crate::simulation::mirror::Mirror;

/// Every entry that any member ever took for committed.
#[derive(Default)]
pub struct Commitment {
    committed: BTreeMap<Index, Term>,
    /// The last one that a leader counted, and under which configurations. The newest of them may be lost with all power
    /// before it is on any disk; a majority of it still meets every majority of the one before.
    counted: (LogId, Vec<Configuration>),
    /// All that leaders counted.
    all_counted: BTreeSet<LogId>,
}

impl Commitment {
    /// A member's commit index covers this entry.
    pub fn committed(&mut self, entry: LogId) -> Verdict {
        match self.committed.insert(entry.index, entry.term) {
            Some(term) if term != entry.term => Err(format!(
                "commitment: index {} was committed in term {} and now in {}",
                entry.index.0, term.0, entry.term.0
            )),
            _ => Ok(()),
        }
    }

    /// A leader counted this entry under one of these.
    pub fn counted(&mut self, entry: LogId, configurations: Vec<Configuration>) {
        self.all_counted.insert(entry);
        if entry >= self.counted.0 {
            self.counted = (entry, configurations);
        }
    }

    /// Under which configurations this entry was counted, if it is the last that was.
    pub fn counted_under(&self, entry: LogId) -> &[Configuration] {
        if self.counted.0 == entry { &self.counted.1 } else { &[] }
    }

    /// A leader counts only entries of its own term: one of an earlier term, though a majority holds it, may still be
    /// replaced (paper, figure 8).
    pub fn is_of_its_term(leader: &ServerId, entry: LogId, term: Term) -> Verdict {
        if entry.term == term {
            return Ok(());
        }
        Err(format!(
            "commit own term: {} leads term {} and committed up to entry {} of term {}",
            leader.raft_id, term.0, entry.index.0, entry.term.0
        ))
    }

    /// A majority of each half of one of the configurations in force must hold `entry`.
    pub fn is_on_a_quorum<'a, 'b>(
        entry: LogId,
        configurations: impl Iterator<Item = &'b Configuration>,
        disk: impl Fn(&ServerId) -> Option<&'a Mirror>,
    ) -> Verdict {
        let mut verdict = Ok(());
        for configuration in configurations {
            verdict = Self::is_on_a_quorum_of(entry, configuration, &disk);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn is_on_a_quorum_of<'a>(
        entry: LogId,
        configuration: &Configuration,
        disk: impl Fn(&ServerId) -> Option<&'a Mirror>,
    ) -> Verdict {
        for half in configuration.majorities() {
            let holders = half.iter().filter(|id| disk(id).is_some_and(|mirror| mirror.holds(entry))).count();
            if holders < half.len() / 2 + 1 {
                return Err(format!(
                    "commitment: entry {} of term {} is on {holders} of {} voters' disks and was committed",
                    entry.index.0,
                    entry.term.0,
                    half.len()
                ));
            }
        }
        Ok(())
    }

    /// A write may cut off nothing that was committed, unless it puts the same back.
    pub fn stays(&self, member: &Member, write: &Persist) -> Verdict {
        let Some(from) = write.truncate_from else { return Ok(()) };
        let log = &member.accepted;
        for (index, term) in self.committed.range(from..=log.last().index.max(from)) {
            let was_there = write.install.is_none() && log.terms.get(index) == Some(term);
            let is_back = write.entries.iter().any(|entry| entry.index == *index && entry.term == *term);
            if was_there && !is_back {
                return Err(format!(
                    "committed stays: {} cuts off entry {} of term {}, which was committed",
                    member.id.raft_id, index.0, term.0
                ));
            }
        }
        Ok(())
    }

    /// A new leader of `term` must hold everything committed in earlier terms.
    pub fn leader_is_complete(&self, leader: &ServerId, term: Term, log: &Mirror) -> Verdict {
        let lost = self
            .committed
            .iter()
            .map(|(index, term)| LogId::new(*term, *index))
            .find(|entry| entry.term < term && !log.holds(*entry));
        lost.map_or(Ok(()), |entry| {
            Err(format!("leader completeness: {} leads term {} without {entry:?}", leader.raft_id, term.0))
        })
    }

    /// A cluster goes on from one log, all of which counts as committed from now on; `at` is its last entry, by which it
    /// was recovered. What was committed and is not in it is lost, and only that: of the survivors it is the one that holds
    /// everything that a leader counted and any of them holds. The last entry that is not lost, and how many are.
    pub fn recovered<'a>(
        &mut self,
        log: &Mirror,
        at: LogId,
        configuration: &Configuration,
        survivors: impl Iterator<Item = &'a Mirror>,
    ) -> Result<(Index, usize), String> {
        for other in survivors {
            let is_held = |entry: &&LogId| entry.index <= other.last().index && other.holds(**entry);
            if let Some(entry) = self.all_counted.iter().filter(is_held).find(|entry| !log.holds(**entry)) {
                return Err(format!(
                    "recovery: entry {entry} was committed, a survivor holds it, and the log up to {at} was chosen"
                ));
            }
        }
        let before = self.committed.len();
        let stays =
            |(index, term): &(&Index, &Term)| **index < at.index && log.holds(LogId::new(**term, **index));
        let kept: BTreeMap<Index, Term> =
            self.committed.iter().take_while(stays).map(|(index, term)| (*index, *term)).collect();
        let last = kept.last_key_value().map_or(Index(0), |(index, _)| *index);
        let lost = before - kept.len();
        self.committed = kept;
        self.committed.extend(log.terms.iter().map(|(index, term)| (*index, *term)));
        self.all_counted.retain(|entry| entry.index <= last && log.holds(*entry));
        self.all_counted.insert(at);
        self.counted = (at, vec![configuration.clone()]);
        Ok((last, lost))
    }

    /// Whether exactly this entry was committed.
    pub fn has(&self, entry: LogId) -> bool {
        self.committed.get(&entry.index) == Some(&entry.term)
    }

    /// The last committed entry.
    pub fn last(&self) -> LogId {
        self.committed.last_key_value().map_or_else(LogId::default, |(index, term)| LogId::new(*term, *index))
    }
}
