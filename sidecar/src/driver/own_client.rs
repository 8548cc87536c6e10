//! This member as a client of its own cluster (K20): what it forwards untagged goes under its name and a number.
//!
//! ```text
//!   start ─▶ RegisterClient ─▶ registered ─▶ a forwarded write opens a number ─▶ sent ─▶ sent again ─▶ answered
//!                 ▲                │ evicted: SessionExpired
//!                 └────────────────┘
//! ```
//!
//! A leader that vanishes before it answers then costs a retry: the same number is applied once, whoever leads.
//!
//! Invariant: a number belongs to one write, and `acked_below` never passes one that may still be sent.
//! The Rust client keeps the same book of numbers (`client/src/registration.rs`), in the API's types: it may depend on
//! the API alone. It waits for the window, where this one goes untagged.
//! Not here: writes of applications that registered themselves. They retry under their own tags, and are passed on as
//! they are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_machine::limits::CLIENT_WINDOW;
use quorate_machine::{ClientId, Command, Outcome, Owner, Refusal, Tag, Tagged};
use quorate_raft::ServerId;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::handle::Handle;
use crate::limits::{REGISTRATION_PAUSE, REQUEST_TIMEOUT_DEFAULT};

/// Whether it was not the command that was refused, but this member as its client: untagged it may be applied.
pub(super) fn is_refused_as_client(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Refused(Refusal::SessionExpired { .. } | Refusal::ResultsUnacknowledged { .. })
    )
}

/// A member's name among the clients: compared for equality only.
pub(crate) fn owner(id: &ServerId) -> Owner {
    Owner(format!("{}@{}", id.raft_id, id.incarnation))
}

/// The present registration, if there is one.
pub(super) struct OwnClient {
    current: watch::Sender<Option<Arc<Registration>>>,
}

/// One registration, with its open numbers.
struct Registration {
    client: ClientId,
    numbers: Mutex<Numbers>,
}

struct Numbers {
    next: u64,
    open: BTreeSet<u64>,
}

/// A write's number; dropping it says that the write will not be sent again.
pub(super) struct OpenWrite {
    registration: Arc<Registration>,
    sequence: u64,
}

impl OwnClient {
    pub(super) fn new() -> Self {
        Self { current: watch::Sender::new(None) }
    }

    /// A number for one write; none while there is no registration, or while the oldest open write keeps the window
    /// full: then the write goes untagged, and a leader that vanishes leaves its outcome unknown.
    pub(super) fn open(&self) -> Option<OpenWrite> {
        let registration = self.current.borrow().clone()?;
        let sequence = registration.lock().begin()?;
        Some(OpenWrite { registration, sequence })
    }

    /// The write was refused for its number. A registration the cluster does not know any more is made anew.
    pub(super) fn refused(&self, write: &OpenWrite, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Refused(Refusal::SessionExpired { .. })) {
            return;
        }
        self.current.send_if_modified(|current| {
            let is_it = current.as_ref().is_some_and(|it| Arc::ptr_eq(it, &write.registration));
            if is_it {
                *current = None;
            }
            is_it
        });
    }

    fn registered(&self, client: ClientId) {
        let numbers = Mutex::new(Numbers { next: 1, open: BTreeSet::new() });
        self.current.send_replace(Some(Arc::new(Registration { client, numbers })));
    }
}

/// Registers now, and again whenever the registration expired; never ends by itself.
pub(crate) async fn keep_registered(handle: Handle) {
    let own = owner(&handle.view().identity.server);
    let mut current = handle.shared.own_client.current.subscribe();
    loop {
        let register = Tagged { tag: None, command: Command::RegisterClient { owner: Some(own.clone()) } };
        match handle.propose(&register, Instant::now() + REQUEST_TIMEOUT_DEFAULT).await {
            Ok(applied) => match applied.outcome {
                Outcome::Registered { client } => handle.shared.own_client.registered(client),
                other => debug!(outcome = ?other, "this member was not registered as a client"),
            },
            Err(error) => debug!(%error, "this member is not registered as a client yet"),
        }
        // The sender is not gone while the handle is held.
        let _ = current.wait_for(Option::is_none).await;
        tokio::time::sleep(REGISTRATION_PAUSE).await;
    }
}

impl Registration {
    fn lock(&self) -> MutexGuard<'_, Numbers> {
        // Nothing in here panics while it holds the mutex half-changed.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    fn acked_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    fn begin(&mut self) -> Option<u64> {
        if self.next - self.acked_below() >= CLIENT_WINDOW {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.open.insert(sequence);
        Some(sequence)
    }
}

impl OpenWrite {
    /// What to mark the next attempt with.
    pub(super) fn tag(&self) -> Tag {
        let acked_below = self.registration.lock().acked_below();
        Tag { client: self.registration.client, sequence: self.sequence, acked_below }
    }
}

impl Drop for OpenWrite {
    fn drop(&mut self) {
        self.registration.lock().open.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K20: `acked_below` never passes a write that may be sent again, and a full window opens no number.
    #[test]
    fn numbers_stay_open_until_their_write_is_given_up() {
        let own = OwnClient::new();
        assert!(own.open().is_none(), "not registered yet");
        own.registered(ClientId(7));
        let oldest = own.open().unwrap();
        for _ in 1..CLIENT_WINDOW {
            drop(own.open().unwrap());
        }
        assert_eq!(oldest.tag(), Tag { client: ClientId(7), sequence: 1, acked_below: 1 });
        assert!(own.open().is_none(), "the window is full");
        drop(oldest);
        let next = own.open().unwrap();
        assert_eq!(
            next.tag(),
            Tag { client: ClientId(7), sequence: CLIENT_WINDOW + 1, acked_below: CLIENT_WINDOW + 1 }
        );
    }

    /// K20: a write of an expired registration ends that registration, and not the one made meanwhile.
    #[test]
    fn only_the_registration_that_expired_is_given_up() {
        let own = OwnClient::new();
        own.registered(ClientId(7));
        let old = own.open().unwrap();
        own.registered(ClientId(8));
        let expired = Outcome::Refused(Refusal::SessionExpired { client: ClientId(7) });
        own.refused(&old, &expired);
        let new = own.open().unwrap();
        assert_eq!(new.tag().client, ClientId(8));
        let full = Refusal::ResultsUnacknowledged { client: ClientId(8), result_bytes: 2, limit: 1 };
        own.refused(&new, &Outcome::Refused(full));
        assert!(own.open().is_some(), "too many results are no reason to register again");
        own.refused(&new, &expired);
        assert!(own.open().is_none());
    }
}
