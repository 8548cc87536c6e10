//! The life of sessions: how one begins, how it ends and what that does to its keys, and what can be asked of them.
//!
//! ```text
//!   create ─▶ lives ─ destroy: by a client, or by the leader when its time is over ─▶ keys freed or deleted
//!                                                            │ it held keys and has a lock delay
//!                                                            ▼
//!                                              delayed ─ the leader: the delay is over ─▶ gone
//! ```
//!
//! All that an end does is done by its one entry. A delay is a duration that remains, not a moment: only the leader's
//! clock runs, and what the log says is where a new leader begins again (K21).
//!
//! Invariant: sessions and delays together are at most [`SESSIONS_MAX`].

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use crate::base::{Base, KeyRange, Table};
use crate::command::ApiIndex;
use crate::edit::{Before, Edit};
use crate::entry::Head;
use crate::limits::{LOCK_DELAY_MAX, SESSIONS_MAX};
use crate::locks::session_key;
use crate::machine::Machine;
use crate::meta::StateError;
use crate::session::{Behavior, Session, SessionEvent, SessionId, SessionSpec};
use crate::session_codec::{delay_row, id_of, read_delay_row};

/// Sessions as of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionList {
    /// The sessions, by ID.
    pub sessions: Vec<Session>,
    /// The index of the last change to any session. Never 0.
    pub index: ApiIndex,
}

impl<B: Base> Edit<'_, B> {
    pub(crate) fn session(&self, id: SessionId) -> Result<Option<Session>, StateError<B::Error>> {
        let row = self.view().get(Table::Sessions, &id.0.to_be_bytes())?;
        Ok(row.map(|row| Session::decode(&row)).transpose()?)
    }

    /// Begin a session; false if there are too many. One that lives, or left a lock delay, was created by this command
    /// before: its ID is random.
    pub(crate) fn create_session(
        &mut self,
        spec: SessionSpec,
        events: &mut Vec<SessionEvent>,
    ) -> Result<bool, StateError<B::Error>> {
        let has_delay = self.view().get(Table::LockDelays, &row_of(spec.id))?.is_some();
        if has_delay || self.session(spec.id)?.is_some() {
            return Ok(true);
        }
        if self.sessions.places >= SESSIONS_MAX {
            return Ok(false);
        }
        let (id, ttl) = (spec.id, spec.ttl.duration);
        let session = Session { spec, create_index: self.index };
        self.target.set(Table::Sessions, row_of(id), Some(session.encode()));
        self.sessions.places += 1;
        self.sessions.index = self.index;
        events.push(SessionEvent::Began { id, ttl });
        Ok(true)
    }

    /// End a session and do to its keys what it says; whether it lived.
    pub(crate) fn destroy_session(
        &mut self,
        id: SessionId,
        events: &mut Vec<SessionEvent>,
    ) -> Result<bool, StateError<B::Error>> {
        let Some(session) = self.session(id)? else { return Ok(false) };
        let lock_delay = session.spec.lock_delay.min(LOCK_DELAY_MAX);
        let mut is_delayed = false;
        for key in self.session_keys(id)? {
            let is_held = self.is_holder(id, &key)?;
            if is_held {
                self.free(&key, session.spec.behavior)?;
            }
            if is_held && lock_delay > Duration::ZERO {
                // Found by it when the delay ends.
                self.target.set(Table::SessionKeys, session_key(id, &key), Some(Bytes::new()));
                self.target.set(Table::DelayedKeys, key, Some(row_of(id)));
                is_delayed = true;
            } else {
                self.target.set(Table::SessionKeys, session_key(id, &key), None);
            }
        }
        self.target.set(Table::Sessions, row_of(id), None);
        self.sessions.index = self.index;
        if is_delayed {
            // The delay takes the session's place.
            self.target.set(Table::LockDelays, row_of(id), Some(delay_row(lock_delay)));
        } else {
            self.sessions.places -= 1;
        }
        events.push(SessionEvent::Ended {
            id,
            lock_delay: if is_delayed { lock_delay } else { Duration::ZERO },
        });
        Ok(true)
    }

    /// The keys that a session held when it ended can be acquired again; whether they could not before.
    pub(crate) fn end_lock_delay(
        &mut self,
        id: SessionId,
        events: &mut Vec<SessionEvent>,
    ) -> Result<bool, StateError<B::Error>> {
        if self.view().get(Table::LockDelays, &row_of(id))?.is_none() {
            return Ok(false);
        }
        for key in self.session_keys(id)? {
            self.target.set(Table::SessionKeys, session_key(id, &key), None);
            self.target.set(Table::DelayedKeys, key, None);
        }
        self.target.set(Table::LockDelays, row_of(id), None);
        self.sessions.places -= 1;
        events.push(SessionEvent::DelayEnded { id });
        Ok(true)
    }

    fn free(&mut self, key: &Bytes, behavior: Behavior) -> Result<(), StateError<B::Error>> {
        match behavior {
            Behavior::Delete => drop(self.delete(key)?),
            Behavior::Release => {
                if let Some(row) = self.view().get(Table::Keys, key)? {
                    let head = Head::of(&row)?;
                    let (value, flags, lock_index) =
                        (row.slice(head.value_at()..), head.flags, head.lock_index);
                    let before = Before { head, has_value: true };
                    self.write(key, Some(before), &value, (flags, lock_index, None));
                }
            }
        }
        Ok(())
    }
}

impl<B: Base> Machine<B> {
    /// One session, if it lives.
    pub fn session(&self, id: SessionId) -> Result<Option<Session>, StateError<B::Error>> {
        let row = self.view().get(Table::Sessions, &id.0.to_be_bytes())?;
        Ok(row.map(|row| Session::decode(&row)).transpose()?)
    }

    /// All sessions; at most [`SESSIONS_MAX`].
    pub fn sessions(&self) -> Result<SessionList, StateError<B::Error>> {
        let mut sessions = Vec::new();
        let mut broken = None;
        self.view().scan(Table::Sessions, &KeyRange::all(), &mut |_, row| match Session::decode(
            &Bytes::copy_from_slice(row),
        ) {
            Ok(session) => {
                sessions.push(session);
                ControlFlow::Continue(())
            }
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        })?;
        broken.map_or(Ok(SessionList { sessions, index: self.sessions_index() }), |error| Err(error.into()))
    }

    /// The index of the last change to any session. Never 0.
    pub fn sessions_index(&self) -> ApiIndex {
        self.meta().sessions.index.max(ApiIndex(1))
    }

    /// The lock delays that are not over, each with what remains of it as far as the log knows.
    pub fn lock_delays(&self) -> Result<Vec<(SessionId, Duration)>, StateError<B::Error>> {
        let mut delays = Vec::new();
        let mut broken = None;
        self.view().scan(Table::LockDelays, &KeyRange::all(), &mut |id, row| {
            let row = Bytes::copy_from_slice(row);
            match id_of(id).and_then(|id| Ok((id, read_delay_row(&row)?))) {
                Ok(delay) => {
                    delays.push(delay);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        broken.map_or(Ok(delays), |error| Err(error.into()))
    }
}

fn row_of(id: SessionId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}
