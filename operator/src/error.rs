//! Why a round could not be finished. What members and the API server refuse for good reason is not here: that is
//! an observation of the next round.

use crate::member::ChangeError;
use crate::tls::TlsError;

/// A round failed; it is tried again, later each time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundError {
    /// The API server refused or did not answer.
    #[error("{what} failed: {source}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A call to a member.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The resource does not parse: its definition in the API server is another version's (K53).
    #[error(
        "the raftcluster cannot be read: {0}; the RaftCluster definition in this cluster does not fit this \
             operator: apply the one of its release"
    )]
    Unreadable(String),
    /// Something took too long.
    #[error("the round was given up after {0} s")]
    Timeout(u64),
}

impl RoundError {
    /// For `map_err`.
    pub(crate) fn api(what: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }
}

/// The HTTP code of an answer, if there was an answer.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The API server's words without the wrapping.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
