//! The one way a part of this process says that it can't go on: the first reason counts, and whoever runs
//! the member ends it.
//!
//! Several threads use one file. When it fails for one of them, the next may find it stopped before the first has said
//! why. That is no reason to tell a person: it waits a moment for the one behind it.

use quorate_store::StoreError;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

use crate::exit::{Code, Failure};
use crate::limits::CAUSE_PATIENCE;

/// Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Doom {
    reason: watch::Sender<Option<Reason>>,
}

#[derive(Debug)]
struct Reason {
    failure: Failure,
    /// There is another reason behind it, which somebody else knows.
    is_consequence: bool,
}

impl Doom {
    pub(crate) fn new() -> Self {
        Self { reason: watch::Sender::new(None) }
    }

    /// Ends the member for this reason, unless there is one already.
    pub(crate) fn call(&self, failure: Failure) {
        self.call_for(Reason { failure, is_consequence: false });
    }

    /// A storage error: never retried (K39 says with which code the process ends).
    pub(crate) fn storage(&self, error: &StoreError) {
        let is_consequence = matches!(error, StoreError::Stopped);
        self.call_for(Reason { failure: storage_failure(error), is_consequence });
    }

    fn call_for(&self, new: Reason) {
        self.reason.send_if_modified(|reason| {
            let is_better = reason.as_ref().is_none_or(|known| known.is_consequence && !new.is_consequence);
            if is_better {
                let failure = &new.failure;
                error!(code = failure.code.number(), reason = failure.code.reason(), "{failure}");
                *reason = Some(new);
            }
            is_better
        });
    }

    pub(crate) fn is_called(&self) -> bool {
        self.reason.borrow().is_some()
    }

    /// Waits for a reason.
    pub(crate) async fn wait(&self) -> Failure {
        let mut reason = self.reason.subscribe();
        // `self` holds a sender, so the channel can't close while this waits.
        let _ = reason.wait_for(Option::is_some).await;
        let has_cause = |known: &Option<Reason>| known.as_ref().is_some_and(|known| !known.is_consequence);
        let _ = timeout(CAUSE_PATIENCE, reason.wait_for(has_cause)).await;
        let known = reason.borrow().as_ref().map(|known| known.failure.clone());
        known.unwrap_or_else(|| Failure::new(Code::Io, "the member ended without a reason"))
    }
}

/// The failure a storage error means.
pub(crate) fn storage_failure(error: &StoreError) -> Failure {
    let code = match error.exit_code() {
        quorate_store::EXIT_WRONG_IDENTITY if matches!(error, StoreError::BeforeRecovery { .. }) => {
            Code::BeforeRecovery
        }
        quorate_store::EXIT_CORRUPT => Code::CorruptData,
        quorate_store::EXIT_UNAVAILABLE => Code::Unavailable,
        quorate_store::EXIT_CANNOT_CREATE => Code::CannotCreate,
        quorate_store::EXIT_WRONG_IDENTITY => Code::WrongIdentity,
        _ => Code::Io,
    };
    Failure::new(code, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_space() -> StoreError {
        let directory = "/data".to_owned();
        StoreError::NoSpace { directory, doing: "committing to the log", free: "0 bytes".to_owned() }
    }

    /// K8, K39: a thread that reads the log found it stopped before the one that writes it had said that the disk is full.
    #[tokio::test]
    async fn the_last_word_is_the_cause_and_not_what_followed_from_it() {
        let doom = Doom::new();
        doom.storage(&StoreError::Stopped);
        assert!(doom.is_called());
        let (told, ()) = tokio::join!(doom.wait(), async { doom.storage(&no_space()) });
        assert!(told.message.contains("no space left"), "{told}");
        doom.storage(&StoreError::Stopped);
        assert!(doom.wait().await.message.contains("no space left"));
    }

    /// Nobody said why: the member ends all the same.
    #[tokio::test]
    async fn a_consequence_alone_ends_the_member_too() {
        let doom = Doom::new();
        doom.storage(&StoreError::Stopped);
        assert_eq!(doom.wait().await.message, StoreError::Stopped.to_string());
    }
}
