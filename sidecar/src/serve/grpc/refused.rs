//! A refused call on its way to a gRPC status: words for people, an [`ErrorDetail`] for programs.

use prost::Message;
use quorate_api::v1::{ErrorCode, ErrorDetail, WriteOutcome};
use quorate_machine::{ApiIndex, Invalid, Refusal};
use quorate_raft::ServerId;
use quorate_store::Unrecoverable;
use tonic::{Code, Status};

use crate::driver::{CallError, Effect, ErrorKind, View};
use crate::serve::limits::RETRY_AFTER;
use crate::serve::outside::TurnedAway;
use crate::serve::rights::Right;

/// Why a call got no answer.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    code: ErrorCode,
    outcome: WriteOutcome,
    field: &'static str,
    message: String,
}

impl Refused {
    fn new(code: ErrorCode, outcome: WriteOutcome, message: impl Into<String>) -> Self {
        Self { code, outcome, field: "", message: message.into() }
    }

    /// A field of the request is wrong; `message` says how and what would be right.
    pub(super) fn field(field: &'static str, message: impl Into<String>) -> Self {
        let refused = Self::new(ErrorCode::InvalidArgument, WriteOutcome::NotApplied, message);
        Self { field, ..refused }
    }

    pub(super) fn from_invalid(invalid: &Invalid) -> Self {
        let field = match invalid {
            Invalid::KeyEmpty | Invalid::KeyTooLong { .. } => "key",
            Invalid::ValueTooLarge { .. } => "value",
            Invalid::EntryTooLarge { .. } => "data",
            Invalid::TooManyOps { .. } | Invalid::TxnTooLarge { .. } => "ops",
            Invalid::SessionTtl { .. } => "ttl_ms",
            _ => "",
        };
        Self::field(field, invalid.to_string())
    }

    /// K46: a caller from outside the Pod whose token opens nothing, or could not be reviewed.
    pub(super) fn turned_away(call: &str, right: Right, why: &TurnedAway) -> Self {
        let (outcome, end) = unchanged(right);
        let (code, begin) = match why {
            TurnedAway::Unauthenticated(_) => (ErrorCode::Unauthenticated, "Unauthenticated"),
            TurnedAway::Denied(_) => (ErrorCode::PermissionDenied, "Permission denied"),
            TurnedAway::Unavailable(_) => (ErrorCode::Unavailable, "Unavailable"),
        };
        Self::new(code, outcome, format!("{begin}: {call}: {}{end}", why.message()))
    }

    pub(super) fn denied(call: &str, right: Right, reason: &str) -> Self {
        let (outcome, end) = unchanged(right);
        Self::new(
            ErrorCode::PermissionDenied,
            outcome,
            format!("Permission denied: {call} is not for this caller: {reason}{end}"),
        )
    }

    /// Too much of something is open.
    pub(super) fn busy(message: String) -> Self {
        Self::new(ErrorCode::Busy, WriteOutcome::Unspecified, message)
    }

    /// K25: a watcher asks for changes that are not kept any more.
    pub(super) fn compacted(after: ApiIndex, oldest: ApiIndex) -> Self {
        let text = format!(
            "the changes after index {after} are not all kept here any more, only those after {oldest}: read the keys anew, then watch after the index of that answer"
        );
        Self::new(ErrorCode::Compacted, WriteOutcome::Unspecified, text)
    }

    pub(super) fn out_of_service(why: &str) -> Self {
        Self::new(ErrorCode::Removed, WriteOutcome::NotApplied, format!("{why}; not applied"))
    }

