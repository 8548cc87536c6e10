//! Sessions: a lease that is kept alive in the background, and the keys held under it.
//!
//! ```text
//!   create ─▶ lives ─ renewed after a third of the TTL ─▶ lives
//!                │ no renewal is acknowledged                │ the cluster says that it is gone
//!                ▼                                           ▼
//!              expired: no longer sure to hold anything     gone
//! ```
//!
//! What the cluster promises is a duration, counted from when the request was SENT, on a clock of this machine that also
//! runs while it sleeps (K21). A renewal that fails is tried again: one lost answer is no reason to give up a lock.
//!
//! Invariant: [`Session::remaining`] is never more than the cluster promised.

use std::time::Duration;

use bytes::Bytes;
use quorate_api::v1;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::boot_clock::BootTime;
use crate::client::{Client, with_timeout};
use crate::entry::ModifyIndex;
use crate::error::Error;
use crate::limits::{RENEW_PART, RENEW_RETRY_PAUSE, SESSION_TTL_DEFAULT};

/// What becomes of a session's keys when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionBehavior {
    /// They are free.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// How a session is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// For people; up to 256 bytes.
    pub name: String,
    /// How long it lives without a renewal: 10 s to 24 h. By default 15 s.
    pub ttl: Duration,
    /// For how long nobody may acquire the keys it held when it ended; by default 15 s, at most 60 s.
    pub lock_delay: Option<Duration>,
    /// What becomes of its keys.
    pub behavior: SessionBehavior,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            ttl: SESSION_TTL_DEFAULT,
            lock_delay: None,
            behavior: SessionBehavior::Release,
        }
    }
}

/// What trying to hold a key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireOutcome {
    /// The session holds it. Each holder's token is higher than that of the one before: pass it along to whatever must not
    /// hear an old holder.
    Acquired {
        /// The fencing token, and the key's modify index.
        token: ModifyIndex,
    },
    /// Another session holds it.
    Held {
        /// Its ID.
        holder: String,
    },
    /// A session that held it ended, and its lock delay is not over.
    Delayed,
}

/// A session, renewed in the background until it is destroyed or dropped. Dropped, it ends when its time is over.
#[derive(Debug)]
pub struct Session {
    client: Client,
    id: String,
    state: watch::Receiver<State>,
    keeper: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It lives at least until then.
    Lives(BootTime),
    /// The cluster said that it is gone.
    Gone,
}

impl Client {
    /// Begins a session and keeps it alive.
    pub async fn create_session(&self, options: SessionOptions) -> Result<Session, Error> {
        let sent = BootTime::now();
        let behavior = match options.behavior {
            SessionBehavior::Release => v1::SessionBehavior::Release,
            SessionBehavior::Delete => v1::SessionBehavior::Delete,
        };
        let request = v1::CreateSessionRequest {
            name: options.name,
            behavior: behavior.into(),
            ttl_ms: millis(options.ttl),
            lock_delay_ms: options.lock_delay.map(millis),
            tag: None,
        };
        let created = self
            .write(|_, tag| {
                let mut session = self.session.clone();
                let request = v1::CreateSessionRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { session.create(with_timeout(request, timeout)).await }
            })
            .await?;
        let until = sent + Duration::from_millis(created.valid_for_ms);
        let (seen, state) = watch::channel(State::Lives(until));
        let (client, id) = (self.clone(), created.id);
        let keeper = tokio::spawn(keep_alive(client.clone(), id.clone(), options.ttl, seen));
        Ok(Session { client, id, state, keeper })
    }

    /// Writes a key and holds it under the session, if nobody else does. Harmless to repeat.
    ///
    /// Held keys are marked, not protected: `put` and `delete` ignore who holds a key.
    pub async fn acquire(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        session: &Session,
    ) -> Result<AcquireOutcome, Error> {
        let request = v1::AcquireRequest {
            key: key.into(),
            value: value.into(),
            session: session.id.clone(),
            ..v1::AcquireRequest::default()
        };
        let response = self
            .write(|mut kv, tag| {
                let request = v1::AcquireRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { kv.acquire(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(if response.acquired {
            AcquireOutcome::Acquired { token: ModifyIndex(response.modify_index) }
        } else if response.is_delayed {
            AcquireOutcome::Delayed
        } else {
            AcquireOutcome::Held { holder: response.holder }
        })
    }

    /// Writes a key that the session holds and lets go of it; false if it does not hold it.
    pub async fn release(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        session: &Session,
    ) -> Result<bool, Error> {
        let request = v1::ReleaseRequest {
            key: key.into(),
            value: value.into(),
            session: session.id.clone(),
            ..v1::ReleaseRequest::default()
        };
        let response = self
            .write(|mut kv, tag| {
                let request = v1::ReleaseRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { kv.release(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(response.released)
    }

    /// Renews once; for how long it lives from when this was called, none if it is gone.
    async fn renew(&self, id: &str) -> Result<Option<Duration>, Error> {
        let response = self
            .read(|timeout| {
                let (mut session, id) = (self.session.clone(), id.to_owned());
                async move { session.renew(with_timeout(v1::RenewSessionRequest { id }, timeout)).await }
            })
            .await?;
        Ok(response.session.map(|_| Duration::from_millis(response.valid_for_ms)))
    }
}

impl Session {
    /// Its ID, a UUID, as the HTTP API knows it too.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For how long it is sure to live and to hold its keys; zero: not sure any more. Ask again before each step that
    /// relies on a lock, or better pass the fencing token along.
    pub fn remaining(&self) -> Duration {
        match *self.state.borrow() {
            State::Lives(until) => until.remaining(),
            State::Gone => Duration::ZERO,
        }
    }

    /// Waits until it is not sure to live any more.
    pub async fn expired(&self) {
        let mut state = self.state.clone();
        loop {
            state.mark_unchanged();
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            // A timer stands still while the machine sleeps: what counts is looked at anew each time.
            tokio::select! {
                () = tokio::time::sleep(remaining.min(RENEW_RETRY_PAUSE)) => {}
                changed = state.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends it now: its keys are freed or deleted.
    pub async fn destroy(self) -> Result<(), Error> {
        self.keeper.abort();
        let request = v1::DestroySessionRequest { id: self.id.clone(), tag: None };
        self.client
            .write(|_, tag| {
                let mut session = self.client.session.clone();
                let request = v1::DestroySessionRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { session.destroy(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Renews until the cluster says that the session is gone. It goes on when the promised time is over: it may live yet.
async fn keep_alive(client: Client, id: String, ttl: Duration, state: watch::Sender<State>) {
    // A call that takes longer is better sent anew: what it promises counts from when it was sent.
    let client = client.with_timeout(ttl / RENEW_PART);
    loop {
        tokio::time::sleep(ttl / RENEW_PART).await;
        let renewed = loop {
            let sent = BootTime::now();
            match client.renew(&id).await {
                Ok(valid_for) => break valid_for.map(|valid_for| sent + valid_for),
                Err(_) => tokio::time::sleep(RENEW_RETRY_PAUSE).await,
            }
        };
        state.send_replace(renewed.map_or(State::Gone, State::Lives));
        if renewed.is_none() {
            return;
        }
    }
}

/// Longer than 584 million years is not said.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
