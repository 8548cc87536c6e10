//! The port with TLS, and who may change the cluster through it (K23, K46, acceptance 11).

use std::net::SocketAddr;

use hyper_util::rt::TokioIo;
use prost::Message;
use quorate_api::san;
use quorate_api::v1::autopilot_client::AutopilotClient;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::membership_client::MembershipClient;
use quorate_api::v1::{self, ErrorCode, ErrorDetail, WriteOutcome};
use quorate_raft::Membership;
use quorate_sidecar::autopilot::DefaultSettings;
use quorate_sidecar::dev::{Authority, Cluster, ClusterOptions};
use quorate_sidecar::driver::View;
use quorate_sidecar::tls::{PeerIdentity, dial};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::http_client::{get, send};
use crate::{PATIENCE, cluster, follower};

/// A connection with the certificate of `name` to a member's TLS port.
async fn connect(cluster: &Cluster, member: usize, name: &str) -> Channel {
    let credentials = cluster.authority().issue(name).unwrap().credentials().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], cluster.ports(member).grpc_tls));
    let expected = PeerIdentity::new(cluster.cluster_id().0, format!("dev-{member}"));
    let connector = tower::service_fn(move |_| {
        let (credentials, expected) = (credentials.clone(), expected.clone());
        async move { dial(address, &credentials, expected).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://member").connect_with_connector(connector).await.unwrap()
}

fn detail(status: &Status) -> ErrorDetail {
    ErrorDetail::decode(status.details()).unwrap_or_else(|error| panic!("{error}: {status}"))
}

fn denied(status: &Status) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().starts_with("Permission denied: "), "{status}");
    assert_eq!(detail(status).code(), ErrorCode::PermissionDenied);
}

/// K32: the whole picture in one answer, from the leader only; a follower names it.
#[tokio::test]
async fn the_leader_gives_the_operator_its_view_and_a_follower_names_the_leader() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let mut asked = ClusterClient::new(connect(&cluster, leader, san::OPERATOR).await);
    let view = loop {
        // Autopilot's first round on this configuration may still be to come.
        let view = asked.view(v1::ViewRequest {}).await.unwrap().into_inner();
        let index = view.latest.as_ref().map(|latest| latest.index);
        let judged = view.autopilot.as_ref().filter(|state| state.is_healthy);
        if judged.is_some_and(|state| Some(state.configuration_index) == index) {
            break view;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(view.leader.unwrap().raft_id, format!("dev-{leader}"));
    assert_eq!(view.latest.as_ref().unwrap().servers.len(), 3);
    assert_eq!((view.latest, view.is_change_in_flight, view.is_ready), (view.committed, false, true));
    let autopilot = view.autopilot.unwrap();
    assert_eq!((autopilot.failure_tolerance, autopilot.servers.len()), (1, 3));

    let mut asked = ClusterClient::new(connect(&cluster, follower(&cluster).await, san::OPERATOR).await);
    let status = asked.view(v1::ViewRequest {}).await.unwrap_err();
    let detail = detail(&status);
    assert_eq!((detail.code(), detail.leader_raft_id), (ErrorCode::NotLeader, format!("dev-{leader}")));
    cluster.stop().await;
}

/// K13, S7: a change needs the index it was decided on; what it may not do it says.
#[tokio::test]
async fn a_change_of_membership_is_checked_before_it_is_made() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let mut membership = MembershipClient::new(connect(&cluster, leader, san::OPERATOR).await);
    let list = membership.list(v1::ListMembersRequest {}).await.unwrap().into_inner();
    let latest = list.latest.unwrap();
    let follower = follower(&cluster).await;
    let removed = latest.servers[follower].id.clone();
    let remove = v1::RemoveRequest {
        id: removed.clone(),
        reason: v1::RemoveReason::Requested.into(),
        expected_configuration_index: latest.index,
    };
    let error = async |membership: &mut MembershipClient<Channel>, request: v1::RemoveRequest| {
        let status = membership.remove(request).await.unwrap_err();
        (detail(&status), status.message().to_owned())
    };
    let m = &mut membership;
    let (found, _) = error(m, v1::RemoveRequest { expected_configuration_index: 0, ..remove.clone() }).await;
    assert_eq!(found.field, "expected_configuration_index");
    let (found, _) = error(m, v1::RemoveRequest { reason: 0, ..remove.clone() }).await;
    assert_eq!(found.field, "reason");
    let (found, _) = error(m, v1::RemoveRequest { id: None, ..remove.clone() }).await;
    assert_eq!(found.field, "id");
    let odd = Some(v1::ServerId { raft_id: "dev-1".into(), incarnation: "x".into() });
    let (found, text) = error(m, v1::RemoveRequest { id: odd, ..remove.clone() }).await;
    assert!(found.field == "id" && text.contains("32 hex digits"), "{text}");
    let stale = v1::RemoveRequest { expected_configuration_index: latest.index - 1, ..remove.clone() };
    let (found, text) = error(m, stale).await;
    assert_eq!((found.code(), found.configuration_index), (ErrorCode::ConfigurationMismatch, latest.index));
    assert!(text.contains(&format!("expected_configuration_index={}", latest.index)), "{text}");
    let lost = v1::RemoveRequest { reason: v1::RemoveReason::VolumeLost.into(), ..remove.clone() };
    let (found, text) = error(m, lost).await;
    assert_eq!(
        found.write_outcome(),
        WriteOutcome::NotApplied,
        "K33: it answers, so its volume is there: {text}"
    );

    let index = membership.remove(remove).await.unwrap().into_inner().configuration_index;
    let list = membership.list(v1::ListMembersRequest {}).await.unwrap().into_inner();
    assert_eq!(list.committed.as_ref().map(|committed| committed.index), Some(index));
    assert!(list.committed.unwrap().servers.iter().all(|server| server.id != removed));
    serves_nothing_once_removed(&cluster, follower).await;
    cluster.stop().await;
}

