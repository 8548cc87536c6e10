//! What must hold after every step, whatever the network and the disks do.
//!
//! The checkers live outside the members and see everything: what each puts out, and every disk.
//! Log matching is checked by induction: an entry's name (term, index) fixes its payload and the
//! name of the entry before it, for all members and for ever.

use std::collections::{BTreeMap, BTreeSet};

use quorate_raft::{
    AppendOutcome, Body, Configuration, Entry, Event, Index, IndexedConfiguration, LogId, Message, Payload,
    ServerId, Status, Suffrage, Term,
};

use crate::disk::Disk;

#[derive(Default)]
pub(crate) struct Invariants {
    leaders: BTreeMap<Term, ServerId>,
    votes: BTreeMap<(ServerId, Term), ServerId>,
    /// Each entry ever handed to a disk: the one before it and what it says.
    entries: BTreeMap<LogId, (LogId, Payload)>,
    /// What some member said is committed; it never changes.
    committed: BTreeMap<Index, LogId>,
    seen: BTreeMap<ServerId, (Term, Index)>,
}

impl Invariants {
    /// A crash forgets what was only in memory: term and commit index fall to the stored ones.
    pub(crate) fn crashed(&mut self, id: &ServerId, disk: &Disk) {
        if let Some(seen) = self.seen.get_mut(id) {
            *seen = (disk.hard_state.term, disk.commit);
        }
    }

    /// Log matching: an entry's name fixes what it says and what stands before it.
    pub(crate) fn wrote(&mut self, before: LogId, entries: &[Entry]) {
        let mut before = before;
        for entry in entries {
            let says = (before, entry.payload.clone());
            let known = self.entries.entry(entry.id()).or_insert_with(|| says.clone());
            assert!(*known == says, "log matching: two entries are named {}", entry.id());
            before = entry.id();
        }
    }

    /// Election safety, and leader completeness by the leader's log as it takes over.
    pub(crate) fn event(&mut self, id: &ServerId, event: &Event, log: impl Fn(Index) -> Option<Term>) {
        let Event::BecameLeader { term } = event else { return };
        let leader = self.leaders.entry(*term).or_insert_with(|| id.clone());
        assert!(leader == id, "election safety: {leader} and {id} both lead term {term}");
        for (index, entry) in &self.committed {
            // No term: compacted, so it was applied there, and checked then.
            let term = log(*index);
            assert!(
                term.is_none_or(|term| term == entry.term),
                "leader completeness: {id} leads term {} without committed {entry}",
                event_term(event)
            );
        }
    }

    /// Persist before answer: what a message promises is on its sender's disk when it leaves (O4).
    pub(crate) fn sent(&mut self, message: &Message, disk: &Disk) {
        let Message { from, to, term, body } = message;
        assert!(disk.hard_state.term >= *term, "{from} shows term {term} before it is on disk");
        match body {
            Body::VoteRequest { .. } => self.voted(from, *term, from, disk),
            Body::VoteResponse { granted: true } => self.voted(from, *term, to, disk),
            Body::AppendResponse { outcome: AppendOutcome::Accepted { matched }, .. } => {
                assert!(disk.last().index >= *matched, "{from} acknowledges {matched} before it is on disk");
            }
            _ => {}
        }
    }

    fn voted(&mut self, voter: &ServerId, term: Term, candidate: &ServerId, disk: &Disk) {
        let vote = self.votes.entry((voter.clone(), term)).or_insert_with(|| candidate.clone());
        assert!(vote == candidate, "{voter} votes for {vote} and {candidate} in term {term}");
        if disk.hard_state.term == term {
            assert_eq!(
                disk.hard_state.vote.as_ref(),
                Some(candidate),
                "a vote is on disk before it is given"
            );
        }
    }

    /// State-machine safety: one entry per index, for ever.
    pub(crate) fn committed(&mut self, who: &ServerId, entry: LogId) {
        let known = self.committed.entry(entry.index).or_insert(entry);
        assert!(*known == entry, "{who} takes {entry} for committed where {known} is");
    }

