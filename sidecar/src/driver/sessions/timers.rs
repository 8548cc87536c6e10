//! When sessions and lock delays end, as this leader measures it. Pure: moments come in from outside.
//!
//! Consul's rule: a session ends after twice its TTL, so that a renewal that is late by a round trip, or by a change of
//! leadership, is not too late. What is promised to clients is the TTL itself, from when they sent the request.
//! The simulator runs these too, on clocks that run fast and slow.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use quorate_machine::{Session, SessionEvent, SessionId};
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Now, Term};

use crate::limits::SESSION_RETRY_PAUSE;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clock {
    /// A session's time to live.
    Session(SessionId),
    /// What is left of the lock delay of an ended one.
    LockDelay(SessionId),
}

/// What came of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Its time begins anew.
    Renewed,
    /// Its end is proposed: what comes of that must be known first.
    Ending,
}

/// See the module. Bounded by the machine's limit of sessions and lock delays. Moments are this process's own.
#[derive(Default)]
pub struct Timers {
    /// The leadership in which these were measured; none while this member measures nothing.
    term: Option<Term>,
    ends: HashMap<Clock, Now>,
    /// The same, by moment.
    order: BTreeSet<(Now, Clock)>,
    /// Their end is proposed. Settled when the machine tells that they ended, or by the next leadership, which begins
    /// when everything of this one is applied or gone.
    ending: HashSet<Clock>,
}

impl Timers {
    /// The leadership in which this member measures, if it does.
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// Begin a leadership: everything that lives gets its time in full.
    pub fn lead(
        &mut self,
        term: Term,
        sessions: impl IntoIterator<Item = (SessionId, Duration)>,
        delays: impl IntoIterator<Item = (SessionId, Duration)>,
        now: Now,
    ) {
        let earlier = std::mem::take(self);
        self.term = Some(term);
        for (id, ttl) in sessions {
            self.begin_session(id, ttl, now);
            let clock = Clock::Session(id);
            if broken(Mutant::K21Clock)
                && let Some(end) = earlier.ends.get(&clock)
            {
                self.set(clock, *end);
            }
        }
        for (id, remaining) in delays {
            self.set(Clock::LockDelay(id), now.plus(remaining));
        }
    }

    /// This member does not lead any more: nothing is over by its clock.
    pub fn retire(&mut self) {
        self.term = None;
    }

    /// What the machine applied.
    pub fn note(&mut self, event: SessionEvent, now: Now) {
        if self.term.is_none() {
            return;
        }
        match event {
            SessionEvent::Began { id, ttl } => self.begin_session(id, ttl, now),
            SessionEvent::Ended { id, lock_delay } => {
                self.clear(Clock::Session(id));
                if !lock_delay.is_zero() {
                    self.set(Clock::LockDelay(id), now.plus(lock_delay));
                }
            }
            SessionEvent::DelayEnded { id } => self.clear(Clock::LockDelay(id)),
        }
    }

    /// A session that lives was renewed. While this member does not measure, the leadership to come counts from later.
    pub fn renew(&mut self, session: &Session, now: Now) -> Renewal {
        let (id, ttl) = (session.spec.id, session.spec.ttl.duration);
        if self.ending.contains(&Clock::Session(id)) && !broken(Mutant::K21Destroy) {
            return Renewal::Ending;
        }
        if self.term.is_some() {
            self.begin_session(id, ttl, now);
        }
        Renewal::Renewed
    }

    /// Those whose time is over, the longest over first, at most so many; their end is being proposed from now on.
    pub fn due(&mut self, now: Now, max: usize) -> Vec<Clock> {
        if self.term.is_none() {
            return Vec::new();
        }
        let over = self.order.iter().take_while(|(end, _)| *end <= now).take(max);
        let over: Vec<Clock> = over.map(|(_, clock)| *clock).collect();
        for clock in &over {
            self.clear(*clock);
            self.ending.insert(*clock);
        }
        over
    }

    /// The next moment at which something is over.
    pub fn next_end(&self) -> Option<Now> {
        self.term?;
        self.order.first().map(|(end, _)| *end)
    }

    /// Sessions whose time is measured here.
    pub fn sessions(&self) -> usize {
        let is_session = |clock: &&Clock| matches!(clock, Clock::Session(_));
        self.term.map_or(0, |_| self.ends.keys().filter(is_session).count())
    }

    /// An end that this leadership certainly did not propose is proposed again after a pause.
    pub fn not_proposed(&mut self, term: Term, clock: Clock, now: Now) {
        if self.term == Some(term) && self.ending.remove(&clock) {
            self.set(clock, now.plus(SESSION_RETRY_PAUSE));
        }
    }

    fn begin_session(&mut self, id: SessionId, ttl: Duration, now: Now) {
        let time = if broken(Mutant::K21Twice) { ttl } else { 2 * ttl };
        if !ttl.is_zero() {
            self.set(Clock::Session(id), now.plus(time));
        }
    }

    fn set(&mut self, clock: Clock, end: Now) {
        self.clear(clock);
        self.ends.insert(clock, end);
        self.order.insert((end, clock));
    }

    fn clear(&mut self, clock: Clock) {
        if let Some(end) = self.ends.remove(&clock) {
            self.order.remove(&(end, clock));
        }
        self.ending.remove(&clock);
    }
}

#[cfg(test)]
mod tests {
    use quorate_machine::{ApiIndex, SessionSpec, Ttl};

    use super::*;

    const ID: SessionId = SessionId(7);
    const TTL: Duration = Duration::from_secs(10);
    /// A nanosecond less than twice the TTL.
    const NEARLY_TWICE: Duration = Duration::new(19, 999_999_999);
    const SECOND: Duration = Duration::from_secs(1);
    const START: Now = Now(Duration::from_secs(100));

