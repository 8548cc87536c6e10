//! How long sessions live, by a leader's clock (K21): the sidecar's own timers, on a clock that may run fast or slow.
//!
//! ```text
//!   it leads ─▶ a round ─▶ applied ──▶ every session and every lock delay gets its time in full
//!   over ─▶ a moment later its end is proposed ──▶ refused: again after a pause
//!   renewal ─▶ a round, and the last entry then ─▶ applied ──▶ lives: its time begins anew, its client is told
//!                                                              its end is on its way: again, once that is settled
//! ```
//! What the sidecar's tasks do around its timers is repeated here (`driver/sessions`).

use std::time::Duration;

use anyhow::Result;
use quorate_machine::{Command, SessionId, Tagged};
use quorate_mutants::{Mutant, broken};
use quorate_raft::{Index, Input, Now, Refusal, Role, Term};
use quorate_sidecar::driver::{Renewal, SessionClock, SessionTimers};
use rand::Rng;

use super::coverage::Happening;
use super::event::Event;
use super::network::MemberNumber;
use super::process::Process;
use super::requests::{Attempt, Reply, Waiting};
use super::world::{Happened, World, of_disk};

/// Between the end of a session's time and its proposal: a task is woken, and the driver takes its request.
const PROPOSED_WITHIN_MS: u64 = 20;
/// Ends proposed at a time: more than there can be.
const ENDS_MAX: usize = 64;
/// What could not be begun is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What a process does for sessions.
#[derive(Default)]
pub struct Keeper {
    timers: SessionTimers,
    /// A leadership that measures nothing yet, and the entry that must be applied before it does, once it is known.
    beginning: Option<(Term, Option<Index>)>,
    /// Renewals whose entry is not applied yet.
    renewals: Vec<Confirmed>,
    /// When it is scheduled to look whose time is over, by the world's time.
    look_at: Option<Duration>,
}

/// A renewal at a member.
#[derive(Clone, Copy, Debug)]
pub struct Renewing {
    /// Whose.
    pub attempt: Attempt,
    /// Of what.
    pub session: SessionId,
    /// When its client gives it up.
    pub deadline: Duration,
}

/// A renewal after its round.
struct Confirmed {
    renewing: Renewing,
    /// Everything proposed before the round ended is applied with this, or gone.
    index: Index,
    /// The leadership that it belongs to.
    term: Term,
}

impl Process {
    /// The leadership in which this process is, if it is in one.
    fn leads(&self) -> Option<Term> {
        (self.raft.role() == Role::Leader).then(|| self.raft.status().term)
    }

    /// What the machine has just applied.
    fn note_sessions(&mut self, now: Now) {
        for event in self.machine.take_session_events() {
            self.keeper.timers.note(event, now);
        }
    }

    /// Everything that lives gets its time in full.
    fn measure(&mut self, term: Term, now: Now) -> Result<()> {
        let sessions = self.machine.sessions()?.sessions;
        let sessions = sessions.iter().map(|session| (session.spec.id, session.spec.ttl.duration));
        let delays = self.machine.lock_delays()?;
        self.keeper.timers.lead(term, sessions, delays, now);
        Ok(())
    }

    /// Begins to measure, if everything of earlier leaderships is applied.
    fn begin_to_measure(&mut self, now: Now) -> Result<()> {
        if let Some((term, Some(index))) = self.keeper.beginning
            && index <= self.applied()
        {
            self.keeper.beginning = None;
            self.measure(term, now)?;
        }
        Ok(())
    }

    /// What a renewal whose entry is applied came to; none: its session's end is on its way.
    fn renew(&mut self, session: SessionId, now: Now) -> Result<Option<Reply>> {
        let Some(session) = self.machine.session(session)? else { return Ok(Some(Reply::Renewed(false))) };
        Ok(match self.keeper.timers.renew(&session, now) {
            Renewal::Renewed => Some(Reply::Renewed(true)),
            Renewal::Ending => None,
        })
    }
}

impl World {
    /// A core stepped: it may have begun to lead, or lead no more.
    pub(super) fn keep_sessions(&mut self, number: MemberNumber) -> Happened {
        if !self.lockers.are_there() {
            return Ok(());
        }
        let is_dead = self.fleet[number].is_dead();
        let Some(process) = self.fleet[number].process.as_mut().filter(|_| !is_dead) else { return Ok(()) };
        let leads = process.leads();
        let keeper = &mut process.keeper;
        let is_under_way =
            |term| keeper.timers.term() == Some(term) || keeper.beginning.is_some_and(|(of, _)| of == term);
        match leads {
            Some(term) if is_under_way(term) => {}
            Some(term) => {
                keeper.timers.retire();
                keeper.beginning = Some((term, None));
                let ticket = self.administrator.ticket();
                self.wait(number, ticket, Waiting::Lead(term));
                self.step(number, Input::ReadIndex { ticket })?;
            }
            None => {
                keeper.timers.retire();
                keeper.beginning = None;
            }
        }
        self.serve_sessions(number)
    }

    /// The round that a leadership's clock waits for.
    pub(super) fn leads_surely(&mut self, number: MemberNumber, term: Term, index: Option<Index>) {
        let boot = self.fleet.boot(number);
        let Some(process) = &mut self.fleet[number].process else { return };
        match &mut process.keeper.beginning {
            Some((of, wanted)) if *of == term && index.is_some() => *wanted = index,
            _ => self.schedule.after(RETRY_PAUSE, Event::LookAtSessions(boot)),
        }
    }

