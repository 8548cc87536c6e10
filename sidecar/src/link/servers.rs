//! Calls about the servers of the cluster, one hop to the leader: what `driver::servers` asks for and answers.
//!
//! Not here: rights. Who may change membership was looked at by the member that was asked (K23); a peer is a member by its
//! certificate.

use quorate_api::peer::v1 as proto;
use quorate_raft::{Index, ServerId};
use tokio::time::{Instant, timeout_at};
use tonic::{Response, Status};

use super::leaders::{
    Leaders, error_from_wire, error_to_wire, is_refusal, refusal, unreachable, was_never_sent, with_deadline,
};
use crate::driver::{CallError, Effect, ErrorKind, ListedServer, ServerList, ServerName};

impl Leaders {
    pub(crate) async fn servers(
        &self,
        leader: &ServerId,
        deadline: Instant,
    ) -> Result<ServerList, CallError> {
        let mut client = self.client(leader, deadline).await?;
        let request = with_deadline(proto::ServersRequest { hello: Some(self.hello(leader)) }, deadline);
        let answer = self.answer(leader, deadline, Effect::NotApplied, client.servers(request)).await?;
        match answer.result {
            Some(proto::servers_response::Result::Servers(list)) => Ok(list_from_wire(list)),
            Some(proto::servers_response::Result::Error(error)) => Err(error_from_wire(error)),
            None => Err(unreachable(leader, "its answer is empty")),
        }
    }

    pub(crate) async fn remove_server(
        &self,
        leader: &ServerId,
        name: &ServerName,
        deadline: Instant,
    ) -> Result<Index, CallError> {
        let mut client = self.client(leader, deadline).await?;
        let server = Some(match name {
            ServerName::RaftId(name) => proto::remove_server_request::Server::RaftId(name.clone()),
            ServerName::Address(name) => proto::remove_server_request::Server::Address(name.clone()),
        });
        let request = proto::RemoveServerRequest { hello: Some(self.hello(leader)), server };
        let call = client.remove_server(with_deadline(request, deadline));
        match self.answer(leader, deadline, Effect::Unknown, call).await?.result {
            Some(proto::remove_server_response::Result::Index(index)) => Ok(Index(index)),
            Some(proto::remove_server_response::Result::Error(error)) => Err(error_from_wire(error)),
            None => Err(silent(leader, Effect::Unknown, ErrorKind::Unreachable, "its answer is empty")),
        }
    }

    pub(crate) async fn transfer_leadership(
        &self,
        leader: &ServerId,
        target: Option<&str>,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let mut client = self.client(leader, deadline).await?;
        let target_raft_id = target.unwrap_or_default().to_owned();
        let request = proto::TransferLeadershipRequest { hello: Some(self.hello(leader)), target_raft_id };
        let call = client.transfer_leadership(with_deadline(request, deadline));
        let answer = self.answer(leader, deadline, Effect::Unknown, call).await?;
        answer.error.map_or(Ok(()), |error| Err(error_from_wire(error)))
    }

    /// The answer to a call that is on its way; `lost` is what it may have done if none comes.
    async fn answer<T>(
        &self,
        leader: &ServerId,
        deadline: Instant,
        lost: Effect,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        match timeout_at(deadline, call).await {
            Err(_) => Err(silent(leader, lost, ErrorKind::Deadline, "the deadline passed")),
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) if is_refusal(&status) => Err(refusal(leader, &status)),
            Ok(Err(status)) => {
                self.forget(leader);
                if was_never_sent(&status) {
                    return Err(unreachable(leader, status.message()));
                }
                Err(silent(leader, lost, ErrorKind::Unreachable, status.message()))
            }
        }
    }
}

fn silent(leader: &ServerId, lost: Effect, kind: ErrorKind, why: &str) -> CallError {
    let begin = format!("the leader {} did not answer: {why}", leader.raft_id);
    match lost {
        Effect::NotApplied => CallError::not_applied(kind, format!("{begin}: ask again")),
        Effect::Unknown => CallError::unknown(
            kind,
            format!("{begin}: outcome unknown; list the servers to see what came of it"),
        ),
    }
}

fn list_from_wire(list: proto::ServerList) -> ServerList {
    let server = |server: proto::ListedServer| ListedServer {
        raft_id: server.raft_id,
        address: server.address,
        is_leader: server.is_leader,
        has_vote: server.has_vote,
        last_index: Index(server.last_index),
    };
    ServerList {
        index: Index(list.configuration_index),
        servers: list.servers.into_iter().map(server).collect(),
    }
}

fn list_to_wire(list: ServerList) -> proto::ServerList {
    let server = |server: ListedServer| proto::ListedServer {
        raft_id: server.raft_id,
        address: server.address,
        is_leader: server.is_leader,
        has_vote: server.has_vote,
        last_index: server.last_index.0,
    };
    proto::ServerList {
        configuration_index: list.index.0,
        servers: list.servers.into_iter().map(server).collect(),
    }
}

pub(super) fn servers_response(result: Result<ServerList, CallError>) -> proto::ServersResponse {
    let result = match result {
        Ok(list) => proto::servers_response::Result::Servers(list_to_wire(list)),
        Err(error) => proto::servers_response::Result::Error(error_to_wire(error)),
    };
    proto::ServersResponse { result: Some(result) }
}

/// Whom a request names.
pub(super) fn server_name(request: proto::RemoveServerRequest) -> Result<ServerName, Status> {
    match request.server {
        Some(proto::remove_server_request::Server::RaftId(name)) => Ok(ServerName::RaftId(name)),
        Some(proto::remove_server_request::Server::Address(name)) => Ok(ServerName::Address(name)),
        None => Err(Status::invalid_argument("server: missing")),
    }
}

pub(super) fn remove_server_response(result: Result<Index, CallError>) -> proto::RemoveServerResponse {
    let result = match result {
        Ok(index) => proto::remove_server_response::Result::Index(index.0),
        Err(error) => proto::remove_server_response::Result::Error(error_to_wire(error)),
    };
    proto::RemoveServerResponse { result: Some(result) }
}

pub(super) fn transfer_leadership_response(
    result: Result<(), CallError>,
) -> proto::TransferLeadershipResponse {
    proto::TransferLeadershipResponse { error: result.err().map(error_to_wire) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the leader lists is what whoever asked a follower reads.
    #[test]
    fn a_list_of_servers_is_the_same_after_the_hop() {
        let server = |raft_id: &str, is_leader| ListedServer {
            raft_id: raft_id.to_owned(),
            address: format!("{raft_id}:7400"),
            is_leader,
            has_vote: !is_leader,
            last_index: Index(41),
        };
        let list = ServerList { index: Index(7), servers: vec![server("a", true), server("b", false)] };
        assert_eq!(list_from_wire(list_to_wire(list.clone())), list);
    }
}