/// K14, K15: a voter that does its work is not replaced; one that is dead gives its vote to the newcomer in one
/// change, whose index is the next one's to expect.
#[tokio::test]
async fn a_dead_voter_is_replaced_and_a_living_one_is_not() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let old = follower(&cluster).await;
    let channel = connect(&cluster, leader, san::OPERATOR).await;
    let mut autopilot = AutopilotClient::new(channel.clone());
    let change = v1::SetAutopilotConfigurationRequest {
        server_stabilization_time_ms: Some(1_000),
        ..Default::default()
    };
    autopilot.set_configuration(change).await.unwrap();
    let mut membership = MembershipClient::new(channel);
    let joiner = cluster.start_member().await.unwrap();
    let replaced = cluster.handle(old).view().identity.server.clone();
    cluster
        .add_for(
            joiner,
            quorate_raft::Intent::ReplacementFor(replaced),
            tokio::time::Instant::now() + PATIENCE,
        )
        .await
        .unwrap();
    let server = |number: usize| {
        let server = &cluster.handle(number).view().identity.server;
        v1::ServerId { raft_id: server.raft_id.to_string(), incarnation: server.incarnation.to_string() }
    };
    let (gone, joined) = (server(old), server(joiner));
    let mut replace =
        v1::ReplaceRequest { old: None, new: Some(joined.clone()), expected_configuration_index: 0 };
    let status = membership.replace(replace.clone()).await.unwrap_err();
    assert_eq!(detail(&status).field, "old");
    replace.old = Some(gone.clone());
    // Not stable yet, then still at work: neither changes anything.
    loop {
        let list = membership.list(v1::ListMembersRequest {}).await.unwrap().into_inner();
        replace.expected_configuration_index = list.latest.unwrap().index;
        let status = membership.replace(replace.clone()).await.unwrap_err();
        assert_eq!(detail(&status).code(), ErrorCode::FailedPrecondition, "{status}");
        assert_eq!(detail(&status).write_outcome(), WriteOutcome::NotApplied, "{status}");
        if status.message().contains("was not declared to leave") {
            break;
        }
    }
    cluster.abort_member(old).await;
    let index = loop {
        match membership.replace(replace.clone()).await {
            Ok(answer) => break answer.into_inner().configuration_index,
            Err(status) => assert_eq!(detail(&status).code(), ErrorCode::FailedPrecondition, "{status}"),
        }
    };
    let list = membership.list(v1::ListMembersRequest {}).await.unwrap().into_inner();
    let committed = list.committed.unwrap();
    assert_eq!(committed.index, index);
    assert!(committed.servers.iter().all(|server| server.id != Some(gone.clone())));
    let votes = |server: &&v1::Server| server.suffrage() == v1::Suffrage::Voter;
    assert_eq!(committed.servers.iter().filter(votes).count(), 3);
    cluster.stop().await;
}