    /// A machine applied something, is on another state, or a leader's clock went on.
    pub(super) fn serve_sessions(&mut self, number: MemberNumber) -> Happened {
        let (boot, world_now) = (self.fleet.boot(number), self.schedule.now());
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let now = Now(process.clock.at(world_now));
        process.note_sessions(now);
        let begun = process.begin_to_measure(now);
        let (applied, leads) = (process.applied(), process.leads());
        let is_due = |one: &mut Confirmed| one.index <= applied || leads != Some(one.term);
        let due: Vec<_> = process.keeper.renewals.extract_if(.., is_due).collect();
        let look_at = process.keeper.timers.next_end().map(|end| process.clock.when(end.0));
        if let Some(at) = look_at
            && process.keeper.look_at.is_none_or(|earlier| at < earlier)
        {
            process.keeper.look_at = Some(at);
            self.schedule.at(at, Event::LookAtSessions(boot));
        }
        of_disk(number, begun)?;
        for one in due {
            self.finish_renewal(number, &one)?;
        }
        Ok(())
    }

    /// The machine is on another state: whoever measures, measures the sessions of that one.
    pub(super) fn measure_anew(&mut self, number: MemberNumber) -> Happened {
        let world_now = self.schedule.now();
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let now = Now(process.clock.at(world_now));
        let Some(term) = process.keeper.timers.term() else { return Ok(()) };
        let measured = process.measure(term, now);
        of_disk(number, measured)
    }

    /// A process looks whose time is over by its clock.
    pub(super) fn look_at_sessions(&mut self, number: MemberNumber) -> Happened {
        let (boot, world_now) = (self.fleet.boot(number), self.schedule.now());
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let now = Now(process.clock.at(world_now));
        let keeper = &mut process.keeper;
        keeper.look_at = None;
        if matches!(keeper.beginning, Some((_, None))) {
            keeper.beginning = None;
        }
        let term = keeper.timers.term();
        for clock in keeper.timers.due(now, ENDS_MAX) {
            let Some(term) = term else { break };
            self.coverage.hit(Happening::SessionOver);
            let within = Duration::from_millis(self.lockers.rng.random_range(0..=PROPOSED_WITHIN_MS));
            self.schedule.after(within, Event::EndSession(boot, term, clock));
        }
        self.keep_sessions(number)
    }

    /// The end of what is over is proposed by the process whose clock said so, and nowhere else.
    pub(super) fn end_session(&mut self, number: MemberNumber, term: Term, clock: SessionClock) -> Happened {
        let command = match clock {
            SessionClock::Session(session) => Command::DestroySession { session },
            SessionClock::LockDelay(session) => Command::EndLockDelay { session },
        };
        self.say(|_| format!("m{number} ends {clock:?}"));
        let ticket = self.administrator.ticket();
        self.wait(number, ticket, Waiting::End(term, clock));
        self.step(number, Input::Propose { ticket, command: Tagged { tag: None, command }.encode() })
    }

    /// An end was not proposed, or nobody knows whether it was.
    pub(super) fn end_refused(
        &mut self,
        number: MemberNumber,
        (term, clock): (Term, SessionClock),
        refusal: &Refusal,
    ) {
        let world_now = self.schedule.now();
        let Some(process) = &mut self.fleet[number].process else { return };
        let now = Now(process.clock.at(world_now));
        if !matches!(refusal, Refusal::LeadershipLost { .. }) {
            process.keeper.timers.not_proposed(term, clock, now);
        }
    }

    /// A client asks a member to renew its session.
    pub(super) fn renew(&mut self, number: MemberNumber, renewing: Renewing) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let status = process.raft.status();
        if status.role != Role::Leader {
            let hint = status.leader.map(|leader| leader.id);
            self.answer_client(renewing.attempt, Reply::Refused(hint));
            return Ok(());
        }
        if broken(Mutant::K21Round) {
            return self.renewal_confirmed(number, renewing, Some(Index(0)));
        }
        let ticket = self.administrator.ticket();
        self.wait(number, ticket, Waiting::Renewal(renewing));
        self.step(number, Input::ReadIndex { ticket })
    }

    /// The round of a renewal ended.
    pub(super) fn renewal_confirmed(
        &mut self,
        number: MemberNumber,
        renewing: Renewing,
        index: Option<Index>,
    ) -> Happened {
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        let status = process.raft.status();
        let Some(index) = index.filter(|_| status.role == Role::Leader) else {
            self.answer_client(renewing.attempt, Reply::Refused(None));
            return Ok(());
        };
        let index = index.max(status.last.index);
        process.keeper.renewals.push(Confirmed { renewing, index, term: status.term });
        self.serve_sessions(number)
    }

    /// A renewal whose entry is applied, or whose leadership is over.
    fn finish_renewal(&mut self, number: MemberNumber, one: &Confirmed) -> Happened {
        let Confirmed { renewing, index, .. } = one;
        let (boot, world_now) = (self.fleet.boot(number), self.schedule.now());
        let Some(process) = &mut self.fleet[number].process else { return Ok(()) };
        if *index > process.applied() {
            self.answer_client(renewing.attempt, Reply::Refused(None));
            return Ok(());
        }
        let now = Now(process.clock.at(world_now));
        let renewed = process.renew(renewing.session, now);
        match of_disk(number, renewed)? {
            Some(reply) => self.answer_client(renewing.attempt, reply),
            None if world_now < renewing.deadline => {
                self.coverage.hit(Happening::RenewalWaited);
                self.schedule.after(RETRY_PAUSE, Event::RenewAgain(boot, *renewing));
            }
            None => {}
        }
        Ok(())
    }
}
