//! Who uses sessions and locks (K21): each keeps a session alive while it likes, contends for keys, and reads who holds them.
//!
//! ```text
//!   create ─▶ renew, acquire, release, read … ─▶ its time is over by its own clock, or it asked for the end ─▶ create
//! ```
//! A client counts a session's time from when it *sent* what was acknowledged, on a clock that runs fast or slow. Up to
//! then the session must live (`invariants/sessions.rs`). What it asks of the keys and hears is in the history of all
//! clients, where a key's value is the session that holds it; the end of a session is in there as a call that may take
//! effect from the moment on at which its client knows no better. So the history also shows a lock that was given to two.
//! What each command came to is read from the log besides (`invariants/locks.rs`).
//! After a recovery the history says nothing of locks any more: who held them in the lost log, nobody can know.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quorate_linearizability::{Answer, CallId, Key, Operation, Value};
use quorate_machine::{
    Behavior, Command, Obstacle, Outcome, SessionChecks, SessionId, SessionSpec, Tagged, Ttl,
};
use quorate_raft::ServerId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::coverage::Happening;
use super::event::Event;
use super::faults::Phase;
use super::invariants::Verdict;
use super::keeper::Renewing;
use super::requests::{Ask, Attempt, Reply, Request};
use super::world::{Happened, World, check, of_disk};

/// How many of the runs have them.
const RUNS: f64 = 0.4;
/// How many there are.
const LOCKERS: std::ops::RangeInclusive<usize> = 2..=3;
/// Between two calls of one, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=150;
/// Keys they contend for.
const KEYS: usize = 2;
/// The number of the first of these keys in the history, above those of other clients.
pub const FIRST_KEY: Key = 100;
/// How long sessions live, in milliseconds. Short beside elections, so that what an earlier leader said matters.
const TTL_MS: std::ops::RangeInclusive<u64> = 60..=1_500;
/// Their clocks run this much too fast or too slow at most.
const SKEW: f64 = 0.3;
/// A call is given up after this.
const PATIENCE: Duration = Duration::from_millis(700);
/// The way to a member takes up to this long, in milliseconds.
const DELAY_MS_MAX: u64 = 10;
/// How likely a request is lost, while things break.
const LOSS: f64 = 0.01;
/// Keeps what they do apart from what the run draws otherwise.
const SALT: u64 = 0x10c5;

/// They, and what they know of sessions.
pub struct Lockers {
    /// What they draw from.
    pub(super) rng: SmallRng,
    each: Vec<Locker>,
    /// What a session is called in the history.
    values: BTreeMap<SessionId, Value>,
    /// Whether the history is kept.
    is_recorded: bool,
}

/// One of them: one call at a time.
struct Locker {
    /// How fast its clock runs.
    rate: f64,
    /// Whom it last heard of as leader.
    hint: Option<ServerId>,
    session: Option<Own>,
    /// How many calls it made; replies to earlier ones mean nothing.
    calls: u64,
    call: Option<Call>,
}

/// The session of one.
#[derive(Clone)]
struct Own {
    id: SessionId,
    ttl: Duration,
    /// It lives at least until then, by the world's time.
    until: Duration,
    /// Its end in the history of each key, once it may be over.
    ends: Vec<CallId>,
}

/// A call under way.
struct Call {
    about: About,
    /// By the world's time.
    sent: Duration,
    /// Its place in the history.
    recorded: Option<CallId>,
}

/// What is asked.
#[derive(Clone, Debug)]
enum About {
    Create {
        session: SessionId,
        ttl: Duration,
    },
    Renew,
    Acquire,
    Release,
    Read,
    /// The session is given up with the call; its end in the history of each key.
    Destroy(Vec<CallId>),
}

