//! Who holds a token: asked of the API server with a `TokenReview`.
//!
//! The token must have been issued for this cluster's audience: one that was meant for the API server, or for another
//! cluster, proves nothing here, and one that was sent here is of no use anywhere else.
//! Not here: who may do what with it, and for how long an answer is believed.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Api;
use kube::api::PostParams;

use crate::connect::Connection;
use crate::error::{PublishError, call};
use crate::limits::ERROR_CHARS_MAX;

/// What every account's user name begins with.
const ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is no account: write namespace/name")),
        }
    }
}

/// What the API server said of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// It is this account's.
    Account(Account),
    /// It proves nothing; the text says why.
    Refused(String),
}

/// Why the API server said nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// The member's own account lacks the right.
    #[error(
        "this member's account may not have tokens reviewed ({0}); name it under rbac.tokenReview of the operator's chart"
    )]
    Forbidden(String),
    /// No answer, or one that says to come back later.
    #[error(transparent)]
    Away(#[from] PublishError),
}

/// Asks the API server.
#[derive(Clone)]
pub struct TokenReviewer {
    reviews: Api<TokenReview>,
    audience: String,
}

impl TokenReviewer {
    /// Reviews tokens that were issued for `audience`.
    pub fn new(connection: &Connection, audience: String) -> Result<Self, PublishError> {
        Ok(Self { reviews: Api::all(connection.client("default")?), audience })
    }

    /// What tokens must have been issued for.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Asks once; takes at most [`crate::limits::CALL_TIMEOUT`].
    pub async fn review(&self, token: &str) -> Result<Review, ReviewError> {
        let asked = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![self.audience.clone()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        match call("reviewing a token", self.reviews.create(&PostParams::default(), &asked)).await {
            Ok(answered) => Ok(verdict(answered.status.unwrap_or_default(), &self.audience)),
            Err(error) => match error.status() {
                Some(status) if status.code == 403 => Err(ReviewError::Forbidden(status.message.clone())),
                _ => Err(error.into()),
            },
        }
    }
}

fn verdict(status: TokenReviewStatus, audience: &str) -> Review {
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty()).unwrap_or_else(|| "it is not valid".to_owned());
        return Review::Refused(why.chars().take(ERROR_CHARS_MAX).collect());
    }
    // A server that knows nothing of audiences would let every token through: it must confirm ours.
    if !status.audiences.iter().flatten().any(|confirmed| confirmed == audience) {
        return Review::Refused(format!("it was not issued for the audience {audience}"));
    }
    let user = status.user.and_then(|user| user.username).unwrap_or_default();
    let account = user.strip_prefix(ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => {
            Review::Account(Account { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        None => Review::Refused(format!("{user:?} is no ServiceAccount")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::FakeApi;

    const AUDIENCE: &str = "db.shop.quorate.dev";

    async fn reviewed(prepare: impl Fn(&FakeApi)) -> (FakeApi, Result<Review, ReviewError>) {
        let api = FakeApi::default();
        prepare(&api);
        let reviewer = TokenReviewer { reviews: Api::all(api.client()), audience: AUDIENCE.to_owned() };
        let review = reviewer.review("a.b.c").await;
        (api, review)
    }

    async fn answered(status: Value) -> Review {
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}, "status": status });
        reviewed(|api| api.answer(201, body.clone())).await.1.unwrap()
    }

    /// K46: the token and our audience are asked about, and the account is who the API server says.
    #[tokio::test]
    async fn the_account_is_who_the_api_server_says() {
        let status = json!({ "authenticated": true, "audiences": [AUDIENCE], "user": { "username": "system:serviceaccount:shop:web" } });
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}, "status": status });
        let (api, review) = reviewed(|api| api.answer(201, body.clone())).await;
        assert_eq!(review.unwrap(), Review::Account("shop/web".parse().unwrap()));
        let asked = api.asked().remove(0);
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews")
        );
        assert_eq!(asked.body["spec"], json!({ "audiences": [AUDIENCE], "token": "a.b.c" }));
    }

    /// K46: not valid, for another audience, for none, and a person's: none of them is an account.
    #[tokio::test]
    async fn what_is_not_confirmed_is_refused() {
        let user = json!({ "username": "system:serviceaccount:shop:web" });
        let why = async |status| match answered(status).await {
            Review::Refused(why) => why,
            Review::Account(account) => panic!("taken for {account}"),
        };
        assert_eq!(why(json!({})).await, "it is not valid");
        assert_eq!(
            why(json!({ "authenticated": false, "error": "token has expired" })).await,
            "token has expired"
        );
        assert!(why(json!({ "authenticated": true, "user": user })).await.contains(AUDIENCE));
        let other =
            json!({ "authenticated": true, "user": user, "audiences": ["https://kubernetes.default.svc"] });
        assert!(why(other).await.contains("not issued for"));
        let person =
            json!({ "authenticated": true, "audiences": [AUDIENCE], "user": { "username": "jane" } });
        assert!(why(person).await.contains("\"jane\" is no ServiceAccount"));
    }

    /// P10: a missing right and a server that is away are told apart, and the first says what to do.
    #[tokio::test]
    async fn a_missing_right_is_not_a_server_that_is_away() {
        let (_, review) = reviewed(|api| api.refuse(403, "")).await;
        let error = review.unwrap_err();
        assert!(
            matches!(error, ReviewError::Forbidden(_)) && error.to_string().contains("rbac.tokenReview"),
            "{error}"
        );
        let (_, review) = reviewed(|api| api.refuse(503, "")).await;
        assert!(matches!(review.unwrap_err(), ReviewError::Away(_)));
    }
}
