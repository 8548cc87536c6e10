//! Locks: which session holds a key (consul-http.md §4).
//!
//! A key's own row says who holds it; [`Table::SessionKeys`] finds a session's keys when it ends:
//!
//! ```text
//!   keys          "leader" -> value, lock index, session 7
//!   session_keys  7 "leader"                         one row for each key that 7 acquired and did not let go
//!   delayed_keys  "leader" -> 7                      7 ended: nobody may acquire it yet
//!   lock_delays   7 -> what remains                  until this row goes, and its keys' rows with it
//! ```
//!
//! A deleted tree takes the keys but not the rows of `session_keys`: such a row is stale, and found to be so when it is
//! looked at. Invariant: a key has one holder at most, and that is a session that lives.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_mutants::{Mutant, broken};

use crate::base::{Base, KeyRange, Table};
use crate::edit::Edit;
use crate::entry::Head;
use crate::limits::SESSION_KEYS_MAX;
use crate::meta::StateError;
use crate::session::SessionId;
use crate::session_codec::ID_BYTES;

/// Why a key was not acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unacquired {
    /// There is no such session.
    NoSession,
    /// Another session holds it.
    Held(SessionId),
    /// A session that held it ended a short time ago.
    Delayed,
    /// The session holds as many keys as one may.
    TooMany,
}

/// The inner result is the lock's own, the outer one that of the disk.
type Acquired<E> = Result<Result<Head, Unacquired>, StateError<E>>;

impl<B: Base> Edit<'_, B> {
    /// Write a key and hold it. Who holds it already only writes.
    pub(crate) fn acquire(
        &mut self,
        key: &[u8],
        value: &[u8],
        flags: u64,
        session: SessionId,
    ) -> Acquired<B::Error> {
        if self.view().get(Table::Sessions, &session.0.to_be_bytes())?.is_none() {
            return Ok(Err(Unacquired::NoSession));
        }
        let before = self.before(key, value)?;
        let holder = before.as_ref().and_then(|before| before.head.session);
        let mut lock_index = before.as_ref().map_or(0, |before| before.head.lock_index);
        match holder {
            Some(holder) if holder == session => {}
            Some(holder) if !broken(Mutant::K21Holder) => return Ok(Err(Unacquired::Held(holder))),
            _ if self.is_delayed(key)? => return Ok(Err(Unacquired::Delayed)),
            _ if !self.has_room(session)? => return Ok(Err(Unacquired::TooMany)),
            _ => lock_index += 1,
        }
        let head = self.write(key, before, value, (flags, lock_index, Some(session)));
        self.target.set(Table::SessionKeys, session_key(session, key), Some(Bytes::new()));
        Ok(Ok(head))
    }

    /// Write a key and let go of it; none if this session does not hold it.
    pub(crate) fn release(
        &mut self,
        key: &[u8],
        value: &[u8],
        flags: u64,
        session: SessionId,
    ) -> Result<Option<Head>, StateError<B::Error>> {
        let before = self.before(key, value)?.filter(|before| before.head.session == Some(session));
        let Some(before) = before else { return Ok(None) };
        let lock_index = before.head.lock_index;
        let head = self.write(key, Some(before), value, (flags, lock_index, None));
        self.target.set(Table::SessionKeys, session_key(session, key), None);
        Ok(Some(head))
    }

    /// The keys acquired under a session and not let go, stale rows included.
    pub(crate) fn session_keys(&self, session: SessionId) -> Result<Vec<Bytes>, StateError<B::Error>> {
        let mut keys = Vec::new();
        self.view().scan(
            Table::SessionKeys,
            &KeyRange::prefix(&session.0.to_be_bytes()),
            &mut |row, _| {
                keys.push(Bytes::copy_from_slice(&row[ID_BYTES..]));
                ControlFlow::Continue(())
            },
        )?;
        Ok(keys)
    }

    /// Whether a session holds this key now.
    pub(crate) fn is_holder(&self, session: SessionId, key: &[u8]) -> Result<bool, StateError<B::Error>> {
        let row = self.view().find(Table::Keys, key)?;
        let head = row.map(|row| Head::of(&row)).transpose()?;
        Ok(head.is_some_and(|head| head.session == Some(session)))
    }

    fn is_delayed(&self, key: &[u8]) -> Result<bool, StateError<B::Error>> {
        let view = self.view();
        Ok(view.get(Table::DelayedKeys, key)?.is_some()
            || view.get(Table::LockDelays, &SessionId::NONE.0.to_be_bytes())?.is_some())
    }

    /// Whether a session may acquire one key more. At the limit its stale rows are dropped first.
    fn has_room(&mut self, session: SessionId) -> Result<bool, StateError<B::Error>> {
        let keys = self.session_keys(session)?;
        let mut held = keys.len();
        if held < SESSION_KEYS_MAX {
            return Ok(true);
        }
        for key in keys {
            if !self.is_holder(session, &key)? {
                self.target.set(Table::SessionKeys, session_key(session, &key), None);
                held -= 1;
            }
        }
        Ok(held < SESSION_KEYS_MAX)
    }
}

/// The row of [`Table::SessionKeys`] for this key.
pub(crate) fn session_key(session: SessionId, key: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(ID_BYTES + key.len());
    row.put_u128(session.0);
    row.put_slice(key);
    row.freeze()
}
