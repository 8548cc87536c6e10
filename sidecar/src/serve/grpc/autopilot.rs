//! `quorate.v1.Autopilot`.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use quorate_api::v1::{self, autopilot_server::Autopilot};
use quorate_autopilot::{InvalidSettings, SettingsChange};
use quorate_machine::ApiIndex;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::Service;
use super::refused::Refused;
use super::shape::millis;
use crate::autopilot::{SetError, SetOutcome, blamed_field, picture};
use crate::driver::Consistency;
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;
type States = Pin<Box<dyn Stream<Item = Result<v1::AutopilotState, Status>> + Send>>;

#[tonic::async_trait]
impl Autopilot for Service {
    async fn get_state(&self, request: Request<v1::GetAutopilotStateRequest>) -> Answer<v1::AutopilotState> {
        self.call("Autopilot.GetState", Right::Picture, request, |_, deadline| async move {
            Ok(self.shared.context.autopilot.picture(deadline).await?)
        })
        .await
    }

    type WatchStateStream = States;

    async fn watch_state(&self, request: Request<v1::WatchAutopilotStateRequest>) -> Answer<States> {
        self.call("Autopilot.WatchState", Right::Picture, request, |_, _| async move {
            let autopilot = self.shared.context.autopilot.clone();
            if !self.handle().view().is_leader() {
                return Err(Refused::not_leader("autopilot's state"));
            }
            let handle = self.handle().clone();
            let states = WatchStream::new(autopilot.watch())
                // The first round of a new leader is still to come.
                .skip_while(|latest| std::future::ready(latest.is_none()))
                .map(move |latest| match latest {
                    Some(conclusion) => Ok(picture(&conclusion)),
                    None => Err(Refused::not_leader("autopilot's state").into_status(&handle.view())),
                });
            let stopping = crate::serve::stopped(self.shared.context.stopping.clone());
            Ok(Box::pin(until_error(states).take_until(stopping)) as States)
        })
        .await
    }

    async fn get_configuration(
        &self,
        request: Request<v1::GetAutopilotConfigurationRequest>,
    ) -> Answer<v1::AutopilotConfiguration> {
        self.call("Autopilot.GetConfiguration", Right::Picture, request, |_, deadline| async move {
            let found =
                self.shared.context.autopilot.configuration(Consistency::Linearizable, deadline).await?;
            let settings = found.settings;
            Ok(v1::AutopilotConfiguration {
                cleanup_dead_servers: settings.cleanup_dead_servers,
                last_contact_threshold_ms: millis(settings.last_contact_threshold),
                dead_server_last_contact_threshold_ms: millis(settings.dead_server_last_contact_threshold),
                max_trailing_logs: settings.max_trailing_logs,
                min_quorum: settings.min_quorum,
                server_stabilization_time_ms: millis(settings.server_stabilization_time),
                redundancy_zone_tag: settings.redundancy_zone_tag,
                upgrade_version_tag: settings.upgrade_version_tag,
                disable_upgrade_migration: settings.disable_upgrade_migration,
                create_index: found.create_index.0,
                modify_index: found.modify_index.0,
            })
        })
        .await
    }

    async fn set_configuration(
        &self,
        request: Request<v1::SetAutopilotConfigurationRequest>,
    ) -> Answer<v1::SetAutopilotConfigurationResponse> {
        self.call("Autopilot.SetConfiguration", Right::Settings, request, |set, deadline| async move {
            self.set_settings(&set, deadline).await
        })
        .await
    }
}

/// An error is the last item.
fn until_error(
    states: impl Stream<Item = Result<v1::AutopilotState, Status>> + Send,
) -> impl Stream<Item = Result<v1::AutopilotState, Status>> + Send {
    states.scan(false, |is_over, state| {
        let next = (!*is_over).then_some(state);
        *is_over = next.as_ref().is_some_and(Result::is_err);
        std::future::ready(next)
    })
}

impl Service {
    async fn set_settings(
        &self,
        set: &v1::SetAutopilotConfigurationRequest,
        deadline: Instant,
    ) -> Result<v1::SetAutopilotConfigurationResponse, Refused> {
        let change = change(set);
        if change == SettingsChange::default() {
            return Err(Refused::field(
                "",
                "no setting is given: set at least one field; nothing was changed",
            ));
        }
        let expected = set.expected_modify_index.map(ApiIndex);
        let autopilot = &self.shared.context.autopilot;
        let outcome = autopilot.set_configuration(|_| change.clone(), expected, deadline).await;
        let (succeeded, modify_index) = match outcome {
            Ok(SetOutcome::Set(modify_index)) => (true, modify_index.0),
            Ok(SetOutcome::Mismatch(modify_index)) => (false, modify_index.0),
            Err(SetError::Invalid(invalid)) => {
                return Err(Refused::field(field(&invalid), format!("{invalid}; nothing was changed")));
            }
            Err(SetError::Call(error)) => return Err(error.into()),
        };
        Ok(v1::SetAutopilotConfigurationResponse { succeeded, modify_index })
    }
}

/// The field to blame as this API spells it.
fn field(invalid: &InvalidSettings) -> &'static str {
    match blamed_field(invalid) {
        "last_contact_threshold" => "last_contact_threshold_ms",
        "dead_server_last_contact_threshold" => "dead_server_last_contact_threshold_ms",
        "server_stabilization_time" => "server_stabilization_time_ms",
        other => other,
    }
}

pub(super) fn change(set: &v1::SetAutopilotConfigurationRequest) -> SettingsChange {
    SettingsChange {
        cleanup_dead_servers: set.cleanup_dead_servers,
        last_contact_threshold: set.last_contact_threshold_ms.map(Duration::from_millis),
        dead_server_last_contact_threshold: set
            .dead_server_last_contact_threshold_ms
            .map(Duration::from_millis),
        max_trailing_logs: set.max_trailing_logs,
        min_quorum: set.min_quorum,
        server_stabilization_time: set.server_stabilization_time_ms.map(Duration::from_millis),
        redundancy_zone_tag: set.redundancy_zone_tag.clone(),
        upgrade_version_tag: set.upgrade_version_tag.clone(),
        disable_upgrade_migration: set.disable_upgrade_migration,
    }
}
