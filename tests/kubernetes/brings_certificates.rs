//! The user brings certificates in a Secret (`spec.tls.mode: Secret`), renews them, and makes a mistake.
//!
//! The cluster waits for the Secret and says what has to be in it. A renewed certificate reaches every member without a
//! restart; one that cannot be used reaches none, and status says why.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use quorate_crds::{RaftClusterSpec, SecretRef, Tls, TlsMode};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

use crate::cluster::{Cluster, PATIENCE};
use crate::namespace::namespace;
use crate::wait::{Look, until};

/// The operator looks at a settled cluster every 20 s.
const NOTICED: Duration = Duration::from_mins(3);

/// Waited for, taken, renewed, and refused (K23, K46, P10).
#[tokio::test]
async fn certificates_that_are_brought_are_used_and_renewed() -> Result<()> {
    namespace("brought", async |namespace| {
        let tls = Tls {
            mode: TlsMode::Secret,
            secret_ref: Some(SecretRef { name: "db-certs".to_owned() }),
            ..Tls::default()
        };
        let spec = RaftClusterSpec { tls, replicas: 1, ..RaftClusterSpec::default() };
        let cluster = namespace.cluster("db").with_spec(spec).apply().await?;
        blocked_by(&cluster, "there is none: create it with ca.crt").await?;
        let id = cluster.get().await?.status.and_then(|status| status.cluster_id).context("a cluster ID")?;
        let authority = Authority::new()?;
        put(&cluster, &authority.secret(&id)?).await?;
        cluster.wait_ready(1).await?;
        let started = restarts(&cluster).await?;

        let renewed = authority.secret(&id)?;
        put(&cluster, &renewed).await?;
        let wanted = value(&renewed, "tls.crt")?;
        until("the member to be given the renewed certificate", NOTICED, async || {
            let found = secret(&cluster, "db-0-tls").await?;
            let is_it = value(&found, "tls.crt")? == wanted;
            Ok(if is_it { Look::Found(()) } else { Look::NotYet("still the old one".to_owned()) })
        })
        .await?;

        let mut broken = authority.secret(&id)?;
        broken.data.get_or_insert_default().remove("tls.key");
        put(&cluster, &broken).await?;
        blocked_by(&cluster, "it has no tls.key").await?;
        ensure!(
            value(&secret(&cluster, "db-0-tls").await?, "tls.crt")? == wanted,
            "the mistake was passed on"
        );
        ensure!(restarts(&cluster).await? == started, "the Pod was restarted");
        put(&cluster, &authority.secret(&id)?).await?;
        cluster.wait_ready(1).await?;
        Ok(())
    })
    .await
}

/// The UID of the Pod, and how often its sidecar was started again.
async fn restarts(cluster: &Cluster<'_>) -> Result<(Option<String>, i32)> {
    let pod = cluster.pod("db-0").await?;
    let status = pod.status.unwrap_or_default();
    let count =
        status.container_statuses.into_iter().flatten().map(|container| container.restart_count).sum();
    Ok((pod.metadata.uid, count))
}

async fn blocked_by(cluster: &Cluster<'_>, words: &str) -> Result<()> {
    until(&format!("status to say {words:?}"), PATIENCE, async || {
        let blocked = cluster.get().await?.status.map(|status| status.blocked).unwrap_or_default();
        let is_said = blocked.iter().any(|blocked| blocked.message.contains(words));
        Ok(if is_said { Look::Found(()) } else { Look::NotYet(format!("{blocked:?}")) })
    })
    .await
}

async fn secret(cluster: &Cluster<'_>, name: &str) -> Result<Secret> {
    let secrets: Api<Secret> = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    Ok(secrets.get(name).await?)
}

/// Makes the Secret, in place of the one before.
async fn put(cluster: &Cluster<'_>, secret: &Secret) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    if secrets.get_opt("db-certs").await?.is_some() {
        secrets.delete("db-certs", &DeleteParams::default()).await?;
    }
    secrets.create(&PostParams::default(), secret).await?;
    Ok(())
}

fn value(secret: &Secret, key: &str) -> Result<Vec<u8>> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    Ok(value.with_context(|| format!("no {key}"))?.0.clone())
}

/// The user's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Certificate and key for one name of the cluster.
    fn issue(&self, cluster_id: &str, name: &str) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("quorate://{cluster_id}/{name}").try_into()?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    fn secret(&self, cluster_id: &str) -> Result<Secret> {
        let (members, members_key) = self.issue(cluster_id, "*")?;
        let (operator, operator_key) = self.issue(cluster_id, "operator")?;
        let data = [
            ("ca.crt", self.pem.clone()),
            ("tls.crt", members),
            ("tls.key", members_key),
            ("operator.crt", operator),
            ("operator.key", operator_key),
        ];
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
        let metadata = ObjectMeta { name: Some("db-certs".to_owned()), ..ObjectMeta::default() };
        Ok(Secret { metadata, data: Some(data.into()), ..Secret::default() })
    }
}
