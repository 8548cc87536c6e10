//! Why a call failed, by what an application can do about it.

use prost::Message;
use quorate_api::v1::{ErrorCode, ErrorDetail, WriteOutcome};
use tonic::Code;

/// A failed call. Each text ends with what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sidecar's address cannot be used.
    #[error("cannot use `{address}` as the sidecar's address: {reason}; set QUORATE_GRPC_ADDR to host:port")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request is wrong: too large a value, an empty key. Nothing was changed, and a retry won't help.
    #[error("{message}")]
    Invalid {
        /// The sidecar's words.
        message: String,
    },
    /// Refused for a reason that time alone does not cure. Nothing was changed.
    #[error("{message}")]
    Refused {
        /// The sidecar's words.
        message: String,
    },
    /// No leader, no sidecar, or too much to do, until the deadline. A write was certainly not applied; a read has no
    /// effect anyway. Try again later.
    #[error("{message}")]
    Unavailable {
        /// The last attempt's words.
        message: String,
    },
    /// A snapshot of the application could not be read, written or checked on this side.
    #[error("the snapshot cannot be used: {message}")]
    Snapshot {
        /// What failed.
        message: String,
    },
    /// A write was sent and its answer lost: it may have been applied, or may yet be. Read the key, or the log's entries, before
    /// doing it again; the client itself will not send it any more.
    #[error("outcome unknown: {message}; look whether it took effect before doing it again")]
    OutcomeUnknown {
        /// The last attempt's words.
        message: String,
    },
}

/// What one attempt's failure means for the next.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) meaning: Meaning,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Wrong for ever.
    Invalid,
    /// Refused; not worth a retry.
    Refused,
    /// Not applied by this attempt; another one may succeed.
    Retry,
    /// Perhaps applied; another attempt under the same tag finds out.
    Unknown,
    /// The client is not registered any more; this attempt was not applied.
    Expired,
}

impl Failure {
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let detail = ErrorDetail::decode(status.details()).ok().filter(|detail| detail.code != 0);
        let meaning = detail.map_or_else(|| without_detail(status.code()), |detail| with_detail(&detail));
        Self { meaning, message: status.message().to_owned() }
    }
}

fn with_detail(detail: &ErrorDetail) -> Meaning {
    let is_unknown = detail.write_outcome() == WriteOutcome::Unknown;
    match detail.code() {
        ErrorCode::ClientExpired => Meaning::Expired,
        _ if is_unknown => Meaning::Unknown,
        ErrorCode::InvalidArgument => Meaning::Invalid,
        ErrorCode::NoLeader
        | ErrorCode::Busy
        | ErrorCode::LeadershipLost
        | ErrorCode::Deadline
        | ErrorCode::Unavailable => Meaning::Retry,
        _ => Meaning::Refused,
    }
}

/// The answer came from the transport, not from a sidecar: whether the call got through is not known.
fn without_detail(code: Code) -> Meaning {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Meaning::Invalid,
        Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated => Meaning::Refused,
        _ => Meaning::Unknown,
    }
}
