//! `quorate.v1.Session`.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use quorate_api::v1::{self, session_server::Session as SessionService};
use quorate_machine::{Behavior, Command, Outcome, Session, SessionChecks, SessionId, SessionSpec, Ttl};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use super::kv::mark;
use super::refused::Refused;
use super::shape;
use crate::driver::{Handle, State};
use crate::limits::REQUEST_TIMEOUT_DEFAULT;
use crate::serve::duration::format_duration;
use crate::serve::limits::{LIST_ROWS_MAX, LOCK_DELAY_DEFAULT};
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SessionService for Service {
    async fn create(&self, request: Request<v1::CreateSessionRequest>) -> Answer<v1::CreateSessionResponse> {
        self.call("Session.Create", Right::Data, request, |create, deadline| async move {
            let tag = shape::tag(create.tag)?;
            let valid_for_ms = create.ttl_ms;
            let spec = self.spec(create)?;
            match self.propose(Command::CreateSession(Box::new(spec)), tag, deadline).await? {
                Outcome::SessionCreated { session } => {
                    Ok(v1::CreateSessionResponse { id: session.to_string(), valid_for_ms })
                }
                _ => Err(Refused::unexpected("creating a session")),
            }
        })
        .await
    }

    async fn renew(&self, request: Request<v1::RenewSessionRequest>) -> Answer<v1::RenewSessionResponse> {
        self.call("Session.Renew", Right::Data, request, |renew, deadline| async move {
            renew_once(self.handle(), &renew.id, deadline).await
        })
        .await
    }

    type KeepAliveStream = Pin<Box<dyn Stream<Item = Result<v1::RenewSessionResponse, Status>> + Send>>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<v1::RenewSessionRequest>>,
    ) -> Answer<Self::KeepAliveStream> {
        self.call("Session.KeepAlive", Right::Data, request, |renewals, _| async move {
            let handle = self.handle().clone();
            let answers = renewals.then(move |renew| {
                let handle = handle.clone();
                async move {
                    let deadline = Instant::now() + REQUEST_TIMEOUT_DEFAULT;
                    let renewed = renew_once(&handle, &renew?.id, deadline).await;
                    renewed.map_err(|refused| refused.into_status(&handle.view()))
                }
            });
            // gRPC ends a stream with its first error.
            let answers = answers.scan(false, |has_failed, answer| {
                let is_over = std::mem::replace(has_failed, answer.is_err());
                std::future::ready((!is_over).then_some(answer))
            });
            let stopping = super::super::stopped(self.shared.context.stopping.clone());
            Ok(Box::pin(answers.take_until(stopping)) as Self::KeepAliveStream)
        })
        .await
    }

    async fn destroy(
        &self,
        request: Request<v1::DestroySessionRequest>,
    ) -> Answer<v1::DestroySessionResponse> {
        self.call("Session.Destroy", Right::Data, request, |destroy, deadline| async move {
            let tag = shape::tag(destroy.tag)?;
            let Some(session) = SessionId::parse(&destroy.id) else {
                return Ok(v1::DestroySessionResponse { existed: false });
            };
            match self.propose(Command::DestroySession { session }, tag, deadline).await? {
                Outcome::Deleted { existed } => Ok(v1::DestroySessionResponse { existed }),
                _ => Err(Refused::unexpected("destroying a session")),
            }
        })
        .await
    }

    async fn get(&self, request: Request<v1::GetSessionRequest>) -> Answer<v1::GetSessionResponse> {
        self.call("Session.Get", Right::Data, request, |get, deadline| async move {
            let consistency = shape::consistency(get.consistency)?;
            let id = SessionId::parse(&get.id);
            let read = self
                .handle()
                .read(consistency, deadline, move |state| {
                    let found = id.map(|id| state.session(id)).transpose()?.flatten();
                    Ok((found, state.sessions_index()))
                })
                .await?;
            let mark = mark(&read, consistency, read.value.1);
            Ok(v1::GetSessionResponse { session: read.value.0.map(info), mark: Some(mark) })
        })
        .await
    }

    async fn list(&self, request: Request<v1::ListSessionsRequest>) -> Answer<v1::ListSessionsResponse> {
        self.call("Session.List", Right::Data, request, |list, deadline| async move {
            let consistency = shape::consistency(list.consistency)?;
            let after = match list.after.as_str() {
                "" => None,
                id => Some(SessionId::parse(id).ok_or_else(|| {
                    Refused::field("after", "after is no session's ID: pass the last one of the page before")
                })?),
            };
            let read = self.handle().read(consistency, deadline, State::sessions).await?;
            let mark = mark(&read, consistency, read.value.index);
            let rest = read.value.sessions.into_iter().filter(|session| Some(session.spec.id) > after);
            let mut sessions: Vec<_> = rest.take(LIST_ROWS_MAX as usize + 1).map(info).collect();
            let has_more = sessions.len() > LIST_ROWS_MAX as usize;
            sessions.truncate(LIST_ROWS_MAX as usize);
            Ok(v1::ListSessionsResponse { sessions, has_more, mark: Some(mark) })
        })
        .await
    }
}

/// A renewal, by the text of its session.
async fn renew_once(
    handle: &Handle,
    id: &str,
    deadline: Instant,
) -> Result<v1::RenewSessionResponse, Refused> {
    let renewed = match SessionId::parse(id) {
        Some(id) => handle.renew_session(id, deadline).await?,
        None => None,
    };
    let session = renewed.map(info);
    let valid_for_ms = session.as_ref().map_or(0, |session| session.ttl_ms);
    Ok(v1::RenewSessionResponse { session, valid_for_ms })
}

impl Service {
    fn spec(&self, create: v1::CreateSessionRequest) -> Result<SessionSpec, Refused> {
        let behavior = match v1::SessionBehavior::try_from(create.behavior) {
            Ok(v1::SessionBehavior::Release) => Behavior::Release,
            Ok(v1::SessionBehavior::Delete) => Behavior::Delete,
            Err(_) => {
                let message =
                    format!("behavior {} is unknown: use RELEASE (0) or DELETE (1)", create.behavior);
                return Err(Refused::field("behavior", message));
            }
        };
        let duration = Duration::from_millis(create.ttl_ms);
        let text = if duration.is_zero() { String::new() } else { format_duration(duration) };
        Ok(SessionSpec {
            id: SessionId::from_random(rand::random()),
            name: create.name,
            node: self.shared.context.name.to_string(),
            behavior,
            ttl: Ttl { duration, text },
            lock_delay: create.lock_delay_ms.map_or(LOCK_DELAY_DEFAULT, Duration::from_millis),
            checks: SessionChecks::default(),
        })
    }
}

fn info(session: Session) -> v1::SessionInfo {
    let behavior = match session.spec.behavior {
        Behavior::Release => v1::SessionBehavior::Release,
        Behavior::Delete => v1::SessionBehavior::Delete,
    };
    v1::SessionInfo {
        id: session.spec.id.to_string(),
        name: session.spec.name,
        node: session.spec.node,
        behavior: behavior.into(),
        ttl_ms: shape::millis(session.spec.ttl.duration),
        lock_delay_ms: shape::millis(session.spec.lock_delay),
        create_index: session.create_index.0,
    }
}
