//! The operator cannot work on one cluster, because somebody broke something of it.
//!
//! The user reads the error and the way out in `kubectl describe`; other clusters do not notice. A certificate that ends
//! meanwhile is a person's business: the runbook `RaftCertificateExpiring` is followed word for word.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType, date_time_ymd};
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::namespace::namespace;
use crate::page::Page;
use crate::wait::{Look, until};

/// The year in which the certificate of this test ended.
const ENDED: i32 = 2024;

/// An error is in status and in an event; another cluster forms meanwhile; mended, it is gone (operator.md §8.39), and the
/// certificate that had ended is renewed by itself (§8.40).
#[tokio::test]
async fn an_operator_that_fails_at_one_cluster_says_so_and_serves_the_others() -> Result<()> {
    namespace("fails", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).apply().await?;
        cluster.wait_ready(1).await?;
        let page = Page::runbooks(namespace);
        let key = break_authority(&cluster).await?;
        let said = cluster
            .wait_status("what is wrong with the authority", PATIENCE, |status| {
                status
                    .blocked
                    .iter()
                    .any(|entry| entry.reason == "RoundFailed" && entry.message.contains("db-ca"))
            })
            .await?;
        ensure!(condition(&said, "Ready").is_some_and(|ready| ready.status != "True"), "Ready all the same");
        let other = namespace.cluster("other").replicas(1).apply().await?;
        other
            .wait_status("Ready beside it", Duration::from_mins(1), |status| {
                condition(status, "Ready").is_some_and(|ready| ready.status == "True")
            })
            .await?;
        let events =
            ["get", "events.v1.events.k8s.io", "--field-selector", "reason=RoundFailed", "-o", "name"];
        ensure!(!namespace.kubectl(&events).await?.is_empty(), "no event tells of it");

        let said = page.run("openssl x509 -noout -enddate").await?;
        ensure!(said.contains(&ENDED.to_string()), "the certificate has not ended: {said}");
        let said = page.run("grep -i -e certificate -e secret").await?;
        ensure!(said.contains("db-ca"), "the log does not name what is wrong:\n{said}");
        set(&cluster, "db-ca", &[("ca.key", key)]).await?;
        renewed(&page).await?;
        cluster.wait_ready(1).await?;
        page.run("delete secret db-0-tls").await?;
        renewed(&page).await
    })
    .await
}

/// The first command shows a date ahead again.
async fn renewed(page: &Page<'_>) -> Result<()> {
    until("the certificate to be renewed", PATIENCE, async || {
        let said = page.run("openssl x509 -noout -enddate").await?;
        Ok(if said.contains(&ENDED.to_string()) { Look::NotYet(said) } else { Look::Found(()) })
    })
    .await
}

/// The member's certificate has ended, and what could renew it is broken; returns what would mend that.
async fn break_authority(cluster: &Cluster<'_>) -> Result<Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    let authority = secrets.get("db-ca").await?.data.context("an authority has data")?;
    let file = |name: &str| authority.get(name).map(|file| file.0.clone()).context("ca.crt and ca.key");
    let (certificate, key) = (String::from_utf8(file("ca.crt")?)?, file("ca.key")?);
    let issuer = KeyPair::from_pem(&String::from_utf8(key.clone())?)?;
    let (ended, ended_key) =
        ended_certificate(cluster, &Issuer::from_ca_cert_pem(&certificate, issuer)?).await?;
    set(cluster, "db-ca", &[("ca.key", b"broken".to_vec())]).await?;
    set(cluster, "db-0-tls", &[("tls.crt", ended.into()), ("tls.key", ended_key.into())]).await?;
    Ok(key)
}

/// As the operator would have made it, long ago.
async fn ended_certificate(cluster: &Cluster<'_>, issuer: &Issuer<'_, KeyPair>) -> Result<(String, String)> {
    let status = cluster.status().await?;
    let raft_id = raft_ids(&status).remove("db-0").context("db-0 has a Raft ID")?;
    let uri = format!("quorate://{}/{raft_id}", status.cluster_id.context("a cluster ID")?);
    let mut params = CertificateParams::new([raft_id])?;
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    params.not_before = date_time_ymd(ENDED - 1, 1, 1);
    params.not_after = date_time_ymd(ENDED, 6, 1);
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

/// Writes values of a Secret.
async fn set(cluster: &Cluster<'_>, secret: &str, values: &[(&str, Vec<u8>)]) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    let data: serde_json::Map<String, serde_json::Value> =
        values.iter().map(|(name, value)| ((*name).to_owned(), json!(ByteString(value.clone())))).collect();
    secrets.patch(secret, &PatchParams::default(), &Patch::Merge(json!({ "data": data }))).await?;
    Ok(())
}