impl Lockers {
    /// Those of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ SALT);
        let count = if rng.random_bool(RUNS) { rng.random_range(LOCKERS) } else { 0 };
        let one = |_| Locker {
            rate: rng.random_range(1.0 - SKEW..1.0 + SKEW),
            hint: None,
            session: None,
            calls: 0,
            call: None,
        };
        let each = (0..count).map(one).collect();
        Self { rng, each, values: BTreeMap::new(), is_recorded: true }
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        !self.each.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// The keys they contend for, in the history; none when that is not kept any more.
    pub fn recorded_keys(&self) -> impl Iterator<Item = Key> + use<> {
        let count = if self.is_recorded && self.are_there() { KEYS } else { 0 };
        FIRST_KEY..FIRST_KEY + count
    }

    /// The cluster was recovered: their sessions may be lost, and who holds what is not known.
    pub fn forget(&mut self) {
        self.is_recorded = false;
        self.each.iter_mut().for_each(|one| one.session = None);
    }

    fn new_session(&mut self) -> (About, Command) {
        let id = SessionId::from_random(self.rng.random());
        let behavior = if self.rng.random_bool(0.5) { Behavior::Release } else { Behavior::Delete };
        let lock_delay = Duration::from_millis(self.rng.random_range(0..3) * 200);
        let duration = Duration::from_millis(self.rng.random_range(TTL_MS));
        let (ttl, checks) = (Ttl { duration, text: String::new() }, SessionChecks::default());
        let (name, node) = (String::new(), String::new());
        let spec = SessionSpec { id, name, node, behavior, ttl, lock_delay, checks };
        (About::Create { session: id, ttl: duration }, Command::CreateSession(Box::new(spec)))
    }
}

/// A key as the machine has it.
fn key_bytes(key: Key) -> Bytes {
    Bytes::from(format!("lock/{}", key - FIRST_KEY))
}

fn propose(command: Command) -> Ask {
    Ask::Propose(Tagged { tag: None, command }.encode())
}

impl World {
    /// They begin.
    pub(super) fn begin_lockers(&mut self, after: Duration) {
        for number in 0..self.lockers.count() {
            self.schedule.after(after, Event::LockTurn(number, 0));
        }
    }

    /// One of them makes its next call, unless it made one since.
    pub(super) fn lock_turn(&mut self, number: usize, calls: u64) {
        let is_due = self.lockers.each[number].calls == calls && self.phase != Phase::Calm;
        if !is_due {
            return;
        }
        let now = self.schedule.now();
        self.lapse(number);
        let session = self.lockers.each[number].session.clone();
        // One that is over by its client's clock may still be there.
        let goes_on = self.lockers.rng.random_bool(0.5);
        match session.filter(|session| session.until > now || goes_on) {
            None => {
                self.lockers.each[number].session = None;
                let (about, command) = self.lockers.new_session();
                self.call(number, about, propose(command), None);
            }
            Some(session) => self.use_session(number, &session),
        }
    }

    fn use_session(&mut self, number: usize, session: &Own) {
        let id = session.id;
        let key = FIRST_KEY + self.lockers.rng.random_range(0..KEYS);
        let (bytes, value, flags) = (key_bytes(key), Bytes::from_static(b"held"), 0);
        let known = self.lockers.values.get(&id).copied();
        let operation = |of: fn(Value) -> Operation| known.map(|known| (key, of(known)));
        match self.lockers.rng.random_range(0..20) {
            0..8 => self.call(number, About::Renew, Ask::Renew(id), None),
            8..12 => {
                let command = Command::Acquire { key: bytes, value, flags, session: id };
                self.call(number, About::Acquire, propose(command), operation(Operation::Acquire));
            }
            12..14 => {
                let command = Command::Release { key: bytes, value, flags, session: id };
                self.call(number, About::Release, propose(command), operation(Operation::Release));
            }
            14..18 => self.call(number, About::Read, Ask::Read(bytes), Some((key, Operation::Read))),
            18 => {
                self.watch.gives_session_up(id);
                let ends = self.may_be_over(id);
                self.lockers.each[number].session = None;
                self.call(
                    number,
                    About::Destroy(ends),
                    propose(Command::DestroySession { session: id }),
                    None,
                );
            }
            // It rests longer than its session lives without it.
            _ => {
                let ttls = self.lockers.rng.random_range(0.0..3.0);
                self.rest(number, session.ttl.mul_f64(ttls));
            }
        }
    }

