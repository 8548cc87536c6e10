//! An application in another Pod reads and writes with its `ServiceAccount`'s token (`spec.clientAccess: Cluster`).
//!
//! It mounts a token issued for the cluster's audience and the `ConfigMap` with the cluster's certificates, and calls a
//! Service by name. Whoever is not on the list is told so; a member that may not ask Kubernetes about tokens says what is
//! missing.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use quorate_crds::{ClientAccess, ClientScope, RaftClusterSpec};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::bed::kubectl;
use crate::cluster::{Cluster, PATIENCE};
use crate::namespace::{Namespace, namespace};
use crate::wait::{Look, until};

/// The HTTP API with TLS, on every member's address.
const HTTPS_PORT: u16 = 8500;
/// How long one answer may take: longer than a member waits for the API server.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// By the Service's name, with its certificate checked; only with a token of an account on the list (K46, P10).
#[tokio::test]
async fn an_account_on_the_list_writes_from_another_pod() -> Result<()> {
    namespace("outside", async |namespace| {
        for account in ["web", "batch"] {
            namespace.kubectl(&["create", "serviceaccount", account]).await?;
        }
        let spec = RaftClusterSpec {
            client_access: ClientAccess {
                scope: ClientScope::Cluster,
                service_accounts: vec!["web".to_owned()],
            },
            replicas: 1,
            ..RaftClusterSpec::default()
        };
        let cluster = namespace.cluster("db").with_spec(spec).apply().await?;
        cluster.wait_ready(1).await?;
        let (web, batch) = (token(namespace, "web").await?, token(namespace, "batch").await?);

        let (status, text) = call(&cluster, "GET /v1/kv/a", Some(&web)).await?;
        ensure!(status == 500 && text.contains("rbac.tokenReview"), "without the right: {status} {text}");
        let binding = format!("{}-token-review", namespace.name);
        let member = format!("--serviceaccount={}:db-member", namespace.name);
        kubectl(&["create", "clusterrolebinding", &binding, "--clusterrole=system:auth-delegator", &member])
            .await?;
        let used = as_who(&cluster, &web, &batch).await;
        // It is not of the namespace and would stay.
        kubectl(&["delete", "clusterrolebinding", &binding]).await?;
        used
    })
    .await
}

async fn as_who(cluster: &Cluster<'_>, web: &str, batch: &str) -> Result<()> {
    until("the right to review tokens", PATIENCE, async || {
        let (status, text) = call(cluster, "PUT /v1/kv/a?flags=7", Some(web)).await?;
        Ok(if status == 200 { Look::Found(()) } else { Look::NotYet(format!("{status} {text}")) })
    })
    .await?;
    let (status, text) = call(cluster, "GET /v1/kv/a", Some(web)).await?;
    ensure!(status == 200 && text.contains("\"Flags\":7"), "{status} {text}");
    for (who, token, wanted) in [("nobody", None, 401), ("another account", Some(batch), 403)] {
        let (status, text) = call(cluster, "GET /v1/kv/a", token).await?;
        ensure!(status == wanted, "{who} was answered {status} {text}");
        cluster.namespace.say(&format!("{who}: {status} {text}"));
    }
    Ok(())
}

/// One that Kubernetes issued for this cluster's audience.
async fn token(namespace: &Namespace, account: &str) -> Result<String> {
    let audience = format!("--audience=db.{}.quorate.dev", namespace.name);
    Ok(namespace.kubectl(&["create", "token", account, &audience]).await?.trim().to_owned())
}

/// One request to the first member, under the name of the Service: the certificate must be good for it.
async fn call(cluster: &Cluster<'_>, what: &str, token: Option<&str>) -> Result<(u16, String)> {
    let namespace = cluster.namespace;
    let maps: Api<ConfigMap> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let trusted = maps.get("db-ca").await?.data.unwrap_or_default();
    let trusted = trusted.get("ca.crt").context("ConfigMap db-ca has no ca.crt")?.clone();
    let pod = cluster.pod("db-0").await?;
    let ip: IpAddr = pod.status.and_then(|status| status.pod_ip).context("db-0 has no address")?.parse()?;
    let host = format!("db-read.{}.svc", namespace.name);
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request =
        format!("{what} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Length: 0\r\nConnection: close\r\n\r\n");
    let address = SocketAddr::new(ip, HTTPS_PORT);
    tokio::task::spawn_blocking(move || exchange(address, &host, &trusted, &request)).await?
}

fn exchange(address: SocketAddr, host: &str, trusted: &str, request: &str) -> Result<(u16, String)> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate?)?;
    }
    let settings = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let mut connection = ClientConnection::new(Arc::new(settings), ServerName::try_from(host.to_owned())?)?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // Many servers end without a farewell.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no whole answer: {answer}"))?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.to_owned()))
}