/// K19: it stays up, is not ready, and says what happened to whoever asks for data.
async fn serves_nothing_once_removed(cluster: &Cluster, member: usize) {
    let is_removed = |view: &View| view.status.membership == Membership::Removed;
    let mut view = cluster.handle(member).watch_view();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| is_removed(view))).await.unwrap().unwrap();
    let ports = cluster.ports(member);
    assert_eq!(get(ports.ops, "/livez").await.status, 200);
    for (port, target, status) in [(ports.ops, "/readyz", 503), (ports.http, "/v1/kv/a?stale", 500)] {
        let answer = get(port, target).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.text().contains("was removed from the cluster"), "{target}: {}", answer.text());
    }
    let mut kv = KvClient::connect(format!("http://127.0.0.1:{}", ports.grpc)).await.unwrap();
    let status = kv.put(v1::PutRequest { key: "k".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(detail(&status).code(), ErrorCode::Removed, "{status}");
}

/// K23: the plain port takes data; the token of `dev` opens the rest.
#[tokio::test]
async fn the_plain_port_refuses_what_changes_the_cluster_without_the_token() {
    let (mut cluster, _directory) = cluster(1).await;
    let plain = format!("http://127.0.0.1:{}", cluster.ports(0).grpc);
    let mut membership = MembershipClient::connect(plain.clone()).await.unwrap();
    let status = membership.transfer_leadership(v1::TransferLeadershipRequest::default()).await.unwrap_err();
    denied(&status);
    assert!(status.message().contains("edit the RaftCluster"), "{status}");
    denied(&membership.report_facts(v1::ReportFactsRequest::default()).await.unwrap_err());
    denied(&membership.bootstrap(v1::BootstrapRequest::default()).await.unwrap_err());
    membership.list(v1::ListMembersRequest {}).await.unwrap();

    let mut autopilot = AutopilotClient::connect(plain).await.unwrap();
    let change = v1::SetAutopilotConfigurationRequest { max_trailing_logs: Some(7), ..Default::default() };
    denied(&autopilot.set_configuration(change.clone()).await.unwrap_err());
    let with_token = |token: &str| {
        let mut request = Request::new(change.clone());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    denied(&autopilot.set_configuration(with_token("guessed-0123456789")).await.unwrap_err());
    let answer = autopilot.set_configuration(with_token(cluster.admin_token())).await.unwrap().into_inner();
    assert!(answer.succeeded);
    let settings = autopilot.get_configuration(v1::GetAutopilotConfigurationRequest {}).await.unwrap();
    let settings = settings.into_inner();
    assert_eq!((settings.max_trailing_logs, settings.modify_index), (7, answer.modify_index));

    let absurd = v1::SetAutopilotConfigurationRequest { min_quorum: Some(2), ..Default::default() };
    let mut request = with_token(cluster.admin_token());
    *request.get_mut() = absurd;
    let status = autopilot.set_configuration(request).await.unwrap_err();
    assert!(status.message().contains("it should at least be 3"), "{status}");
    assert_eq!(detail(&status).field, "min_quorum");
    cluster.stop().await;
}

/// K23, K27: on Kubernetes the resource has autopilot's settings: the operator alone sets them, and whoever else tries is told
/// where to.
#[tokio::test]
async fn on_kubernetes_settings_are_the_resource_s() {
    let directory = tempfile::tempdir().unwrap();
    let options = ClusterOptions { defaults: DefaultSettings::Kubernetes, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(1, directory.path(), options).await.unwrap();
    let (http, token) = (cluster.ports(0).http, cluster.admin_token().to_owned());
    let body = br#"{"MaxTrailingLogs":7}"#;
    for target in ["/v1/operator/autopilot/configuration", "/v1/sys/storage/raft/autopilot/configuration"] {
        let answer = send(http, "PUT", target, &[("X-Consul-Token", &token)], body).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("edit its spec.autopilot"), "{}", answer.text());
    }
    let change = v1::SetAutopilotConfigurationRequest { max_trailing_logs: Some(7), ..Default::default() };
    let mut request = Request::new(change.clone());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let mut plain =
        AutopilotClient::connect(format!("http://127.0.0.1:{}", cluster.ports(0).grpc)).await.unwrap();
    denied(&plain.set_configuration(request).await.unwrap_err());
    let mut operator = AutopilotClient::new(connect(&cluster, 0, san::OPERATOR).await);
    assert!(operator.set_configuration(change).await.unwrap().into_inner().succeeded);
    let json = get(http, "/v1/operator/autopilot/configuration").await.json();
    assert_eq!((&json["MaxTrailingLogs"], &json["LastContactThreshold"]), (&7.into(), &"1s".into()));
    cluster.stop().await;
}

/// K23: a member's certificate is for the peer port; another cluster's is for nothing.
#[tokio::test]
async fn certificates_of_members_and_of_strangers_open_nothing() {
    let (mut cluster, _directory) = cluster(1).await;
    let channel = connect(&cluster, 0, "dev-7").await;
    ClusterClient::new(channel.clone()).status(v1::StatusRequest {}).await.unwrap();
    let get = v1::GetRequest { key: "k".into(), ..Default::default() };
    denied(&KvClient::new(channel.clone()).get(get).await.unwrap_err());
    denied(&ClusterClient::new(channel).view(v1::ViewRequest {}).await.unwrap_err());

    let stranger = Authority::new(cluster.cluster_id().0).unwrap();
    let credentials = stranger.issue(san::OPERATOR).unwrap().credentials().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], cluster.ports(0).grpc_tls));
    let expected = PeerIdentity::new(cluster.cluster_id().0, "dev-0");
    assert!(dial(address, &credentials, expected).await.is_err());
    cluster.stop().await;
}
