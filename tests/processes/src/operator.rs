//! The operator's part: pictures of members and changes of the membership, under its certificate on the TLS port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use hyper_util::rt::TokioIo;
use quorate_api::san;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::membership_client::MembershipClient;
use quorate_api::v1::{self, Role, StatusResponse};
use quorate_sidecar::dev::Authority;
use quorate_sidecar::tls::{Credentials, PeerIdentity, dial};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::member::{CLUSTER_ID, Member};

/// A member that takes longer is paused, stuck or gone.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Who may change the membership.
pub struct Operator {
    credentials: Arc<Credentials>,
}

impl Operator {
    /// With a certificate of this authority.
    pub fn new(authority: &Authority) -> Self {
        Self { credentials: authority.issue(san::OPERATOR).unwrap().credentials().unwrap() }
    }

    /// The member's own picture of itself.
    pub async fn status(&self, member: &Member) -> Result<StatusResponse, String> {
        let asked = async {
            let mut cluster = ClusterClient::new(self.connect(member).await?);
            Ok(cluster.status(v1::StatusRequest {}).await.map_err(|error| error.to_string())?.into_inner())
        };
        bounded(&member.name, asked).await
    }

    /// The configuration in effect, as this member has it.
    pub async fn list(&self, member: &Member) -> Result<v1::Configuration, String> {
        let asked = async {
            let mut membership = MembershipClient::new(self.connect(member).await?);
            let list = membership.list(v1::ListMembersRequest {}).await.map_err(|error| error.to_string())?;
            list.into_inner().latest.ok_or_else(|| "no configuration yet".to_owned())
        };
        bounded(&member.name, asked).await
    }

    /// Makes an empty member the only voter of the cluster.
    pub async fn bootstrap(&self, member: &Member) -> Result<(), String> {
        let id = self.status(member).await?.id;
        let asked = async {
            let mut membership = MembershipClient::new(self.connect(member).await?);
            let request = v1::BootstrapRequest {
                cluster_id: format!("{CLUSTER_ID:032x}"),
                id,
                mode: v1::Mode::KeyValue.into(),
            };
            membership.bootstrap(request).await.map(drop).map_err(|error| error.to_string())
        };
        bounded(&member.name, asked).await
    }

    /// Asks `leader` to add a member that is meant to vote. One that is there already is fine.
    pub async fn add(&self, leader: &Member, joiner: &Member) -> Result<(), String> {
        let v1::StatusResponse { id, version_min, version_max, .. } = self.status(joiner).await?;
        let latest = self.list(leader).await?;
        if latest.servers.iter().any(|server| server.id == id) {
            return Ok(());
        }
        let asked = async {
            let mut membership = MembershipClient::new(self.connect(leader).await?);
            let request = v1::AddNonVoterRequest {
                id,
                address: joiner.address.clone(),
                intent: Some(v1::Intent { kind: Some(v1::intent::Kind::Voter(v1::VoterIntent {})) }),
                expected_configuration_index: latest.index,
                version_min,
                version_max,
            };
            membership.add_non_voter(request).await.map(drop).map_err(|error| error.to_string())
        };
        bounded(&leader.name, asked).await
    }

    /// Asks `leader` to hand leadership to `target`.
    pub async fn transfer(&self, leader: &Member, target: &Member) -> Result<(), String> {
        let asked = async {
            let mut membership = MembershipClient::new(self.connect(leader).await?);
            let request = v1::TransferLeadershipRequest { target_raft_id: target.name.clone() };
            membership.transfer_leadership(request).await.map(drop).map_err(|error| error.to_string())
        };
        bounded(&leader.name, asked).await
    }

    /// Sends `leader` an archive to restore, in these parts; it takes as long as that takes, and ends with the leader.
    pub fn restore<S>(&self, leader: &Member, parts: S) -> impl Future<Output = Result<(), String>> + use<S>
    where
        S: Stream<Item = v1::RestoreRequest> + Send + 'static,
    {
        let connecting = self.connect(leader);
        async move {
            let mut cluster = ClusterClient::new(connecting.await?);
            cluster.restore(parts).await.map(drop).map_err(|error| error.to_string())
        }
    }

    fn connect(&self, member: &Member) -> impl Future<Output = Result<Channel, String>> + use<> {
        let address = SocketAddr::from((member.pod_ip, member.ports.client));
        let credentials = Arc::clone(&self.credentials);
        let expected = PeerIdentity::new(CLUSTER_ID, member.name.clone());
        let connector = tower::service_fn(move |_| {
            let (credentials, expected) = (Arc::clone(&credentials), expected.clone());
            async move { dial(address, &credentials, expected).await.map(TokioIo::new) }
        });
        async move {
            let connected = Endpoint::from_static("http://member").connect_with_connector(connector).await;
            connected.map_err(|error| format!("cannot connect: {error}"))
        }
    }
}

/// Whether this is the picture of a leader that has committed in its own term.
pub fn leads(status: &StatusResponse) -> bool {
    status.role() == Role::Leader && status.is_ready
}

/// A member that is paused or stuck does not answer: that is an answer too.
async fn bounded<T>(name: &str, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(CALL_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| format!("{name}: {error}")),
        Err(_) => Err(format!("{name} did not answer within {CALL_TIMEOUT:?}")),
    }
}
