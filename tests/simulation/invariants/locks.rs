//! Sessions and locks (K21), as whoever reads the log from outside knows them: who lives, who holds which key, which
//! keys nobody may have yet, and the greatest `LockIndex` that each key ever had.
//!
//! The log is read in order, each entry once, with what a machine made of it first; that all machines made the same of it
//! is looked at elsewhere. What a machine says must follow from that:
//! ```text
//! acquired      by a session that lives, of a key that no other holds and that no delay keeps free; its `LockIndex` grows
//! not acquired  only because of one of these
//! written, not held    by a release: what the session held, or did not
//! existed       by an end of a session or a delay: what was there
//! ```
//! What a session held when it ended is free, or deleted, as the session said; the keys of a member must be so in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{Behavior, Command, KvEntry, Obstacle, Outcome, SessionId, SessionSpec, Tagged};
use quorate_raft::{Entry, Index, Payload};

use super::Verdict;

/// What was applied, and what follows from it.
#[derive(Default)]
pub struct Locks {
    known: Known,
    /// What touched sessions or locks, for when the end of it is lost (K18).
    applied: BTreeMap<Index, (Command, Outcome)>,
    last: Index,
}

/// What follows from what was applied.
#[derive(Default)]
struct Known {
    sessions: BTreeMap<SessionId, SessionSpec>,
    held: BTreeMap<Bytes, SessionId>,
    /// Of keys that are there.
    lock_indexes: BTreeMap<Bytes, u64>,
    delayed: BTreeMap<Bytes, SessionId>,
    delays: BTreeSet<SessionId>,
}

impl Locks {
    /// A machine applied an entry.
    pub fn applied(&mut self, entry: &Entry, outcome: Option<&Outcome>) -> Verdict {
        let Payload::Command(command) = &entry.payload else { return Ok(()) };
        if entry.index <= self.last {
            return Ok(());
        }
        self.last = entry.index;
        let (Ok(Tagged { command, .. }), Some(outcome)) = (Tagged::decode(command), outcome) else {
            return Ok(());
        };
        let broken = |what: String| format!("locks: the entry {} {what}: {command:?}", entry.index.0);
        self.known.apply(&command, outcome).map_err(broken)?;
        if !matches!(command, Command::Put { .. } | Command::CompareAndSet { .. } | Command::Delete { .. }) {
            self.applied.insert(entry.index, (command, outcome.clone()));
        }
        Ok(())
    }

    /// What was applied after the entry `upto` is lost.
    pub fn lose_after(&mut self, upto: Index) -> Verdict {
        self.applied.split_off(&upto.next());
        self.last = self.last.min(upto);
        self.known = Known::default();
        for (command, outcome) in self.applied.values() {
            self.known.apply(command, outcome)?;
        }
        Ok(())
    }

    /// What a member that has applied everything holds under a key that only locks write.
    pub fn are_of(&self, key: &Bytes, found: Option<&KvEntry>) -> Verdict {
        let due = (self.known.lock_indexes.get(key).copied(), self.known.held.get(key).copied());
        let found = (found.map(|found| found.lock_index), found.and_then(|found| found.session));
        if due == found {
            return Ok(());
        }
        Err(format!(
            "locks: {key:?} is {found:?} in the end and should be {due:?} (its LockIndex, its holder)"
        ))
    }

    /// The keys that were ever acquired.
    pub fn keys(&self) -> BTreeSet<Bytes> {
        let key = |(command, _): &(Command, Outcome)| match command {
            Command::Acquire { key, .. } => Some(key.clone()),
            _ => None,
        };
        self.applied.values().filter_map(key).collect()
    }
}

impl Known {
    fn apply(&mut self, command: &Command, outcome: &Outcome) -> Verdict {
        match (command, outcome) {
            (Command::CreateSession(spec), Outcome::SessionCreated { session }) => {
                if *session != spec.id {
                    return Err(format!("created {session}"));
                }
                if !self.delays.contains(session) {
                    self.sessions.entry(*session).or_insert_with(|| SessionSpec::clone(spec));
                }
            }
            (Command::Acquire { key, session, .. }, outcome) => self.acquires(key, *session, outcome)?,
            (Command::Release { key, session, .. }, outcome) => {
                let is_held = self.held.get(key) == Some(session);
                if is_held == (*outcome == Outcome::NotHeld) {
                    return Err(format!("came to {outcome:?}, and held by it is {is_held}"));
                }
                if is_held {
                    self.held.remove(key);
                }
            }
            (Command::DestroySession { session }, Outcome::Deleted { existed }) => {
                let ended = self.sessions.remove(session);
                if ended.is_some() != *existed {
                    return Err(format!("says that the session existed: {existed}"));
                }
                if let Some(ended) = ended {
                    self.end(&ended);
                }
            }
            (Command::EndLockDelay { session }, Outcome::Deleted { existed }) => {
                if self.delays.remove(session) != *existed {
                    return Err(format!("says that the delay existed: {existed}"));
                }
                self.delayed.retain(|_, of| of != session);
            }
            (Command::Restore(_), _) => {
                // A delay for every key is owed to whoever held one (K17); archives here have no key of these.
                let is_owed = !self.sessions.is_empty() || !self.delays.is_empty();
                *self = Self::default();
                self.delays.extend(is_owed.then_some(SessionId::NONE));
            }
            _ => {}
        }
        Ok(())
    }

    fn acquires(&mut self, key: &Bytes, session: SessionId, outcome: &Outcome) -> Verdict {
        let holder = self.held.get(key).copied();
        let other = holder.filter(|holder| *holder != session);
        let is_delayed = self.delayed.contains_key(key) || self.delays.contains(&SessionId::NONE);
        let lives = self.sessions.contains_key(&session);
        let is_due = match outcome {
            Outcome::Acquired { lock_index, .. } => {
                let before = self.lock_indexes.insert(key.clone(), *lock_index).unwrap_or(0);
                self.held.insert(key.clone(), session);
                let is_fenced =
                    if holder.is_some() { *lock_index == before } else { *lock_index == before + 1 };
                lives && other.is_none() && (holder.is_some() || !is_delayed) && is_fenced
            }
            Outcome::NotAcquired(Obstacle::Held { holder }) => lives && other == Some(*holder),
            Outcome::NotAcquired(Obstacle::LockDelay) => lives && holder.is_none() && is_delayed,
            Outcome::Refused(_) => !lives,
            _ => false,
        };
        if is_due {
            return Ok(());
        }
        Err(format!(
            "came to {outcome:?}, with the holder {holder:?}, delayed {is_delayed}, the session lives {lives}"
        ))
    }

    /// A session's keys are free or gone, and for a while nobody's.
    fn end(&mut self, session: &SessionSpec) {
        let keys: Vec<Bytes> =
            self.held.extract_if(.., |_, of| *of == session.id).map(|(key, _)| key).collect();
        for key in keys {
            if session.behavior == Behavior::Delete {
                self.lock_indexes.remove(&key);
            }
            if session.lock_delay > Duration::ZERO {
                self.delayed.insert(key, session.id);
                self.delays.insert(session.id);
            }
        }
    }
}
