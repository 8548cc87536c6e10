//! No session ends before the moment until which its client was told that it lives (K21).
//!
//! ```text
//!   client   sent ├────────── TTL on its own clock ──────────┤
//!                       ├─ acknowledged: told
//!   log                                     no end of the session in here, whoever leads
//! ```
//! Looked at from both sides: when a machine is the first to apply an end, and when a client is told of more time. A
//! restore ends all sessions (K17), and a recovery may lose them (K18): then nobody is held to what was told before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_machine::{Command, Outcome, SessionId, Tagged};
use quorate_raft::{Entry, Index, Payload};

use super::Verdict;

/// What clients were told, and what became of it. Moments are the world's.
#[derive(Default)]
pub struct Sessions {
    living: BTreeSet<SessionId>,
    told: BTreeMap<SessionId, Duration>,
    ended: BTreeMap<SessionId, Duration>,
    /// Nobody is held to what was told of these.
    released: BTreeSet<SessionId>,
    last: Index,
}

impl Sessions {
    /// A machine applied an entry; only the first that does counts.
    pub fn applied(&mut self, entry: &Entry, outcome: Option<&Outcome>, now: Duration) -> Verdict {
        let Payload::Command(command) = &entry.payload else { return Ok(()) };
        if entry.index <= self.last {
            return Ok(());
        }
        self.last = entry.index;
        let (Ok(Tagged { command, .. }), Some(outcome)) = (Tagged::decode(command), outcome) else {
            return Ok(());
        };
        match (command, outcome) {
            (Command::CreateSession(spec), Outcome::SessionCreated { .. }) => {
                self.living.insert(spec.id);
            }
            (Command::DestroySession { session }, Outcome::Deleted { existed: true }) => {
                self.living.remove(&session);
                self.ended.insert(session, now);
                return self.holds(session);
            }
            (Command::Restore(_), _) => self.released.append(&mut self.living),
            _ => {}
        }
        Ok(())
    }

    /// A client was told that its session lives until a moment.
    pub fn told(&mut self, session: SessionId, until: Duration) -> Verdict {
        let told = self.told.entry(session).or_default();
        *told = until.max(*told);
        self.holds(session)
    }

    /// A client was told that its session is over.
    pub fn told_over(&self, session: SessionId, now: Duration) -> Verdict {
        match self.told.get(&session) {
            Some(until) if *until > now && !self.released.contains(&session) => Err(format!(
                "sessions: a client is told at {now:?} that {session} is over, and was told that it lives until {until:?}"
            )),
            _ => Ok(()),
        }
    }

    /// A client asked for the end of its session itself.
    pub fn given_up(&mut self, session: SessionId) {
        self.released.insert(session);
    }

    /// The cluster was recovered; what was applied after the entry `upto` is lost.
    pub fn lose_after(&mut self, upto: Index) {
        self.last = self.last.min(upto);
        self.released.append(&mut self.living);
        self.released.extend(self.told.keys());
    }

    fn holds(&self, session: SessionId) -> Verdict {
        let (Some(until), Some(ended)) = (self.told.get(&session), self.ended.get(&session)) else {
            return Ok(());
        };
        if ended >= until || self.released.contains(&session) {
            return Ok(());
        }
        Err(format!(
            "sessions: {session} ended at {ended:?}, and its client was told that it lives until {until:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use quorate_machine::{Behavior, SessionChecks, SessionSpec, Ttl};
    use quorate_raft::Term;

    use super::*;

    const ID: SessionId = SessionId(7);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn applied(sessions: &mut Sessions, index: u64, command: Command, seconds: u64) -> Verdict {
        let outcome = match &command {
            Command::CreateSession(spec) => Outcome::SessionCreated { session: spec.id },
            _ => Outcome::Deleted { existed: true },
        };
        let payload = Payload::Command(Tagged { tag: None, command }.encode());
        let entry = Entry { term: Term(1), index: Index(index), payload };
        sessions.applied(&entry, Some(&outcome), at(seconds))
    }

    fn created() -> Sessions {
        let mut sessions = Sessions::default();
        let spec = SessionSpec {
            id: ID,
            name: String::new(),
            node: String::new(),
            behavior: Behavior::Release,
            ttl: Ttl::default(),
            lock_delay: Duration::ZERO,
            checks: SessionChecks::default(),
        };
        assert_eq!(applied(&mut sessions, 1, Command::CreateSession(Box::new(spec)), 1), Ok(()));
        sessions
    }

    /// K21: the check sees an end that comes too early from whichever side it is learned last.
    #[test]
    fn an_end_before_the_time_that_was_told_is_seen() {
        let end = || Command::DestroySession { session: ID };
        let mut sessions = created();
        assert_eq!(sessions.told(ID, at(10)), Ok(()));
        assert!(sessions.told_over(ID, at(9)).is_err());
        assert_eq!(sessions.told_over(ID, at(10)), Ok(()));
        assert!(applied(&mut sessions, 2, end(), 9).is_err());
        let mut sessions = created();
        assert_eq!(applied(&mut sessions, 2, end(), 9), Ok(()), "nothing was told");
        assert!(sessions.told(ID, at(10)).is_err(), "it was on its way");
        let mut sessions = created();
        assert_eq!(sessions.told(ID, at(10)), Ok(()));
        assert_eq!(applied(&mut sessions, 2, end(), 10), Ok(()));
        let mut sessions = created();
        assert_eq!(sessions.told(ID, at(10)), Ok(()));
        sessions.given_up(ID);
        assert_eq!(applied(&mut sessions, 2, end(), 5), Ok(()), "its client asked for it");
    }
}
