//! `quorate.v1.Cluster`: pictures, and the whole state as an archive, out and in.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use quorate_api::v1::{self, cluster_server::Cluster};
use quorate_raft::{LogId, Membership, Role};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use super::shape::{self, millis};
use crate::autopilot::picture;
use crate::driver::{self, Consistency, View};
use crate::serve::archive;
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Cluster for Service {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.call("Cluster.Status", Right::Status, request, |_, _| async move { Ok(self.member_status()) })
            .await
    }

    async fn view(&self, request: Request<v1::ViewRequest>) -> Answer<v1::ViewResponse> {
        self.call("Cluster.View", Right::Picture, request, |_, deadline| async move {
            // Everything below is at least as new as the round this began (K32).
            let status = self.handle().verify_leader(deadline).await?;
            let view = self.handle().view();
            // A conclusion of an earlier leadership says nothing about this one.
            let conclusion =
                self.shared.context.autopilot.conclusion().filter(|made| made.state.term == status.term);
            Ok(v1::ViewResponse {
                leader: Some(shape::wire_id(&view.identity.server)),
                cluster_id: view.identity.cluster_id.to_string(),
                recovery_epoch: view.identity.recovery_epoch.0,
                term: status.term.0,
                latest: status.latest.as_ref().map(shape::configuration),
                committed: status.committed.as_ref().map(shape::configuration),
                is_change_in_flight: status.is_changing(),
                is_ready: status.is_ready,
                autopilot: conclusion.map(|conclusion| picture(&conclusion)),
                commit_index: status.commit.0,
                last_index: status.last.index.0,
                is_space_low: view.is_space_low,
            })
        })
        .await
    }

    async fn verify_leader(
        &self,
        request: Request<v1::VerifyLeaderRequest>,
    ) -> Answer<v1::VerifyLeaderResponse> {
        self.call("Cluster.VerifyLeader", Right::Picture, request, |_, deadline| async move {
            let status = self.handle().verify_leader(deadline).await?;
            Ok(v1::VerifyLeaderResponse { term: status.term.0 })
        })
        .await
    }

    async fn barrier(&self, request: Request<v1::BarrierRequest>) -> Answer<v1::BarrierResponse> {
        self.call("Cluster.Barrier", Right::Data, request, |_, deadline| async move {
            let index = self.handle().barrier(deadline).await?;
            Ok(v1::BarrierResponse { index: index.0 })
        })
        .await
    }

    type WatchLeadershipStream = Pin<Box<dyn Stream<Item = Result<v1::Leadership, Status>> + Send>>;

    async fn watch_leadership(
        &self,
        request: Request<v1::WatchLeadershipRequest>,
    ) -> Answer<Self::WatchLeadershipStream> {
        self.call("Cluster.WatchLeadership", Right::Picture, request, |_, _| async move {
            let changes =
                WatchStream::new(self.handle().watch_leadership()).map(|seen| Ok(leadership(&seen)));
            let stopping = super::super::stopped(self.shared.context.stopping.clone());
            let until_stopped = futures::StreamExt::take_until(changes, stopping);
            Ok(Box::pin(until_stopped) as Self::WatchLeadershipStream)
        })
        .await
    }

    async fn restore(&self, request: Request<Streaming<v1::RestoreRequest>>) -> Answer<v1::RestoreResponse> {
        self.call("Cluster.Restore", Right::Admin, request, |parts, _| async move {
            let body = parts.map(|part| part.map(|part| part.data));
            let restored = archive::restore(self.handle(), body).await?;
            Ok(v1::RestoreResponse { index: restored.index.0, api_index: restored.api_index })
        })
        .await
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<v1::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, request: Request<v1::SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        self.call("Cluster.Snapshot", Right::Data, request, |request, deadline| async move {
            let consistency = if request.is_stale { Consistency::Stale } else { Consistency::Linearizable };
            let snapshot = self.handle().snapshot(consistency, deadline).await?;
            let header = snapshot.file.header();
            let info = v1::ArchiveInfo {
                term: header.last.term.0,
                index: header.last.index.0,
                api_index: header.last.index.0 + header.index_base,
            };
            let first = v1::SnapshotResponse { info: Some(info), data: Bytes::new() };
            let data = archive::stream(snapshot).map(|chunk| match chunk {
                Ok(data) => Ok(v1::SnapshotResponse { info: None, data }),
                Err(error) => Err(Status::data_loss(format!("the archive broke off: {error}; ask again"))),
            });
            Ok(Box::pin(tokio_stream::once(Ok(first)).chain(data)) as Self::SnapshotStream)
        })
        .await
    }
}

impl Service {
    fn member_status(&self) -> v1::StatusResponse {
        let view = self.handle().view();
        let (status, context) = (&view.status, &self.shared.context);
        v1::StatusResponse {
            id: Some(shape::wire_id(&view.identity.server)),
            cluster_id: view.identity.cluster_id.to_string(),
            recovery_epoch: view.identity.recovery_epoch.0,
            version_min: view.identity.versions.min.0,
            version_max: view.identity.versions.max.0,
            cluster_version: status.version.map_or(0, |version| version.0),
            name: context.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            zone: context.words.borrow().zone.clone(),
            member_state: member_state(&view).into(),
            role: role(status.role).into(),
            term: status.term.0,
            leader_raft_id: status
                .leader
                .as_ref()
                .map(|leader| leader.id.raft_id.to_string())
                .unwrap_or_default(),
            last_contact_ms: if view.is_leader() { Some(0) } else { view.leader_silence().map(millis) },
            last_term: status.last.term.0,
            last_index: status.last.index.0,
            commit_index: status.commit.0,
            applied_index: view.applied.index.0,
            durable_applied_index: view.durable_applied.index.0,
            is_ready: view.is_ready,
            is_space_low: view.is_space_low,
            configuration_index: status.latest.as_ref().map_or(0, |latest| latest.index.0),
            is_volume_lost: view.is_volume_lost,
            voter_raft_ids: status
                .latest
                .iter()
                .flat_map(|latest| latest.configuration.voters())
                .map(|voter| voter.id.raft_id.to_string())
                .collect(),
            publishing_error: self.shared.publishing_error(),
            credentials: context.credentials.borrow().hash().to_owned(),
        }
    }
}

fn member_state(view: &View) -> v1::MemberState {
    let status = &view.status;
    match status.membership {
        // No term, vote or log: the only state a cluster may be begun in (K2).
        Membership::NotYet if status.last == LogId::default() && status.term.0 == 0 => v1::MemberState::Empty,
        Membership::NotYet => v1::MemberState::Joining,
        Membership::NonVoter => v1::MemberState::NonVoter,
        Membership::Voter => v1::MemberState::Voter,
        Membership::Removed => v1::MemberState::Removed,
    }
}

fn role(role: Role) -> v1::Role {
    match role {
        Role::Follower => v1::Role::Follower,
        Role::PreCandidate => v1::Role::PreCandidate,
        Role::Candidate => v1::Role::Candidate,
        Role::Leader => v1::Role::Leader,
    }
}

fn leadership(seen: &driver::Leadership) -> v1::Leadership {
    v1::Leadership {
        number: seen.number,
        term: seen.term.0,
        leader_raft_id: seen.leader.as_ref().map(ToString::to_string).unwrap_or_default(),
        is_self: seen.is_self,
    }
}
