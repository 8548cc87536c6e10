//! What every call has in common: rights, a deadline, a count, and an error that says what to do.

use std::time::Duration;

use quorate_machine::{Command, Mode, Outcome, Tag, Tagged};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::Service;
use super::refused::Refused;
use crate::driver::{Handle, View};
use crate::limits::{REQUEST_TIMEOUT_DEFAULT, REQUEST_TIMEOUT_MAX};
use crate::serve::limits::DEADLINE_MARGIN_MAX;
use crate::serve::mode;
use crate::serve::rights::{Credentials, Right, bearer};
use crate::tls::Caller;

/// The deadline a caller set, as gRPC sends it.
const TIMEOUT_HEADER: &str = "grpc-timeout";

impl Service {
    pub(super) fn handle(&self) -> &Handle {
        &self.shared.context.handle
    }

    /// Answers one call, if its caller has the right to it.
    pub(super) async fn call<Q, A, F>(
        &self,
        name: &'static str,
        right: Right,
        request: Request<Q>,
        work: impl FnOnce(Q, Instant) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Refused>>,
    {
        let started = Instant::now();
        let view = self.handle().view();
        let deadline = started + timeout(request.metadata());
        let caller = request.extensions().get::<Caller>().cloned();
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(bearer).map(str::to_owned);
        let result = match self.check((name, right), (caller, token), &view, deadline).await {
            Ok(()) => work(request.into_inner(), deadline).await,
            Err(refused) => Err(refused),
        };
        let label = result.as_ref().map_or_else(Refused::label, |_| "ok");
        self.shared.metrics.called("grpc", name, label, started.elapsed());
        result.map(Response::new).map_err(|refused| refused.into_status(&self.handle().view()))
    }

    async fn check(
        &self,
        (name, right): (&'static str, Right),
        (caller, token): (Option<Caller>, Option<String>),
        view: &View,
        deadline: Instant,
    ) -> Result<(), Refused> {
        let token = token.as_deref();
        if let (Some(Caller::Unnamed), Some(outside)) = (&caller, &self.shared.context.outside) {
            outside.admit(token, deadline).await.map_err(|why| Refused::turned_away(name, right, &why))?;
        }
        Credentials { caller: caller.as_ref(), token }
            .check(right, view.identity.cluster_id.0, self.shared.admin_token(right))
            .map_err(|reason| Refused::denied(name, right, reason))?;
        if let Some(why) = wanted_mode(name).and_then(|mode| mode::refusal(view, mode)) {
            return Err(Refused::precondition(why));
        }
        // Looking is always allowed: it is how one learns of the trouble.
        match self.shared.out_of_service() {
            Some(why) if right == Right::Data => Err(Refused::out_of_service(why)),
            _ => Ok(()),
        }
    }

    /// Writes; input is checked before anything is proposed (P10).
    pub(super) async fn propose(
        &self,
        command: Command,
        tag: Option<Tag>,
        deadline: Instant,
    ) -> Result<Outcome, Refused> {
        command.validate().map_err(|invalid| Refused::from_invalid(&invalid))?;
        let applied = self.handle().propose(&Tagged { tag, command }, deadline).await?;
        match applied.outcome {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }
}

/// What a cluster must have been founded for to take the call (K22); none: any takes it.
fn wanted_mode(name: &str) -> Option<Mode> {
    match name.split_once('.')? {
        // Proposals are tagged too.
        ("Kv", "RegisterClient") => None,
        ("Kv" | "Session", _) | ("Cluster", "Snapshot" | "Restore") => Some(Mode::KeyValue),
        ("Log", _) => Some(Mode::Log),
        _ => None,
    }
}

/// How long the caller waits, less what our answer needs to be there before the transport's own.
pub(super) fn timeout(metadata: &MetadataMap) -> Duration {
    let asked = metadata.get(TIMEOUT_HEADER).and_then(|value| value.to_str().ok()).and_then(parse_timeout);
    let timeout = asked.unwrap_or(REQUEST_TIMEOUT_DEFAULT).min(REQUEST_TIMEOUT_MAX);
    timeout.saturating_sub(DEADLINE_MARGIN_MAX.min(timeout / 10))
}

/// At most eight digits and a unit. What is malformed the transport refuses itself.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it_and_never_exceeds_ours() {
        assert_eq!(parse_timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(parse_timeout("500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse_timeout("2M"), Some(Duration::from_mins(2)));
        for bad in ["", "S", "1", "1s", "-1S", "1.5S", "ç"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
        let mut metadata = MetadataMap::new();
        metadata.insert(TIMEOUT_HEADER, "99999999H".parse().unwrap());
        assert!(timeout(&metadata) < REQUEST_TIMEOUT_MAX);
        assert!(timeout(&metadata) + Duration::from_secs(1) > REQUEST_TIMEOUT_MAX);
    }
}