    /// Not in this state, and a retry won't help.
    pub(super) fn precondition(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::FailedPrecondition, WriteOutcome::NotApplied, message)
    }

    /// Only the leader knows.
    pub(super) fn not_leader(what: &str) -> Self {
        Self::new(
            ErrorCode::NotLeader,
            WriteOutcome::Unspecified,
            format!("{what} is known to the leader only: ask it (its Raft ID is in the error's detail)"),
        )
    }

    /// K18: a recovery that would not be one.
    pub(super) fn unrecoverable(refusal: &Unrecoverable) -> Self {
        let text = format!("not recovered, nothing was changed: {refusal}");
        Self::new(ErrorCode::FailedPrecondition, WriteOutcome::NotApplied, text)
    }

    /// K18: whoever knows a leader has a majority.
    pub(super) fn quorum_is_there(leader: &ServerId) -> Self {
        let text = format!(
            "not recovered, nothing was changed: {} leads, so a majority is there; replace the members that are lost",
            leader.raft_id
        );
        Self::new(ErrorCode::FailedPrecondition, WriteOutcome::NotApplied, text)
    }

    /// What the machine answered is not what the command can come to.
    pub(super) fn unexpected(what: &str) -> Self {
        Self::new(
            ErrorCode::Internal,
            WriteOutcome::Unknown,
            format!("{what} was answered in a way that makes no sense: outcome unknown; please report this"),
        )
    }

    /// For metrics.
    pub(super) fn label(&self) -> &'static str {
        match self.code {
            ErrorCode::InvalidArgument => "invalid",
            ErrorCode::PermissionDenied | ErrorCode::Unauthenticated => "denied",
            ErrorCode::NoLeader => "no_leader",
            ErrorCode::NotLeader => "not_leader",
            ErrorCode::Busy => "busy",
            ErrorCode::Deadline => "deadline",
            ErrorCode::LeadershipLost => "leadership_lost",
            _ => "refused",
        }
    }

    /// The words.
    pub(super) fn into_message(self) -> String {
        self.message
    }

    /// The status, with what this member knows of the leader and the configuration.
    pub(super) fn into_status(self, view: &View) -> Status {
        let detail = self.detail(view);
        Status::with_details(grpc_code(detail.code()), self.message, detail.encode_to_vec().into())
    }

    /// What programs go by.
    pub(super) fn detail(&self, view: &View) -> ErrorDetail {
        let leader = view.status.leader.as_ref();
        let code = match self.code {
            // The core's word for both; whoever knows the leader has somebody to ask.
            ErrorCode::NoLeader if leader.is_some() && !view.is_leader() => ErrorCode::NotLeader,
            code => code,
        };
        let configuration_index = match code {
            ErrorCode::ConfigurationChanging | ErrorCode::ConfigurationMismatch => {
                view.status.latest.as_ref().map_or(0, |latest| latest.index.0)
            }
            _ => 0,
        };
        ErrorDetail {
            code: code.into(),
            write_outcome: self.outcome.into(),
            leader_raft_id: leader.map(|leader| leader.id.raft_id.to_string()).unwrap_or_default(),
            configuration_index,
            field: self.field.to_owned(),
            retry_after_ms: retry_after_ms(code),
        }
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        let code = match error.kind {
            ErrorKind::NoLeader => ErrorCode::NoLeader,
            ErrorKind::Busy => ErrorCode::Busy,
            ErrorKind::NoSpace => ErrorCode::NoSpace,
            ErrorKind::ConfigurationChanging => ErrorCode::ConfigurationChanging,
            ErrorKind::ConfigurationMismatch => ErrorCode::ConfigurationMismatch,
            ErrorKind::WouldLoseQuorum => ErrorCode::WouldLoseQuorum,
            ErrorKind::FailedPrecondition => ErrorCode::FailedPrecondition,
            ErrorKind::Invalid => ErrorCode::InvalidArgument,
            ErrorKind::Removed => ErrorCode::Removed,
            ErrorKind::Deadline => ErrorCode::Deadline,
            ErrorKind::LeadershipLost => ErrorCode::LeadershipLost,
            ErrorKind::Stopping | ErrorKind::Unreachable => ErrorCode::Unavailable,
        };
        let outcome = match error.effect {
            Effect::NotApplied => WriteOutcome::NotApplied,
            Effect::Unknown => WriteOutcome::Unknown,
        };
        Self::new(code, outcome, error.message)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::SessionExpired { .. } => ErrorCode::ClientExpired,
            Refusal::TooManyClients { .. } | Refusal::TooManySessions { .. } => ErrorCode::Busy,
            // Not busy: under its tag a retry would get this same answer (K20), however much was trimmed meanwhile.
            Refusal::LogFull { .. } => ErrorCode::NoSpace,
            Refusal::InvalidSession { .. } => ErrorCode::SessionGone,
            _ => ErrorCode::FailedPrecondition,
        };
        Self::new(code, WriteOutcome::NotApplied, refusal.to_string())
    }
}

impl From<quorate_raft::Refusal> for Refused {
    fn from(refusal: quorate_raft::Refusal) -> Self {
        CallError::from(refusal).into()
    }
}

/// What a call that was not let in did: nothing.
fn unchanged(right: Right) -> (WriteOutcome, &'static str) {
    match right {
        Right::Admin | Right::Settings | Right::Membership | Right::Data => {
            (WriteOutcome::NotApplied, "; nothing was changed")
        }
        Right::Picture | Right::Status => (WriteOutcome::Unspecified, ""),
    }
}

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::NoLeader | ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::Busy | ErrorCode::NoSpace => Code::ResourceExhausted,
        ErrorCode::LeadershipLost | ErrorCode::ConfigurationChanging | ErrorCode::ConfigurationMismatch => {
            Code::Aborted
        }
        ErrorCode::Deadline => Code::DeadlineExceeded,
        ErrorCode::Compacted => Code::OutOfRange,
        ErrorCode::NotLeader
        | ErrorCode::WouldLoseQuorum
        | ErrorCode::FailedPrecondition
        | ErrorCode::Removed
        | ErrorCode::ClientExpired
        | ErrorCode::SessionGone => Code::FailedPrecondition,
        ErrorCode::Unspecified | ErrorCode::Internal => Code::Internal,
    }
}

fn retry_after_ms(code: ErrorCode) -> u32 {
    match code {
        ErrorCode::NoLeader | ErrorCode::Busy | ErrorCode::ConfigurationChanging | ErrorCode::Unavailable => {
            u32::try_from(RETRY_AFTER.as_millis()).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}
