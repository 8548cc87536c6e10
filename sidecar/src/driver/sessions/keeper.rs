//! The task behind the timers: takes up and lays down leadership, and proposes the ends that are due.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_machine::{Command, Outcome, Tagged};
use quorate_raft::Term;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::timers::Clock;
use crate::driver::error::{CallError, Effect};
use crate::driver::handle::Handle;
use crate::driver::machine::State;
use crate::limits::{REQUEST_TIMEOUT_MAX, SESSION_ENDS_MAX, SESSION_RETRY_PAUSE, SESSION_START_TIMEOUT};

/// Measures while this member leads; never ends by itself.
pub(crate) async fn keep_sessions(handle: Handle) {
    let sessions = Arc::clone(&handle.shared.sessions);
    let mut changes = sessions.watch_changes();
    let mut leadership = handle.watch_leadership();
    let mut under_way = JoinSet::new();
    loop {
        changes.mark_unchanged();
        let leads = leadership.borrow_and_update().clone();
        match leads.is_self.then_some(leads.term) {
            None => sessions.lock().retire(),
            Some(term) if sessions.lock().term() == Some(term) => {
                let room = SESSION_ENDS_MAX.saturating_sub(under_way.len());
                let due = sessions.due(room);
                for clock in due {
                    under_way.spawn(end(handle.clone(), term, clock));
                }
            }
            Some(term) => {
                sessions.lock().retire();
                if let Err(error) = lead(&handle, term).await {
                    debug!(%error, "sessions are not measured yet");
                    sleep(SESSION_RETRY_PAUSE).await;
                    continue;
                }
            }
        }
        let next = sessions.next_end().filter(|_| under_way.len() < SESSION_ENDS_MAX);
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            // The sender is not gone while the handle is held.
            _ = changes.changed() => {}
            Some(ended) = under_way.join_next() => {
                match ended {
                    Ok((_, Clock::Session(_), Ok(Outcome::Deleted { existed: true }))) => {
                        sessions.expired.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok((term, clock, Err(error))) => {
                        debug!(%error, ?clock, "an end was not committed");
                        if error.effect == Effect::NotApplied {
                            sessions.not_proposed(term, clock);
                        }
                    }
                    // Of a task that panicked nobody knows what it proposed: the next leadership begins anew.
                    Ok((_, _, Ok(_))) | Err(_) => {}
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// From here on this member measures: everything of earlier leaderships is applied or gone (K21).
async fn lead(handle: &Handle, term: Term) -> Result<(), CallError> {
    let deadline = Instant::now() + SESSION_START_TIMEOUT;
    let index = handle.read_index_here(deadline).await?;
    let sessions = Arc::clone(&handle.shared.sessions);
    let begin = move |state: &State| sessions.lead(term, state);
    handle.shared.machine.query(index, deadline, begin).await?;
    Ok(())
}

/// Ends what is over. It is proposed here and nowhere else: another leader has a clock of its own.
async fn end(handle: Handle, term: Term, clock: Clock) -> (Term, Clock, Result<Outcome, CallError>) {
    let command = match clock {
        Clock::Session(session) => Command::DestroySession { session },
        Clock::LockDelay(session) => Command::EndLockDelay { session },
    };
    let command = Tagged { tag: None, command }.encode();
    let ended = handle.propose_here(command, Instant::now() + REQUEST_TIMEOUT_MAX).await;
    (term, clock, ended.map(|applied| applied.outcome))
}
