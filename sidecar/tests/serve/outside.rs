//! Clients from outside the Pod: TLS and a reviewed token, on the gRPC and the HTTP port (K46, `clientAccess: Cluster`).

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use prost::Message;
use quorate_api::san;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::membership_client::MembershipClient;
use quorate_api::v1::{self, ErrorCode, ErrorDetail, WriteOutcome};
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use quorate_sidecar::serve::OutsideSettings;
use quorate_sidecar::tls::PeerIdentity;
use rustls::RootCertStore;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::PATIENCE;
use crate::api_server::{ApiServer, Mood};

const AUDIENCE: &str = "db.shop.quorate.dev";
const WEB: &str = "system:serviceaccount:shop:web";

/// One member that account shop/web may use from outside, and the API server it asks.
async fn open_cluster() -> (Cluster, ApiServer, TempDir) {
    let api = ApiServer::start().await;
    let outside = OutsideSettings {
        connection: api.connection(),
        audience: AUDIENCE.to_owned(),
        accounts: ["shop/web".parse().unwrap()].into(),
    };
    let options = ClusterOptions { outside: Some(outside), ..ClusterOptions::default() };
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(1, directory.path(), options).await.unwrap();
    cluster.leader(PATIENCE).await.unwrap();
    (cluster, api, directory)
}

/// A client that trusts the cluster's authority and shows no certificate.
async fn shake_hands(cluster: &Cluster, port: u16, protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = cluster.authority().issue("nobody").unwrap().ca_pem;
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let mut settings = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OfTheCluster(provider, roots)))
        .with_no_client_auth();
    settings.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("db-read.shop.svc").unwrap();
    TlsConnector::from(Arc::new(settings)).connect(name, tcp).await
}

async fn grpc(cluster: &Cluster) -> Channel {
    let stream = shake_hands(cluster, cluster.ports(0).grpc_tls, "h2").await.unwrap();
    let mut once = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = once.take().ok_or_else(|| std::io::Error::other("the connection ended"));
        async move { stream.map(TokioIo::new) }
    });
    Endpoint::from_static("http://member").connect_with_connector(connector).await.unwrap()
}

/// One HTTP request with these headers: status and text.
async fn web(cluster: &Cluster, head: &str) -> (u16, String) {
    let mut stream = shake_hands(cluster, cluster.ports(0).https, "http/1.1").await.unwrap();
    let request = format!("{head}Host: db-read\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Many servers end without a farewell.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn put(token: &str) -> Request<v1::PutRequest> {
    let put = v1::PutRequest { key: "a".into(), value: "1".into(), ..v1::PutRequest::default() };
    with_token(put, token)
}

fn detail(status: &Status) -> ErrorDetail {
    ErrorDetail::decode(status.details()).unwrap_or_else(|error| panic!("{error}: {status}"))
}

/// K46: an account on the list reads, writes and looks, over gRPC and HTTP alike; it changes no membership.
#[tokio::test]
async fn an_account_on_the_list_does_what_an_application_does() {
    let (mut cluster, api, _directory) = open_cluster().await;
    api.issue("good", WEB, AUDIENCE);
    let channel = grpc(&cluster).await;
    let mut kv = KvClient::new(channel.clone());
    kv.put(put("good")).await.unwrap();
    let get = v1::GetRequest { key: "a".into(), ..v1::GetRequest::default() };
    let found = kv.get(with_token(get, "good")).await.unwrap().into_inner();
    assert_eq!(found.entry.unwrap().value, "1");
    let status = with_token(v1::StatusRequest {}, "good");
    assert!(ClusterClient::new(channel.clone()).status(status).await.is_ok());

    let (status, text) = web(&cluster, "GET /v1/kv/a?raw HTTP/1.1\r\nX-Consul-Token: good\r\n").await;
    assert_eq!((status, text.as_str()), (200, "1"));
    let (status, _) = web(&cluster, "GET /v1/kv/a?raw HTTP/1.1\r\nAuthorization: Bearer good\r\n").await;
    assert_eq!(status, 200);
    assert_eq!(api.asked(), ["good"], "asked about once, and believed for a while");

    let transfer = with_token(v1::TransferLeadershipRequest::default(), "good");
    let status = MembershipClient::new(channel).transfer_leadership(transfer).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("a token opens data calls only"), "{status}");
    cluster.stop().await;
}