    /// Pointers are in order; term and commit index never fall.
    pub(crate) fn status(&mut self, status: &Status) {
        assert!(status.applied <= status.commit, "applied is committed");
        assert!(status.commit <= status.last.index, "commit is in the log");
        assert!(status.persisted <= status.last.index);
        assert!(status.first.0 <= status.durable_applied.0 + 1, "nothing unsynced is forgotten (K3)");
        let seen = self.seen.entry(status.id.clone()).or_default();
        assert!(status.term >= seen.0, "{}: the term falls", status.id);
        assert!(status.commit >= seen.1, "{}: the commit index falls", status.id);
        *seen = (status.term, status.commit);
    }

    /// Committed means on the disks of a majority of the voters then in effect, crashed ones too.
    /// A step may change the configuration: `before` and the present one are both "then".
    pub(crate) fn on_quorum(&self, before: &Status, status: &Status, disks: &BTreeMap<ServerId, &Disk>) {
        let Some(entry) = self.committed.get(&status.commit) else { return };
        if before.commit == status.commit {
            return;
        }
        let holds = |id: &ServerId| {
            disks.get(id).is_some_and(|disk| {
                disk.previous.index > entry.index || disk.term_at(entry.index) == Some(entry.term)
            })
        };
        let decides = |known: &IndexedConfiguration| is_quorum(&known.configuration, holds);
        let mut then = before.latest.iter().chain(&status.latest);
        assert!(then.any(decides), "{} commits {entry} without a quorum of disks", status.id);
    }

    /// Whoever leads has the votes of a majority of each half of its configuration (K9, K14).
    pub(crate) fn elected(&self, status: &Status, term: Term, own_vote: Option<&ServerId>) {
        let Some(latest) = status.latest.as_ref().filter(|_| status.term == term) else { return };
        let voted = |id: &ServerId| {
            let vote = self.votes.get(&(id.clone(), term));
            let vote = if *id == status.id { vote.or(own_vote) } else { vote };
            vote == Some(&status.id)
        };
        assert!(is_quorum(&latest.configuration, voted), "{} leads term {term} without a quorum", status.id);
    }

    /// A leader puts a configuration into effect only when the one before is committed, and whoever
    /// decides under the one shares a server with whoever decides under the other (S7, K14).
    pub(crate) fn reconfigured(before: &IndexedConfiguration, status: &Status) {
        let Some(latest) = &status.latest else { return };
        assert!(before.index <= status.commit, "{}: two configurations are not committed", status.id);
        let (old, new) = (&before.configuration, &latest.configuration);
        assert!(!(old.is_joint() && new.is_joint()), "a joint configuration is left, not joined");
        let servers = old.servers().iter().chain(new.servers()).map(|server| &server.id);
        let all: Vec<&ServerId> = servers.collect::<BTreeSet<_>>().into_iter().collect();
        for bits in 0..1_u32 << all.len() {
            let is_in = |id: &ServerId| {
                all.iter().position(|each| *each == id).is_some_and(|at| bits & (1 << at) != 0)
            };
            let both = is_quorum(old, is_in) && is_quorum(new, |id| !is_in(id));
            assert!(!both, "{}: two groups without a common server can decide", status.id);
        }
    }
}

/// Counted by hand: a majority of the old half and one of the new; they are the same if not joint.
fn is_quorum(configuration: &Configuration, says: impl Fn(&ServerId) -> bool) -> bool {
    [Suffrage::Outgoing, Suffrage::Incoming].into_iter().all(|own| {
        let counts = |suffrage| suffrage == Suffrage::Voter || suffrage == own;
        let half = configuration.servers().iter().filter(|server| counts(server.suffrage));
        let (said, all) =
            half.fold((0, 0), |(said, all), server| (said + usize::from(says(&server.id)), all + 1));
        2 * said > all
    })
}

fn event_term(event: &Event) -> Term {
    match event {
        Event::BecameLeader { term } => *term,
        _ => Term(0),
    }
}
