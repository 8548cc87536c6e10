//! `quorate.v1.Membership`: for the operator; changes are the leader's to make (K13).

use quorate_api::v1::{self, membership_server::Membership};
use quorate_autopilot::NodeStatus;
use quorate_raft::{Change, Index, RaftId, RemoveReason, Term};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Service;
use super::refused::Refused;
use super::shape;
use crate::autopilot::{Conclusion, Facts, MemberFact};
use crate::limits::FACTS_MAX;
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Membership for Service {
    async fn list(&self, request: Request<v1::ListMembersRequest>) -> Answer<v1::ListMembersResponse> {
        self.call("Membership.List", Right::Picture, request, |_, _| async move {
            let view = self.handle().view();
            let leader = view.status.leader.as_ref();
            Ok(v1::ListMembersResponse {
                latest: view.status.latest.as_ref().map(shape::configuration),
                committed: view.status.committed.as_ref().map(shape::configuration),
                term: view.status.term.0,
                leader_raft_id: leader.map(|leader| leader.id.raft_id.to_string()).unwrap_or_default(),
            })
        })
        .await
    }

    async fn bootstrap(&self, request: Request<v1::BootstrapRequest>) -> Answer<v1::BootstrapResponse> {
        self.call("Membership.Bootstrap", Right::Admin, request, |bootstrap, deadline| async move {
            let cluster_id = shape::cluster_id(&bootstrap.cluster_id)?;
            let server = shape::server_id("id", bootstrap.id)?;
            let mode = shape::mode(bootstrap.mode)?;
            let index = self.handle().bootstrap(cluster_id, server, mode, deadline).await?;
            Ok(v1::BootstrapResponse { configuration_index: index.0 })
        })
        .await
    }

    async fn add_non_voter(&self, request: Request<v1::AddNonVoterRequest>) -> Answer<v1::ChangeResponse> {
        self.call("Membership.AddNonVoter", Right::Membership, request, |add, deadline| async move {
            let id = shape::server_id("id", add.id)?;
            let address = shape::address(&add.address)?;
            let intent = shape::intent(add.intent)?;
            let versions = shape::versions(add.version_min, add.version_max)?;
            let change = Change::AddNonVoter { id, address, intent, versions };
            self.change(change, add.expected_configuration_index, deadline).await
        })
        .await
    }

    async fn promote(&self, request: Request<v1::PromoteRequest>) -> Answer<v1::ChangeResponse> {
        self.call("Membership.Promote", Right::Membership, request, |promote, deadline| async move {
            let id = shape::server_id("id", promote.id)?;
            let stable_in_term = self.stable_in(&id)?;
            let change = Change::Promote { id, stable_in_term };
            self.change(change, promote.expected_configuration_index, deadline).await
        })
        .await
    }

    async fn demote(&self, request: Request<v1::DemoteRequest>) -> Answer<v1::ChangeResponse> {
        self.call("Membership.Demote", Right::Membership, request, |demote, deadline| async move {
            let id = shape::server_id("id", demote.id)?;
            self.change(Change::Demote { id }, demote.expected_configuration_index, deadline).await
        })
        .await
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Answer<v1::ChangeResponse> {
        self.call("Membership.Remove", Right::Membership, request, |remove, deadline| async move {
            let reason = match remove.reason() {
                v1::RemoveReason::Requested => RemoveReason::Requested,
                v1::RemoveReason::Dead => RemoveReason::Dead,
                v1::RemoveReason::VolumeLost => RemoveReason::VolumeLost,
                v1::RemoveReason::Unspecified => {
                    return Err(Refused::field(
                        "reason",
                        "reason is missing: say REQUESTED, DEAD or VOLUME_LOST; nothing was changed",
                    ));
                }
            };
            let id = shape::server_id("id", remove.id)?;
            self.change(Change::Remove { id, reason }, remove.expected_configuration_index, deadline).await
        })
        .await
    }

    async fn replace(&self, request: Request<v1::ReplaceRequest>) -> Answer<v1::ChangeResponse> {
        self.call("Membership.Replace", Right::Membership, request, |replace, deadline| async move {
            let old = shape::server_id("old", replace.old)?;
            let new = shape::server_id("new", replace.new)?;
            let (stable_in_term, old_has_left) = (self.stable_in(&new)?, self.has_left(&old));
            let change = Change::Replace { old, new, stable_in_term, old_has_left };
            self.change(change, replace.expected_configuration_index, deadline).await
        })
        .await
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Answer<v1::RecoverResponse> {
        self.call("Membership.Recover", Right::Admin, request, |recover, _| async move {
            let request = shape::recovery(&recover)?;
            let view = self.handle().view();
            let found = view.identity.recovery_epoch;
            let latest = view.status.latest.as_ref().map(|latest| &latest.configuration);
            let checked = request.check(&view.identity.server, found, latest, view.status.last);
            if checked.map_err(|refusal| Refused::unrecoverable(&refusal))?.is_some() {
                if let Some(leader) = &view.status.leader {
                    return Err(Refused::quorum_is_there(&leader.id));
                }
                self.shared.context.recovery.send_replace(Some(request));
            }
            Ok(v1::RecoverResponse { recovery_epoch: found.0 })
        })
        .await
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Answer<v1::TransferLeadershipResponse> {
        self.call("Membership.TransferLeadership", Right::Admin, request, |transfer, deadline| async move {
            let target = Some(transfer.target_raft_id).filter(|target| !target.is_empty());
            let target = target
                .map(|target| RaftId::new(&target))
                .transpose()
                .map_err(|error| Refused::field("target_raft_id", format!("{error}; nothing was changed")))?;
            self.handle().transfer_leadership(target, deadline).await?;
            let leader = self.handle().view().status.leader.clone();
            Ok(v1::TransferLeadershipResponse {
                leader_raft_id: leader.map(|leader| leader.id.raft_id.to_string()).unwrap_or_default(),
            })
        })
        .await
    }

    async fn report_facts(
        &self,
        request: Request<v1::ReportFactsRequest>,
    ) -> Answer<v1::ReportFactsResponse> {
        self.call("Membership.ReportFacts", Right::Admin, request, |report, _| async move {
            if !self.handle().view().is_leader() {
                return Err(Refused::not_leader("what becomes of facts"));
            }
            if report.members.len() > FACTS_MAX {
                return Err(Refused::field(
                    "members",
                    format!(
                        "{} members are reported, the limit is {FACTS_MAX} (FACTS_MAX): report those of this cluster only; not kept",
                        report.members.len()
                    ),
                ));
            }
            let members: Result<Vec<_>, Refused> = report
                .members
                .into_iter()
                .map(|fact| {
                    let id = shape::server_id("members.id", fact.id)?;
                    let (has_left, name, node, zone) = (fact.has_left, fact.name, fact.node, fact.zone);
                    Ok((id, MemberFact { has_left, name, node, zone }))
                })
                .collect();
            let facts = Facts::new(report.declared_replicas, members?).outdated(report.has_outdated_members);
            self.shared.context.autopilot.report(facts);
            Ok(v1::ReportFactsResponse {})
        })
        .await
    }
}

impl Service {
    async fn change(
        &self,
        change: Change,
        expected: u64,
        deadline: Instant,
    ) -> Result<v1::ChangeResponse, Refused> {
        if expected == 0 {
            return Err(Refused::field(
                "expected_configuration_index",
                "expected_configuration_index is missing: list the members and pass the index this change was decided on; nothing was changed",
            ));
        }
        let index = self.handle().change_membership(Index(expected), change, deadline).await?;
        Ok(v1::ChangeResponse { configuration_index: index.0 })
    }

    /// Whether it was declared to go, by a report that still counts (K15).
    fn has_left(&self, id: &quorate_raft::ServerId) -> bool {
        let conclusion = self.shared.context.autopilot.conclusion();
        let status = |conclusion: &Conclusion| conclusion.state.server(id).map(|server| server.status);
        conclusion.as_deref().and_then(status) == Some(NodeStatus::Left)
    }

    /// The term in which autopilot judged the server stable; the core checks it against its own (K13).
    fn stable_in(&self, id: &quorate_raft::ServerId) -> Result<Term, Refused> {
        let conclusion = self.shared.context.autopilot.conclusion();
        let Some(conclusion) = conclusion else {
            return Err(Refused::not_leader("who is stable"));
        };
        let state = &conclusion.state;
        let healthy_for = state.server(id).and_then(|server| server.health.healthy_for(state.at));
        let needed = conclusion.settings.server_stabilization_time;
        if healthy_for.is_some_and(|healthy_for| healthy_for >= needed) {
            return Ok(state.term);
        }
        Err(quorate_raft::Refusal::NotStable { id: id.clone() }.into())
    }
}