    /// From now on the session may end at any moment: a call in the history of each key.
    fn may_be_over(&mut self, session: SessionId) -> Vec<CallId> {
        let Some(value) = self.lockers.values.get(&session).copied() else { return Vec::new() };
        let keys = self.lockers.recorded_keys();
        keys.map(|key| self.clients.history.begins(key, Operation::End(value))).collect()
    }

    fn call(&mut self, number: usize, about: About, ask: Ask, operation: Option<(Key, Operation)>) {
        self.coverage.hit(Happening::LockAsked);
        let (now, members, epoch) = (self.schedule.now(), self.fleet.count(), self.fleet.epoch);
        self.say(|_| format!("locker {number} calls: {about:?} {operation:?}"));
        let operation = operation.filter(|_| self.lockers.is_recorded);
        let recorded = operation.map(|(key, operation)| self.clients.history.begins(key, operation));
        let breaks = self.phase == Phase::Breaking;
        let Lockers { rng, each, .. } = &mut self.lockers;
        let one = &mut each[number];
        one.calls += 1;
        one.call = Some(Call { about, sent: now, recorded });
        // They are numbered after the other clients.
        let client = self.clients.each.len() + number;
        let attempt = Attempt { client, call: one.calls, attempt: 1, epoch };
        let hinted = one.hint.as_ref().and_then(|hint| self.fleet.place_of(hint));
        let random = rng.random_range(0..members);
        let to = hinted.filter(|_| !matches!(ask, Ask::Read(_))).unwrap_or(random);
        let is_lost = rng.random_bool(LOSS) && breaks;
        let delay = Duration::from_millis(rng.random_range(0..=DELAY_MS_MAX));
        if !is_lost {
            self.schedule.after(delay, Event::Request(to, Request { attempt, ask }));
        }
        self.schedule.after(PATIENCE, Event::Timeout(attempt));
    }

    /// When a renewal that is asked for now is given up.
    pub(super) fn renewing(&self, attempt: Attempt, session: SessionId) -> Renewing {
        Renewing { attempt, session, deadline: self.schedule.now() + PATIENCE }
    }

    /// One of them hears an answer, or has waited long enough for it.
    pub(super) fn locker_hears(&mut self, attempt: Attempt, reply: Reply) -> Happened {
        let number = attempt.client - self.clients.each.len();
        let one = &mut self.lockers.each[number];
        let Some(call) = one.call.take_if(|_| one.calls == attempt.call) else { return Ok(()) };
        // What a cluster said that is gone says nothing of the recovered one.
        let reply = if attempt.epoch == self.fleet.epoch { reply } else { Reply::Unknown };
        match reply {
            Reply::Refused(hint) => {
                one.hint = hint;
                self.had_no_effect(&call);
            }
            Reply::Unknown => one.hint = None,
            Reply::Renewed(true) => self.lives(number, call.sent)?,
            Reply::Renewed(false) => self.is_over(number)?,
            Reply::Outcome(outcome) => self.locker_done(number, &call, &outcome)?,
            Reply::Read(read) => {
                let holder = read.entry.and_then(|entry| entry.session);
                let holds = holder.map(|holder| self.value_of(holder)).transpose()?;
                self.answer(&call, Answer::Holds(holds));
            }
        }
        let pause = Duration::from_millis(self.lockers.rng.random_range(PAUSE_MS));
        self.rest(number, pause);
        Ok(())
    }

    fn rest(&mut self, number: usize, pause: Duration) {
        let calls = self.lockers.each[number].calls;
        self.schedule.after(pause, Event::LockTurn(number, calls));
    }

