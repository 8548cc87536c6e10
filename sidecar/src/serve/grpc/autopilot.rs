//! `quorate.v1.Autopilot`.

use std::time::Duration;

use quorate_api::v1::{self, autopilot_server::Autopilot};
use quorate_autopilot::{BlockedReason, ServerRole, ServerState, Settings, SettingsChange, State};
use quorate_machine::{ApiIndex, AutopilotRecord, Command, Outcome, SettingsMode};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Service;
use super::refused::Refused;
use super::shape::{self, millis};
use crate::autopilot::Conclusion;
use crate::driver::Consistency;
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Autopilot for Service {
    async fn get_state(&self, request: Request<v1::GetAutopilotStateRequest>) -> Answer<v1::AutopilotState> {
        self.call("Autopilot.GetState", Right::Picture, request, |_, _| async move {
            let conclusion = self.shared.context.autopilot.conclusion();
            conclusion.map(|conclusion| state(&conclusion)).ok_or_else(|| Refused::not_leader("health"))
        })
        .await
    }

    async fn get_configuration(
        &self,
        request: Request<v1::GetAutopilotConfigurationRequest>,
    ) -> Answer<v1::AutopilotConfiguration> {
        self.call("Autopilot.GetConfiguration", Right::Picture, request, |_, deadline| async move {
            let record = self.record(deadline).await?;
            let settings = Settings::new(&record.settings, &self.shared.context.autopilot.defaults());
            Ok(v1::AutopilotConfiguration {
                cleanup_dead_servers: settings.cleanup_dead_servers,
                last_contact_threshold_ms: millis(settings.last_contact_threshold),
                dead_server_last_contact_threshold_ms: millis(settings.dead_server_last_contact_threshold),
                max_trailing_logs: settings.max_trailing_logs,
                min_quorum: settings.min_quorum,
                server_stabilization_time_ms: millis(settings.server_stabilization_time),
                create_index: record.create_index.0,
                modify_index: record.modify_index.0,
            })
        })
        .await
    }

    async fn set_configuration(
        &self,
        request: Request<v1::SetAutopilotConfigurationRequest>,
    ) -> Answer<v1::SetAutopilotConfigurationResponse> {
        self.call("Autopilot.SetConfiguration", Right::Admin, request, |set, deadline| async move {
            self.set_settings(&set, deadline).await
        })
        .await
    }
}

impl Service {
    async fn record(&self, deadline: Instant) -> Result<AutopilotRecord, Refused> {
        let read = self
            .handle()
            .read(Consistency::Linearizable, deadline, |state| Ok(state.meta().autopilot.clone()))
            .await?;
        Ok(read.value)
    }

    /// The merged settings are checked as a whole (A20) and proposed only onto those they were checked with.
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
        let record = self.record(deadline).await?;
        if set.expected_modify_index.is_some_and(|expected| expected != record.modify_index.0) {
            return Ok(settings_response(false, record.modify_index));
        }
        quorate_autopilot::validate(
            &record.settings.merged(&change),
            &self.shared.context.autopilot.defaults(),
        )
        .map_err(|invalid| Refused::field("", format!("{invalid}; nothing was changed")))?;
        let expected = Some(record.modify_index);
        let command = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected };
        match self.propose(command, None, deadline).await? {
            Outcome::Written { modify_index } => Ok(settings_response(true, modify_index)),
            Outcome::Mismatch { modify_index } => {
                Ok(settings_response(false, modify_index.unwrap_or(ApiIndex::MISSING)))
            }
            _ => Err(Refused::unexpected("a change of settings")),
        }
    }
}

fn settings_response(succeeded: bool, modify_index: ApiIndex) -> v1::SetAutopilotConfigurationResponse {
    v1::SetAutopilotConfigurationResponse { succeeded, modify_index: modify_index.0 }
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
        ..SettingsChange::default()
    }
}

/// Autopilot's picture as the wire has it; also part of the operator's view.
pub(super) fn state(conclusion: &Conclusion) -> v1::AutopilotState {
    let state = &conclusion.state;
    let leader_last = leader_last(state);
    v1::AutopilotState {
        is_healthy: state.is_healthy,
        failure_tolerance: u32::try_from(state.failure_tolerance).unwrap_or(u32::MAX),
        leader_raft_id: state.leader.as_ref().map(|leader| leader.raft_id.to_string()).unwrap_or_default(),
        servers: state.servers.iter().map(|server| server_state(conclusion, server, leader_last)).collect(),
        is_quorum_lost: state.is_quorum_lost,
        blocked: state
            .blocked
            .iter()
            .map(|blocked| v1::BlockedAction {
                server: Some(shape::wire_id(&blocked.server)),
                action: blocked.action.as_str().to_owned(),
                reason: blocked.reason.as_str().to_owned(),
                message: blocked.message(&name(conclusion, &blocked.server)),
                blocked_for_ms: millis(state.at.since(blocked.since)),
            })
            .collect(),
        configuration_index: state.configuration_index.0,
    }
}

/// What people call a server: its Pod, if the operator said.
fn name(conclusion: &Conclusion, id: &quorate_raft::ServerId) -> String {
    let fact = conclusion.facts.of(id).filter(|fact| !fact.name.is_empty());
    fact.map_or_else(|| id.raft_id.to_string(), |fact| fact.name.clone())
}

fn leader_last(state: &State) -> u64 {
    let leader = state.servers.iter().find(|server| server.role == ServerRole::Leader);
    leader.map_or(0, |leader| leader.stats.last.index.0)
}

fn server_state(conclusion: &Conclusion, server: &ServerState, leader_last: u64) -> v1::ServerState {
    let state = &conclusion.state;
    let suffrage = if server.role.has_vote() { v1::Suffrage::Voter } else { v1::Suffrage::NonVoter };
    let intent = shape::wire_intent(&server.intent);
    let healthy_for = server.health.healthy_for(state.at);
    let vote_in = state.blocked.iter().find(|blocked| blocked.server == server.id).and_then(|blocked| {
        match blocked.reason {
            BlockedReason::Stabilizing { missing, .. } => Some(missing),
            _ => None,
        }
    });
    v1::ServerState {
        server: Some(v1::Server {
            id: Some(shape::wire_id(&server.id)),
            address: server.address.to_string(),
            suffrage: suffrage.into(),
            intent: Some(intent),
        }),
        is_leader: server.role == ServerRole::Leader,
        is_healthy: server.health.is_healthy,
        reason: server.health.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
        healthy_for_ms: healthy_for.map(millis),
        vote_in_ms: vote_in.map(millis),
        last_contact_ms: server.stats.last_contact.map(millis),
        last_index: server.stats.last.index.0,
        last_term: server.stats.last.term.0,
        trailing: leader_last.saturating_sub(server.stats.last.index.0),
        is_dead: server.is_dead,
        snapshot: server.stats.snapshot.map(|snapshot| v1::SnapshotProgress {
            bytes_sent: snapshot.sent_bytes,
            bytes_total: snapshot.total_bytes,
        }),
    }
}