    fn session() -> Session {
        let spec = SessionSpec {
            id: ID,
            name: String::new(),
            node: String::new(),
            behavior: quorate_machine::Behavior::Release,
            ttl: Ttl { duration: TTL, text: "10s".to_owned() },
            lock_delay: Duration::ZERO,
            checks: quorate_machine::SessionChecks::default(),
        };
        Session { spec, create_index: ApiIndex(2) }
    }

    fn leading(now: Now) -> Timers {
        let mut timers = Timers::default();
        timers.lead(Term(1), [(ID, TTL)], [], now);
        timers
    }

    /// A35: never before the TTL, and without a change of leadership at twice the TTL.
    #[test]
    fn a_session_is_over_after_twice_its_ttl_and_a_renewal_begins_anew() {
        let now = START;
        let mut timers = leading(now);
        assert_eq!(timers.next_end(), Some(now.plus(2 * TTL)));
        assert_eq!(timers.due(now.plus(NEARLY_TWICE), 9), []);
        assert_eq!(timers.renew(&session(), now.plus(TTL)), Renewal::Renewed);
        assert_eq!(timers.due(now.plus(2 * TTL), 9), []);
        assert_eq!(timers.due(now.plus(3 * TTL), 9), [Clock::Session(ID)]);
        assert_eq!(timers.due(now.plus(9 * TTL), 9), [], "its end is proposed once");
    }

    /// K21, A36: whatever an earlier leadership of this very member had measured.
    #[test]
    fn a_new_leadership_gives_every_session_its_whole_time() {
        let now = START;
        let mut timers = leading(now);
        timers.retire();
        assert_eq!((timers.next_end(), timers.due(now.plus(9 * TTL), 9)), (None, vec![]), "it does not lead");
        let again = now.plus(NEARLY_TWICE);
        timers.lead(Term(3), [(ID, TTL)], [(SessionId(8), 3 * SECOND)], again);
        assert_eq!(timers.due(again.plus(NEARLY_TWICE), 9), [Clock::LockDelay(SessionId(8))]);
        assert_eq!(timers.due(again.plus(2 * TTL), 9), [Clock::Session(ID)]);
    }

    /// K21: an acknowledged renewal is never followed by an end that was proposed before it.
    #[test]
    fn a_session_whose_end_is_proposed_is_not_renewed() {
        let now = START;
        let mut timers = leading(now);
        assert_eq!(timers.due(now.plus(2 * TTL), 9), [Clock::Session(ID)]);
        assert_eq!(timers.renew(&session(), now.plus(2 * TTL)), Renewal::Ending);
        timers.retire();
        assert_eq!(timers.renew(&session(), now.plus(2 * TTL)), Renewal::Ending, "it may yet be committed");
        timers.lead(Term(2), [(ID, TTL)], [], now.plus(3 * TTL));
        assert_eq!(timers.renew(&session(), now.plus(3 * TTL)), Renewal::Renewed, "it was not");
    }

    /// autopilot.md §6: an end that could not be proposed is tried again, for ever.
    #[test]
    fn an_end_that_was_not_proposed_is_proposed_again() {
        let now = START;
        let mut timers = leading(now);
        let over = now.plus(2 * TTL);
        for _ in 0..20 {
            assert_eq!(timers.due(over.plus(60 * SECOND), 9), [Clock::Session(ID)]);
            timers.not_proposed(Term(9), Clock::Session(ID), over);
            assert_eq!(timers.next_end(), None, "of another leadership's end this one knows more");
            timers.not_proposed(Term(1), Clock::Session(ID), over);
            assert_eq!(timers.next_end(), Some(over.plus(SESSION_RETRY_PAUSE)));
        }
        assert_eq!(timers.renew(&session(), over), Renewal::Renewed, "nothing is proposed any more");
        assert_eq!(timers.next_end(), Some(over.plus(2 * TTL)));
    }

    /// K21: the lock delay is counted from the entry that ended the session, by the leader's clock.
    #[test]
    fn sessions_and_delays_follow_what_was_applied() {
        let now = START;
        let mut timers = Timers::default();
        timers.note(SessionEvent::Began { id: ID, ttl: TTL }, now);
        assert_eq!(timers.next_end(), None, "a follower measures nothing");
        timers.lead(Term(1), [], [], now);
        timers.note(SessionEvent::Began { id: ID, ttl: TTL }, now);
        timers.note(SessionEvent::Began { id: SessionId(8), ttl: Duration::ZERO }, now);
        assert_eq!(timers.next_end(), Some(now.plus(2 * TTL)), "without a TTL it lives for ever");
        assert_eq!(timers.sessions(), 1);
        timers.note(SessionEvent::Ended { id: ID, lock_delay: 3 * SECOND }, now.plus(SECOND));
        assert_eq!((timers.next_end(), timers.sessions()), (Some(now.plus(4 * SECOND)), 0));
        assert_eq!(timers.due(now.plus(4 * SECOND), 9), [Clock::LockDelay(ID)]);
        timers.note(SessionEvent::DelayEnded { id: ID }, now.plus(4 * SECOND));
        assert_eq!(timers.next_end(), None);
    }

    /// K25: of many that are over at once, only so many are proposed at a time.
    #[test]
    fn the_longest_over_come_first_and_in_bounded_numbers() {
        let now = START;
        let mut timers = Timers::default();
        let sessions = (1..=5).map(|id| (SessionId(id), (20 - u32::try_from(id).unwrap()) * SECOND));
        timers.lead(Term(1), sessions, [], now);
        let over = now.plus(100 * SECOND);
        assert_eq!(timers.due(over, 2), [Clock::Session(SessionId(5)), Clock::Session(SessionId(4))]);
        assert_eq!(timers.due(over, 9).len(), 3);
    }
}
