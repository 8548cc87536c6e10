//! Clients outside the Pod (`spec.clientAccess: Cluster`, K46): TLS, and a service account's token with every call.
//!
//! ```text
//!   token ─▶ reviewed lately? ─▶ TokenReview at the API server ─▶ account ─▶ on the list? ─▶ data calls and pictures
//! ```
//! Checked when a call begins: a stream that is open stays open. The API server is asked once a minute and token; while
//! it is away, tokens that were good go on working for ten minutes.
//! Not here: the port itself. Who comes with the operator's certificate needs no token.

mod gate;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_publish::{Account, Connection, PublishError, Review, ReviewError, TokenReviewer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::limits::{REVIEWS_AT_ONCE_MAX, TOKEN_BYTES_MAX};
use verdicts::{TokenHash, Verdicts, hash};

pub(super) use gate::behind_gate;

/// Who may come from outside the Pod, and where tokens are reviewed.
#[derive(Clone, Debug)]
pub struct OutsideSettings {
    /// The API server.
    pub connection: Connection,
    /// What tokens must have been issued for.
    pub audience: String,
    /// Whose tokens open anything.
    pub accounts: BTreeSet<Account>,
}

/// Why a caller was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// No token, or one that proves nothing.
    Unauthenticated(String),
    /// An account that is not on the list.
    Denied(String),
    /// Nobody could be asked.
    Unavailable(String),
}

impl TurnedAway {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Unauthenticated(message) | Self::Denied(message) | Self::Unavailable(message) => message,
        }
    }
}

/// Admits callers by their tokens.
pub struct Outside {
    reviewer: TokenReviewer,
    accounts: BTreeSet<Account>,
    verdicts: Mutex<Verdicts>,
    places: Semaphore,
}

impl Outside {
    /// Ready to ask; nothing is asked yet.
    pub fn new(settings: OutsideSettings) -> Result<Arc<Self>, PublishError> {
        let OutsideSettings { connection, audience, accounts } = settings;
        Ok(Arc::new(Self {
            reviewer: TokenReviewer::new(&connection, audience)?,
            accounts,
            verdicts: Mutex::default(),
            places: Semaphore::new(REVIEWS_AT_ONCE_MAX),
        }))
    }

    /// The account behind a token, if it is on the list.
    pub(super) async fn admit(&self, token: Option<&str>, deadline: Instant) -> Result<Account, TurnedAway> {
        let audience = self.reviewer.audience();
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(TurnedAway::Unauthenticated(format!(
                "no token: send a ServiceAccount's, issued for the audience {audience}, as `authorization: Bearer <token>`"
            )));
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TurnedAway::Unauthenticated(format!(
                "the token is longer than {TOKEN_BYTES_MAX} bytes (TOKEN_BYTES_MAX): no ServiceAccount has such a one"
            )));
        }
        match self.review(token, deadline).await? {
            Review::Account(account) if self.accounts.contains(&account) => Ok(account),
            Review::Account(account) => Err(TurnedAway::Denied(format!(
                "ServiceAccount {account} is not on the list: add it to spec.clientAccess.serviceAccounts of the RaftCluster"
            ))),
            Review::Refused(why) => Err(TurnedAway::Unauthenticated(format!(
                "Kubernetes does not take the token: {why}; mount one issued for the audience {audience}"
            ))),
        }
    }

    async fn review(&self, token: &str, deadline: Instant) -> Result<Review, TurnedAway> {
        let hash = hash(token);
        if let Some(review) = self.remembered(|verdicts| verdicts.fresh(&hash, Instant::now())) {
            return Ok(review);
        }
        let asked = timeout_at(deadline, self.ask(token, hash)).await;
        asked.unwrap_or_else(|_| {
            Err(TurnedAway::Unavailable("no time was left to have the token reviewed: try again".to_owned()))
        })
    }

    async fn ask(&self, token: &str, hash: TokenHash) -> Result<Review, TurnedAway> {
        // Never closed; if it were, asking without a place does no harm.
        let _place = self.places.acquire().await;
        // Calls that came together ask once.
        if let Some(review) = self.remembered(|verdicts| verdicts.fresh(&hash, Instant::now())) {
            return Ok(review);
        }
        match self.reviewer.review(token).await {
            Ok(review) => {
                debug!(?review, "a token was reviewed");
                self.remembered(|verdicts| verdicts.put(hash, review.clone(), Instant::now()));
                Ok(review)
            }
            Err(error) => {
                warn!(%error, "a token could not be reviewed");
                let is_away = matches!(error, ReviewError::Away(_));
                self.remembered(|verdicts| verdicts.last_good(&hash, Instant::now()))
                    .filter(|_| is_away)
                    .ok_or_else(|| {
                        TurnedAway::Unavailable(format!("the token could not be reviewed: {error}"))
                    })
            }
        }
    }

    fn remembered<T>(&self, look: impl FnOnce(&mut Verdicts) -> T) -> T {
        // Nothing in there panics half-way; a poisoned lock holds whole verdicts.
        look(&mut self.verdicts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