/// P10: nobody, a token that proves nothing, another audience's, and an account that is not on the list: each is told
/// what to do, and nothing is written.
#[tokio::test]
async fn everybody_else_is_told_why_not() {
    let (mut cluster, api, _directory) = open_cluster().await;
    api.issue("of the API server", WEB, "https://kubernetes.default.svc");
    api.issue("stranger", "system:serviceaccount:shop:batch", AUDIENCE);
    let mut kv = KvClient::new(grpc(&cluster).await);
    let mut refused = async |request: Request<v1::PutRequest>| {
        let status = kv.put(request).await.unwrap_err();
        assert_eq!(detail(&status).write_outcome(), WriteOutcome::NotApplied, "{status}");
        (status.code(), detail(&status).code(), status.message().to_owned())
    };
    let without = Request::new(put("").into_inner());
    let unauthenticated = (Code::Unauthenticated, ErrorCode::Unauthenticated);
    let (code, detail, text) = refused(without).await;
    assert_eq!((code, detail), unauthenticated);
    assert!(text.contains("no token") && text.contains(AUDIENCE), "{text}");
    let (code, detail, text) = refused(put("invented")).await;
    assert_eq!((code, detail), unauthenticated);
    assert!(text.contains("invalid bearer token"), "{text}");
    let (code, detail, text) = refused(put("of the API server")).await;
    assert_eq!((code, detail), unauthenticated);
    assert!(text.contains("audience"), "{text}");
    let (code, detail, text) = refused(put("stranger")).await;
    assert_eq!((code, detail), (Code::PermissionDenied, ErrorCode::PermissionDenied));
    assert!(text.contains("shop/batch") && text.contains("spec.clientAccess.serviceAccounts"), "{text}");
    // Over gRPC the transport itself refuses headers of that size.
    let long = format!("GET /v1/kv/a HTTP/1.1\r\nX-Consul-Token: {}\r\n", "x".repeat(16 * 1024 + 1));
    let (status, text) = web(&cluster, &long).await;
    assert!(status == 401 && text.contains("TOKEN_BYTES_MAX"), "{status} {text}");

    assert_eq!(web(&cluster, "PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 0\r\n").await.0, 401);
    let (status, text) = web(&cluster, "GET /v1/kv/a HTTP/1.1\r\nX-Consul-Token: stranger\r\n").await;
    assert_eq!(status, 403, "{text}");
    let (status, _) = web(&cluster, "GET /v1/status/leader HTTP/1.1\r\nX-Consul-Token: invented\r\n").await;
    assert_eq!(status, 401, "not even a look without a token");
    let plain = crate::http_client::get(cluster.ports(0).http, "/v1/kv/a").await;
    assert_eq!(plain.status, 404, "nobody wrote anything");
    cluster.stop().await;
}

/// P10, P8: a server that is away and a right that is missing are told apart from a bad token; one that was good goes on
/// working.
#[tokio::test]
async fn while_the_api_server_is_away_good_tokens_go_on_working() {
    let (mut cluster, api, _directory) = open_cluster().await;
    api.issue("good", WEB, AUDIENCE);
    api.issue("late", WEB, AUDIENCE);
    let mut kv = KvClient::new(grpc(&cluster).await);
    kv.put(put("good")).await.unwrap();
    for (mood, word) in [(Mood::Fails, "too busy"), (Mood::Forbids, "rbac.tokenReview")] {
        api.set_mood(mood);
        kv.put(put("good")).await.unwrap();
        let status = kv.put(put("late")).await.unwrap_err();
        assert_eq!((status.code(), detail(&status).code()), (Code::Unavailable, ErrorCode::Unavailable));
        assert!(detail(&status).retry_after_ms > 0 && status.message().contains(word), "{status}");
        let (code, text) = web(&cluster, "GET /v1/kv/a HTTP/1.1\r\nX-Consul-Token: late\r\n").await;
        assert_eq!(code, 500, "{text}");
    }
    api.set_mood(Mood::Answers);
    kv.put(put("late")).await.unwrap();
    drop(api);
    let status = kv.put(put("unknown")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    cluster.stop().await;
}

/// K23: the port's other rules stay: the operator's certificate needs no token, and without `clientAccess: Cluster` nobody
/// passes the handshake without a certificate.
#[tokio::test]
async fn without_client_access_nobody_passes_without_a_certificate() {
    let (mut cluster, api, _directory) = open_cluster().await;
    let credentials = cluster.authority().issue(san::OPERATOR).unwrap().credentials().unwrap();
    let address = ([127, 0, 0, 1], cluster.ports(0).grpc_tls).into();
    let expected = PeerIdentity::new(cluster.cluster_id().0, "dev-0");
    let connector = tower::service_fn(move |_| {
        let (credentials, expected) = (credentials.clone(), expected.clone());
        async move { quorate_sidecar::tls::dial(address, &credentials, expected).await.map(TokioIo::new) }
    });
    let operator = Endpoint::from_static("http://member").connect_with_connector(connector).await.unwrap();
    MembershipClient::new(operator).list(v1::ListMembersRequest {}).await.unwrap();
    assert!(api.asked().is_empty(), "a certificate needs no token");
    cluster.stop().await;

    let (mut closed, _directory) = crate::cluster(1).await;
    let refused = async {
        let mut stream = shake_hands(&closed, closed.ports(0).grpc_tls, "h2").await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.read_u8().await
    };
    assert!(refused.await.is_err(), "a caller without a certificate was let in");
    assert!(TcpStream::connect(("127.0.0.1", closed.ports(0).https)).await.is_err(), "the HTTP port is open");
    closed.stop().await;
}

/// Signed by the cluster's authority; names are the business of certificates that the operator issues.
#[derive(Debug)]
struct OfTheCluster(Arc<CryptoProvider>, RootCertStore);

impl ServerCertVerifier for OfTheCluster {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.0.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.1,
            intermediates,
            now,
            algorithms,
        )
        .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
