//! What can go wrong while publishing. Nothing here ever stops the data path: an error is reported and tried again.

use crate::limits::{CALL_TIMEOUT, ERROR_CHARS_MAX};

/// Why a write to the Kubernetes API did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The token or CA file, or the address of the API server, is missing or unusable.
    #[error(
        "cannot connect to the Kubernetes API: {0}; check the projected volume quorate-token of this pod"
    )]
    Connect(String),
    /// The API server did not answer in time.
    #[error("{what} timed out after {} s; the API server is slow or out of reach", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// The write that was tried.
        what: &'static str,
    },
    /// The API server refused, or the connection failed.
    #[error("{what} failed: {source}")]
    Call {
        /// The write that was tried.
        what: &'static str,
        /// The answer.
        source: Box<kube::Error>,
    },
}

impl PublishError {
    /// The API server's answer, if there was one.
    pub(crate) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Call { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Connect(_) | Self::Timeout { .. } => None,
        }
    }

    /// The text for people, cut to [`ERROR_CHARS_MAX`].
    pub(crate) fn text(&self) -> String {
        self.to_string().chars().take(ERROR_CHARS_MAX).collect()
    }
}

/// Runs one call with its deadline.
pub(crate) async fn call<T>(
    what: &'static str,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, PublishError> {
    match tokio::time::timeout(CALL_TIMEOUT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(PublishError::Call { what, source: Box::new(source) }),
        Err(_) => Err(PublishError::Timeout { what }),
    }
}
