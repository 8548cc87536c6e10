//! A security reviewer looks at what a member may do, and at who may talk to it.
//!
//! Its Pod is admitted under the restricted Pod Security Standard with a read-only root. Its token reads no Secret and
//! no Pod. Whoever comes without a certificate of this very cluster is refused on every port that takes more than probes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Container, Secret};
use kube::Api;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};

use crate::bed::attempt;
use crate::cluster::Cluster;
use crate::namespace::namespace;

/// Peers, and gRPC on the Pod's address.
const PORTS: [u16; 2] = [7400, 7401];
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What an HTTP/2 client says first; a server that let us in answers with its settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Admitted as restricted, and with nothing writable but its volumes (operator.md §8.6).
#[tokio::test]
async fn members_run_restricted_with_a_read_only_root() -> Result<()> {
    namespace("restricted", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).with_application()?.apply().await?;
        cluster.wait_ready(1).await?;
        let pod = cluster.pod("db-0").await?;
        let spec = pod.spec.context("a Pod has a spec")?;
        let containers: Vec<Container> =
            spec.init_containers.into_iter().flatten().chain(spec.containers).collect();
        ensure!(containers.len() == 2, "{} containers", containers.len());
        for container in containers {
            let context = container.security_context.unwrap_or_default();
            ensure!(context.read_only_root_filesystem == Some(true), "{} may write its root", container.name);
            ensure!(context.allow_privilege_escalation == Some(false), "{} may escalate", container.name);
        }
        Ok(())
    })
    .await
}

/// The member's token reaches its own status and Lease, and nothing else (K44; operator.md §8.41).
#[tokio::test]
async fn a_members_token_reads_neither_secrets_nor_pods() -> Result<()> {
    namespace("token", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).apply().await?;
        cluster.wait_ready(1).await?;
        let account = cluster.pod("db-0").await?.spec.and_then(|spec| spec.service_account_name);
        ensure!(account.as_deref() == Some("db-member"), "the member runs as {account:?}");
        for (may, verb, what) in [
            (true, "patch", "raftclusters.quorate.dev/db --subresource=status"),
            (true, "patch", "leases.coordination.k8s.io/db-leader"),
            (false, "patch", "raftclusters.quorate.dev/db"),
            (false, "patch", "raftclusters.quorate.dev/other --subresource=status"),
            (false, "get", "secrets"),
            (false, "list", "secrets"),
            (false, "get", "secrets/db-0-tls"),
            (false, "get", "pods"),
            (false, "list", "pods"),
            (false, "delete", "pods"),
            (false, "get", "persistentvolumeclaims"),
            (false, "create", "leases.coordination.k8s.io"),
        ] {
            let who = format!("--as=system:serviceaccount:{}:db-member", namespace.name);
            let mut words = vec!["-n", &namespace.name, "auth", "can-i", &who, verb];
            words.extend(what.split(' '));
            // `can-i` answers in words, and by its exit code as well.
            let answer = attempt("kubectl", &words, None).await?;
            let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            ensure!(answer.starts_with(if may { "yes" } else { "no" }), "may {verb} {what}: {answer}");
        }
        Ok(())
    })
    .await
}

/// No certificate, or one of another authority with this cluster's very names: refused (K23, K46; operator.md §8.40).
/// With a member's own certificate the same client is let in, so it is the certificate that decides.
#[tokio::test]
async fn a_client_without_the_clusters_certificate_is_refused() -> Result<()> {
    namespace("mtls", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).apply().await?;
        let status = cluster.wait_ready(1).await?;
        let id = status.cluster_id.context("a cluster ID")?;
        let pod = cluster.pod("db-0").await?;
        let ip = pod.status.and_then(|status| status.pod_ip).context("an address")?;
        for port in PORTS {
            let address = format!("{ip}:{port}");
            let member = settings(member_identity(&cluster).await?)?;
            let foreign = settings(Some(foreign_identity(&id)?))?;
            let nobody = settings(None)?;
            knock(&address, member).await.with_context(|| format!("a member was refused on {port}"))?;
            for (who, settings) in [("nobody", nobody), ("another authority's operator", foreign)] {
                let answer = knock(&address, settings).await;
                let error = answer.err().with_context(|| format!("{who} was let in on {port}"))?;
                let is_refusal = format!("{error:#}");
                ensure!(is_refusal.contains("alert") || is_refusal.contains("closed"), "{who}: {is_refusal}");
                namespace.say(&format!("{port} refused {who}: {is_refusal}"));
            }
        }
        Ok(())
    })
    .await
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// The certificate of the cluster's first member, from its Secret.
async fn member_identity(cluster: &Cluster<'_>) -> Result<Option<Identity>> {
    let secrets: Api<Secret> = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    let data = secrets.get("db-0-tls").await?.data.unwrap_or_default();
    let file = |name: &str| data.get(name).with_context(|| format!("no {name} in Secret db-0-tls"));
    let certificate = CertificateDer::from_pem_slice(&file("tls.crt")?.0)?;
    Ok(Some((certificate, PrivateKeyDer::from_pem_slice(&file("tls.key")?.0)?)))
}

/// What someone could make who knows every name: an operator's certificate by an authority of his own.
fn foreign_identity(cluster_id: &str) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("quorate://{cluster_id}/operator").try_into()?)];
    let certificate = params.self_signed(&key)?.der().clone();
    Ok((certificate, PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?))
}

fn settings(identity: Option<Identity>) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(provider)));
    let mut settings = match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key)?,
        None => builder.with_no_client_auth(),
    };
    settings.alpn_protocols = vec![b"h2".to_vec()];
    Ok(settings)
}

/// Shakes hands, says hello and reads the answer: with TLS 1.3 a refused client learns of it only then.
async fn knock(address: &str, settings: ClientConfig) -> Result<()> {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(&address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("db-0")?;
        let mut connection = ClientConnection::new(Arc::new(settings), name)?;
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.write_all(PREFACE)?;
        let mut answer = [0; 9];
        let read = stream.read(&mut answer)?;
        ensure!(read > 0, "the connection was closed");
        Ok(())
    })
    .await?
}

/// Believes every server: these tests are about what the server believes.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