    /// What became of a command.
    fn locker_done(&mut self, number: usize, call: &Call, outcome: &Outcome) -> Happened {
        match (&call.about, outcome) {
            (About::Create { session, ttl }, Outcome::SessionCreated { .. }) => {
                let value = self.clients.new_value();
                self.lockers.values.insert(*session, value);
                let own = Own { id: *session, ttl: *ttl, until: Duration::ZERO, ends: Vec::new() };
                self.lockers.each[number].session = Some(own);
                self.lives(number, call.sent)?;
            }
            (About::Acquire, Outcome::Acquired { .. }) | (About::Release, Outcome::Written { .. }) => {
                self.answer(call, Answer::Written);
            }
            (About::Acquire, Outcome::NotAcquired(Obstacle::Held { holder })) => {
                let holds = Some(self.value_of(*holder)?);
                self.answer(call, Answer::Holds(holds));
            }
            (About::Acquire, Outcome::NotAcquired(Obstacle::LockDelay)) => self.had_no_effect(call),
            (About::Acquire, Outcome::Refused(_)) => {
                self.had_no_effect(call);
                self.is_over(number)?;
            }
            (About::Release, Outcome::NotHeld) => self.answer(call, Answer::Mismatch),
            (About::Destroy(ends), Outcome::Deleted { .. }) => {
                for end in ends {
                    self.clients.history.answered(*end, Answer::Written);
                }
            }
            (about, outcome) => {
                check(Err(format!("locks: {about:?} of locker {number} came to {outcome:?}")))?;
            }
        }
        Ok(())
    }

    /// The session lives for its whole time from when this was sent, by its client's clock.
    fn lives(&mut self, number: usize, sent: Duration) -> Happened {
        let now = self.schedule.now();
        let one = &mut self.lockers.each[number];
        let rate = one.rate;
        let Some(session) = &mut one.session else { return Ok(()) };
        let until = sent + session.ttl.div_f64(rate);
        if until <= now {
            self.lapse(number);
            return Ok(());
        }
        session.until = until.max(session.until);
        // It has been renewed after all.
        let (id, ends) = (session.id, std::mem::take(&mut session.ends));
        for end in ends {
            self.clients.history.void(end);
        }
        self.coverage.hit(Happening::SessionTold);
        self.schedule.at(until, Event::Lapse(number));
        check(self.watch.tells_session(id, until))
    }

    /// A session's client is told that it is over.
    fn is_over(&mut self, number: usize) -> Happened {
        self.lapse(number);
        let Some(session) = self.lockers.each[number].session.take() else { return Ok(()) };
        self.coverage.hit(Happening::SessionToldOver);
        check(self.watch.tells_session_over(session.id, self.schedule.now()))
    }

    /// Looks whether the time of a session is over by its client's clock: then it may end at any moment.
    pub(super) fn lapse(&mut self, number: usize) {
        let now = self.schedule.now();
        let is_over = |own: &&Own| own.until <= now && own.ends.is_empty();
        let Some(id) = self.lockers.each[number].session.as_ref().filter(is_over).map(|own| own.id) else {
            return;
        };
        let ends = self.may_be_over(id);
        if !ends.is_empty() {
            self.coverage.hit(Happening::Lapsed);
            self.say(|_| format!("locker {number}: the time of {id} is over"));
        }
        if let Some(own) = &mut self.lockers.each[number].session {
            own.ends = ends;
        }
    }

    fn value_of(&self, session: SessionId) -> Result<Value> {
        let known = self.lockers.values.get(&session).copied();
        if known.is_none() {
            check(Err(format!("locks: a key is held by {session}, which nobody was told of")))?;
        }
        Ok(known.unwrap_or(Value(0)))
    }

    fn answer(&mut self, call: &Call, answer: Answer) {
        if let Some(recorded) = call.recorded {
            self.clients.history.answered(recorded, answer);
        }
    }

    fn had_no_effect(&mut self, call: &Call) {
        if let Some(recorded) = call.recorded {
            self.clients.history.void(recorded);
        }
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
