//! The calls that change something, each made once: a call whose outcome is unknown is settled by the next round's
//! view, never by repeating it here.

use std::time::Duration;

use quorate_api::v1;
use quorate_api::v1::autopilot_client::AutopilotClient;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::membership_client::MembershipClient;
use quorate_crds::ApplicationMode;
use quorate_plan::plan::RemoveReason;
use quorate_plan::raft_view::{AutopilotSettings, Intent};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::convert;
use super::dial::{Dialer, MemberAddress};
use crate::limits::{CHANGE_TIMEOUT, CLEANUP_QUORUM_MIN};

/// Why a call did not succeed, in the member's own words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The member answered with a refusal, or could not be reached.
    #[error("{what} was not done by {raft_id}: {why}")]
    Refused {
        /// The call.
        what: &'static str,
        /// Who was asked.
        raft_id: String,
        /// The answer.
        why: String,
    },
    /// No answer in time.
    #[error("{what} was not answered by {raft_id} within {} s: outcome unknown, the next look will tell",
            CHANGE_TIMEOUT.as_secs())]
    Unanswered {
        /// The call.
        what: &'static str,
        /// Who was asked.
        raft_id: String,
    },
}

/// A member that was dialled, meant to be the leader (for `bootstrap`: the founder).
pub(crate) struct Leader {
    raft_id: String,
    channel: Channel,
}

impl Leader {
    pub(crate) async fn dial(dialer: &Dialer, member: &MemberAddress) -> Result<Self, ChangeError> {
        let raft_id = member.raft_id.clone();
        let channel = call("dialling", &raft_id, dialer.dial(member)).await?;
        Ok(Self { raft_id, channel })
    }

    /// K2: the same triple, for the same mode (K22), again is answered with success.
    pub(crate) async fn bootstrap(
        &self,
        cluster_id: &str,
        incarnation: &str,
        mode: ApplicationMode,
    ) -> Result<(), ChangeError> {
        let request = v1::BootstrapRequest {
            mode: match mode {
                ApplicationMode::KeyValue => v1::Mode::KeyValue,
                ApplicationMode::Log => v1::Mode::Log,
            }
            .into(),
            cluster_id: cluster_id.to_owned(),
            id: Some(id(&self.raft_id, incarnation)),
        };
        self.call("Bootstrap", self.membership().bootstrap(request)).await
    }

    /// K18: a member at that epoch already answers the same.
    pub(crate) async fn recover(&self, epoch: u64, lost: &[String]) -> Result<(), ChangeError> {
        let request = v1::RecoverRequest { epoch, lost_raft_ids: lost.to_vec() };
        self.call("Recover", self.membership().recover(request)).await
    }

    pub(crate) async fn add_non_voter(
        &self,
        server: (&str, &str),
        address: &str,
        intent: &Intent,
        (version_min, version_max): (u32, u32),
        expected_configuration_index: u64,
    ) -> Result<(), ChangeError> {
        let request = v1::AddNonVoterRequest {
            version_min,
            version_max,
            id: Some(id(server.0, server.1)),
            address: address.to_owned(),
            intent: Some(convert::intent_into(intent)),
            expected_configuration_index,
        };
        self.call("AddNonVoter", self.membership().add_non_voter(request)).await
    }

    pub(crate) async fn remove(
        &self,
        server: (&str, &str),
        reason: RemoveReason,
        expected_configuration_index: u64,
    ) -> Result<(), ChangeError> {
        let reason = match reason {
            RemoveReason::VolumeLost => v1::RemoveReason::VolumeLost,
            RemoveReason::ScaleIn | RemoveReason::Lagging => v1::RemoveReason::Requested,
        };
        let request = v1::RemoveRequest {
            id: Some(id(server.0, server.1)),
            reason: reason as i32,
            expected_configuration_index,
        };
        self.call("Remove", self.membership().remove(request)).await
    }

    pub(crate) async fn transfer_leadership(&self, to: &str) -> Result<(), ChangeError> {
        let request = v1::TransferLeadershipRequest { target_raft_id: to.to_owned() };
        self.call("TransferLeadership", self.membership().transfer_leadership(request)).await
    }

    /// Whether it leads, and in this term: a step is made only by the leader whose view it was decided on (I3).
    pub(crate) async fn leads_in(&self, term: u64) -> Result<bool, ChangeError> {
        let mut client = ClusterClient::new(self.channel.clone());
        let status = call("Status", &self.raft_id, client.status(v1::StatusRequest {})).await?.into_inner();
        Ok(status.role == v1::Role::Leader as i32 && status.term == term)
    }

    pub(crate) async fn report_facts(&self, facts: v1::ReportFactsRequest) -> Result<(), ChangeError> {
        self.call("ReportFacts", self.membership().report_facts(facts)).await
    }

    pub(crate) async fn set_autopilot(&self, settings: &AutopilotSettings) -> Result<(), ChangeError> {
        let request = v1::SetAutopilotConfigurationRequest {
            last_contact_threshold_ms: Some(millis(settings.last_contact_threshold)),
            dead_server_last_contact_threshold_ms: Some(millis(settings.dead_server_last_contact_threshold)),
            max_trailing_logs: Some(settings.max_trailing_logs),
            server_stabilization_time_ms: Some(millis(settings.server_stabilization_time)),
            min_quorum: Some(settings.min_quorum),
            // A20 asks for a quorum of 3 where dead servers are removed. With fewer members declared none can be (K27).
            cleanup_dead_servers: Some(settings.min_quorum >= CLEANUP_QUORUM_MIN),
            redundancy_zone_tag: Some(settings.redundancy_zone_tag.clone()),
            upgrade_version_tag: Some(settings.upgrade_version_tag.clone()),
            disable_upgrade_migration: Some(settings.disable_upgrade_migration),
            ..v1::SetAutopilotConfigurationRequest::default()
        };
        let mut client = AutopilotClient::new(self.channel.clone());
        self.call("SetConfiguration", async move { client.set_configuration(request).await }).await
    }

    fn membership(&self) -> MembershipClient<Channel> {
        MembershipClient::new(self.channel.clone())
    }

    async fn call<T>(
        &self,
        what: &'static str,
        future: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<(), ChangeError> {
        call(what, &self.raft_id, future).await.map(|_| ())
    }
}

async fn call<T>(
    what: &'static str,
    raft_id: &str,
    future: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, ChangeError> {
    match timeout(CHANGE_TIMEOUT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(status)) => Err(ChangeError::Refused {
            what,
            raft_id: raft_id.to_owned(),
            why: if status.message().is_empty() {
                status.code().to_string()
            } else {
                status.message().to_owned()
            },
        }),
        Err(_) => Err(ChangeError::Unanswered { what, raft_id: raft_id.to_owned() }),
    }
}

fn id(raft_id: &str, incarnation: &str) -> v1::ServerId {
    v1::ServerId { raft_id: raft_id.to_owned(), incarnation: incarnation.to_owned() }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
