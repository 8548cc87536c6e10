//! Why a request got no answer, with the status and the words clients act on (consul-http.md §2).

use axum::response::Response;
use quorate_machine::Invalid;
use quorate_machine::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use super::answer::text;
use crate::driver::{CallError, ErrorKind};
use crate::serve::limits::{HTTP_LIST_BYTES_MAX, HTTP_LIST_ROWS_MAX, WATCHES_MAX};

/// Nothing was changed, except where the text says *outcome unknown*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// 400, in Consul's words or ours.
    Bad(String),
    /// 400 without a word (vector 21).
    UnprintablePath,
    /// 500 without a word: a query that can't be decoded.
    UndecodableQuery,
    /// 500, in words that clients look for.
    Failed(String),
    /// 413.
    TooLarge(String),
    /// 401.
    AclDisabled,
    /// 403.
    Denied(String),
    /// 404.
    UnknownPath,
    /// 404, in words that clients look for.
    NotFound(String),
    /// 501.
    NotSupported(&'static str),
    /// 500 from the cluster.
    Call(CallError),
}

impl Refused {
    /// A body over the limit; `bytes` if its length is known.
    pub(super) fn body_too_large(bytes: Option<u64>) -> Self {
        let bytes = bytes.map_or_else(|| format!("over {VALUE_BYTES_MAX}"), |bytes| bytes.to_string());
        // Three clients look for three different words in it.
        Self::TooLarge(format!(
            "Request body({bytes} bytes) too large, max size: {VALUE_BYTES_MAX} bytes. Value exceeds {VALUE_BYTES_MAX} byte limit: value is too large."
        ))
    }

    pub(super) fn list_too_large() -> Self {
        Self::TooLarge(format!(
            "the list is too large: more than {HTTP_LIST_ROWS_MAX} keys (HTTP_LIST_ROWS_MAX) or {HTTP_LIST_BYTES_MAX} bytes (HTTP_LIST_BYTES_MAX); ask for a longer prefix, for ?keys, or for pages over gRPC (Kv.List)"
        ))
    }

    pub(super) fn too_many_watches() -> Self {
        Self::Failed(format!(
            "{WATCHES_MAX} blocking queries are open here (WATCHES_MAX): ask again later, or without index"
        ))
    }

    /// The caller may not do this; nothing was looked at.
    pub(super) fn denied(reason: &str) -> Self {
        Self::Denied(format!("Permission denied: {reason}; nothing was changed"))
    }

    /// What the machine answered is not what the command can come to.
    pub(super) fn unexpected() -> Self {
        Self::Failed(
            "the write was answered in a way that makes no sense: outcome unknown; please report this"
                .to_owned(),
        )
    }

    pub(super) fn missing_key() -> Self {
        Self::Bad("Missing key name".to_owned())
    }

    pub(super) fn key_too_long(bytes: usize) -> Self {
        Self::Bad(format!(
            "the key is {bytes} bytes, the limit is {KEY_BYTES_MAX} (KEY_BYTES_MAX): use a shorter key"
        ))
    }

    pub(super) fn from_invalid(invalid: &Invalid) -> Self {
        match invalid {
            Invalid::KeyEmpty => Self::missing_key(),
            Invalid::ValueTooLarge { bytes, .. } => Self::body_too_large(u64::try_from(*bytes).ok()),
            other => Self::Bad(other.to_string()),
        }
    }

    /// For metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Bad(_)
            | Self::UnprintablePath
            | Self::UndecodableQuery
            | Self::TooLarge(_)
            | Self::NotFound(_) => "invalid",
            Self::UnknownPath | Self::NotSupported(_) | Self::AclDisabled => "not_supported",
            Self::Denied(_) => "denied",
            Self::Failed(_) => "refused",
            Self::Call(error) => match error.kind {
                ErrorKind::NoLeader => "no_leader",
                ErrorKind::Busy => "busy",
                ErrorKind::Deadline => "deadline",
                ErrorKind::LeadershipLost => "leadership_lost",
                _ => "refused",
            },
        }
    }

    pub(super) fn into_response(self) -> Response {
        let (status, message) = self.status_and_words();
        text(status, &message)
    }

    /// In the shape Vault's clients look for.
    pub(super) fn into_vaults_response(self) -> Response {
        let (status, message) = self.status_and_words();
        super::vault::errors(status, message)
    }

    fn status_and_words(self) -> (u16, String) {
        match self {
            Self::Bad(message) => (400, message),
            Self::UnprintablePath => (400, String::new()),
            Self::UndecodableQuery => (500, String::new()),
            Self::Failed(message) => (500, message),
            Self::TooLarge(message) => (413, message),
            Self::AclDisabled => (401, "ACL support disabled".to_owned()),
            Self::Denied(message) => (403, message),
            Self::UnknownPath => (404, "Invalid URL path: not a recognized HTTP API endpoint\n".to_owned()),
            Self::NotFound(message) => (404, message),
            Self::NotSupported(message) => (501, message.to_owned()),
            // Patroni and Go's lock monitor try again after 500 only, whatever went wrong.
            Self::Call(error) if error.kind == ErrorKind::NoLeader => (500, "No cluster leader".to_owned()),
            Self::Call(error) => (500, error.message),
        }
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// consul-http.md §2: 500 for whatever the cluster could not do; anything else makes Patroni give up.
    #[test]
    fn trouble_of_the_cluster_is_always_a_500() {
        for kind in [ErrorKind::NoLeader, ErrorKind::Busy, ErrorKind::LeadershipLost, ErrorKind::Deadline] {
            let refused = Refused::from(CallError::not_applied(kind, "why"));
            assert_eq!(refused.into_response().status(), 500);
        }
    }

    /// consul-http.md §4: the three words Terraform, Vault and old Vault look for.
    #[test]
    fn a_large_body_is_refused_in_words_that_three_clients_know() {
        let Refused::TooLarge(text) = Refused::body_too_large(Some(524_289)) else { panic!("not 413") };
        assert!(text.starts_with("Request body(524289 bytes) too large, max size: 524288 bytes."), "{text}");
        assert!(text.contains("Value exceeds 524288 byte limit"), "{text}");
        assert!(text.contains("is too large"), "{text}");
    }
}
