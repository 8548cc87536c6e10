//! Who uses sessions and locks (K21): some that create sessions, acquire and release keys, and end sessions.
//!
//! They send to a leader what they like and wait for no answer: what each came to is read from the log
//! (`invariants/locks.rs`). The end of a session or of a lock delay is proposed here by chance, where the leader's clock
//! would: that clock is the sidecar's, and is not simulated. So is a renewal, which leaves no trace in the log.

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{Behavior, Command, SessionChecks, SessionId, SessionSpec, Tagged, Ttl};
use quorate_raft::Input;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::invariants::Verdict;
use super::requests::Waiting;
use super::world::{Happened, World, check, of_disk};

/// How many of the runs have them.
const RUNS: f64 = 0.4;
/// Between two of their commands, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 10..=300;
/// Keys they contend for.
const KEYS: u32 = 2;
/// Sessions that they remember, ended ones too.
const SESSIONS_MAX: usize = 4;
/// Keeps what they do apart from what the run draws otherwise.
const SALT: u64 = 0x10c5;

/// They, and what they remember.
pub struct Lockers {
    rng: SmallRng,
    is_there: bool,
    sessions: Vec<SessionId>,
}

impl Lockers {
    /// Those of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ SALT);
        let is_there = rng.random_bool(RUNS);
        Self { rng, is_there, sessions: Vec::new() }
    }

    /// How long they rest; none if there are none.
    pub fn pause(&mut self) -> Option<Duration> {
        self.is_there.then(|| Duration::from_millis(self.rng.random_range(PAUSE_MS)))
    }

    fn new_session(&mut self) -> Command {
        let id = SessionId::from_random(self.rng.random());
        if self.sessions.len() == SESSIONS_MAX {
            self.sessions.remove(0);
        }
        self.sessions.push(id);
        let behavior = if self.rng.random_bool(0.5) { Behavior::Release } else { Behavior::Delete };
        let lock_delay = Duration::from_secs(self.rng.random_range(0..=1));
        let (ttl, checks) = (Ttl::default(), SessionChecks::default());
        let (name, node) = (String::new(), String::new());
        Command::CreateSession(Box::new(SessionSpec { id, name, node, behavior, ttl, lock_delay, checks }))
    }

    fn next_command(&mut self) -> Command {
        let Some(session) = self.sessions.choose(&mut self.rng).copied() else { return self.new_session() };
        let key = Bytes::from(format!("lock/{}", self.rng.random_range(0..KEYS)));
        let (value, flags) = (Bytes::from_static(b"held"), 0);
        match self.rng.random_range(0..20) {
            0..3 => self.new_session(),
            3..11 => Command::Acquire { key, value, flags, session },
            11..14 => Command::Release { key, value, flags, session },
            14..16 => Command::DestroySession { session },
            16..19 => Command::EndLockDelay { session },
            _ => Command::EndLockDelay { session: SessionId::NONE },
        }
    }
}

impl World {
    /// One of them sends the next command to a leader, perhaps to one that was deposed.
    pub(super) fn lock_turn(&mut self) -> Happened {
        let Some(pause) = self.lockers.pause().filter(|_| self.phase != Phase::Calm) else { return Ok(()) };
        self.schedule.after(pause, Event::LockTurn);
        let leaders = self.fleet.leaders();
        let Some((number, _)) = leaders.choose(&mut self.lockers.rng) else { return Ok(()) };
        let (number, command) = (*number, self.lockers.next_command());
        self.coverage.hit(Happening::LockAsked);
        self.say(|_| format!("m{number} is to do {command:?}"));
        let ticket = self.administrator.ticket();
        self.wait(number, ticket, Waiting::Locker);
        self.step(number, Input::Propose { ticket, command: Tagged { tag: None, command }.encode() })
    }

    /// The keys that locks alone write are as the log says, on a member that has applied all of it.
    pub(super) fn compare_locks(&mut self, number: usize) -> Happened {
        for key in self.watch.lock_keys() {
            let Some(process) = &self.fleet[number].process else { return Ok(()) };
            let read = process.read(&key);
            let entry = of_disk(number, read)?.entry;
            let verdict: Verdict = self.watch.locks_are_of(&key, entry.as_ref());
            check(verdict)?;
        }
        Ok(())
    }
}
