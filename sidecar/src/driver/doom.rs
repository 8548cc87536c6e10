//! The one way a part of this process says that it can't go on: the first reason counts, and whoever runs
//! the member ends it.

use quorate_store::StoreError;
use tokio::sync::watch;
use tracing::error;

use crate::exit::{Code, Failure};

/// Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Doom {
    reason: watch::Sender<Option<Failure>>,
}

impl Doom {
    pub(crate) fn new() -> Self {
        Self { reason: watch::Sender::new(None) }
    }

    /// Ends the member for this reason, unless there is one already.
    pub(crate) fn call(&self, failure: Failure) {
        self.reason.send_if_modified(|reason| {
            let is_first = reason.is_none();
            if is_first {
                error!(code = failure.code.number(), reason = failure.code.reason(), "{failure}");
                *reason = Some(failure);
            }
            is_first
        });
    }

    /// A storage error: never retried (K39 says with which code the process ends).
    pub(crate) fn storage(&self, error: &StoreError) {
        self.call(storage_failure(error));
    }

    pub(crate) fn is_called(&self) -> bool {
        self.reason.borrow().is_some()
    }

    /// Waits for a reason.
    pub(crate) async fn wait(&self) -> Failure {
        let mut reason = self.reason.subscribe();
        loop {
            if let Some(failure) = reason.borrow_and_update().clone() {
                return failure;
            }
            // `self` holds a sender, so the channel can't close while this waits.
            let _ = reason.changed().await;
        }
    }
}

/// The failure a storage error means.
pub(crate) fn storage_failure(error: &StoreError) -> Failure {
    let code = match error.exit_code() {
        quorate_store::EXIT_CORRUPT => Code::CorruptData,
        quorate_store::EXIT_UNAVAILABLE => Code::Unavailable,
        quorate_store::EXIT_CANNOT_CREATE => Code::CannotCreate,
        quorate_store::EXIT_WRONG_IDENTITY => Code::WrongIdentity,
        _ => Code::Io,
    };
    Failure::new(code, error)
}
