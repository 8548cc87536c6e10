//! A renewal, from the member that was asked to the leader's timers (K21).

use std::sync::Arc;

use quorate_machine::{Session, SessionId};
use quorate_mutants::{Mutant, broken};
use quorate_raft::Index;
use tokio::time::{Instant, timeout_at};

use super::timers::Renewal;
use crate::driver::error::{CallError, ErrorKind};
use crate::driver::handle::{Handle, capped};
use crate::driver::machine::{QueryError, State};
use crate::driver::request::Ask;

impl Handle {
    /// Renews a session; none if it does not live. Acknowledged means: it lives for at least its TTL from when the client
    /// sent its request, whoever leads (K21).
    pub async fn renew_session(
        &self,
        id: SessionId,
        deadline: Instant,
    ) -> Result<Option<Session>, CallError> {
        self.check_serving()?;
        self.with_leader(deadline, |leader| async move {
            match leader {
                None => self.renew_session_here(id, deadline).await,
                Some(leader) => self.shared.leaders.renew_session(&leader, id, deadline).await,
            }
        })
        .await
    }

    /// As [`Handle::renew_session`], but only if this member leads.
    pub async fn renew_session_here(
        &self,
        id: SessionId,
        deadline: Instant,
    ) -> Result<Option<Session>, CallError> {
        let deadline = capped(deadline);
        loop {
            let mut changes = self.shared.sessions.watch_changes();
            changes.mark_unchanged();
            let index = self.settled_index(deadline).await?;
            let sessions = Arc::clone(&self.shared.sessions);
            // On the machine's thread: nothing is applied between the look at the session and its renewal.
            let renew = move |state: &State| {
                Ok(state.session(id)?.map(|session| (sessions.renew(&session), session)))
            };
            match self.query_while_leading(index, deadline, renew).await? {
                None => return Ok(None),
                Some((Renewal::Renewed, session)) => return Ok(Some(session)),
                Some((Renewal::Ending, _)) => {
                    timeout_at(deadline, changes.changed()).await.map_err(|_| {
                        CallError::not_applied(
                            ErrorKind::Deadline,
                            "the session's end is proposed and not settled: renew again to see what came of it",
                        )
                    })?.map_err(|_| CallError::stopping())?;
                }
            }
        }
    }

    /// The index at which everything proposed before now is applied or gone; shown by a majority to be a leader's.
    async fn settled_index(&self, deadline: Instant) -> Result<Index, CallError> {
        let confirmed =
            if broken(Mutant::K21Round) { Index(0) } else { self.read_index_here(deadline).await? };
        let status = self.ask(deadline, |reply| Ask::Status { reply }).await?;
        Ok(confirmed.max(status.last.index))
    }

    /// A query that gives up when leadership changes: what it waits for may never be applied then.
    async fn query_while_leading<T, Q>(
        &self,
        index: Index,
        deadline: Instant,
        query: Q,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        Q: FnOnce(&State) -> Result<T, QueryError> + Send + 'static,
    {
        let mut leadership = self.watch_leadership();
        if !leadership.borrow_and_update().is_self {
            return Err(CallError::no_leader());
        }
        tokio::select! {
            biased;
            found = self.shared.machine.query(index, deadline, query) => found.map(|(value, _)| value),
            _ = leadership.changed() => Err(CallError::no_leader()),
        }
    }
}
