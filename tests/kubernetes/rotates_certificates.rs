//! The cluster's certificate authority is replaced by a new one, or lost with its Secret, and a member's certificate is lost.
//!
//! The user sees nothing: no Pod is restarted, and writes go on through every member.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::load::Load;
use crate::namespace::namespace;
use crate::page::Page;
use crate::wait::{Look, until};

/// Kubelets spread a changed Secret within a minute and a half, and that twice.
const SPREAD: Duration = Duration::from_mins(8);

/// A new authority takes over under load, and restarts nobody (K46; operator.md §8.40).
#[tokio::test]
async fn a_new_certificate_authority_takes_over_unnoticed() -> Result<()> {
    namespace("rotate", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        cluster.wait_ready(3).await?;
        let (before, containers) = (authority(&cluster).await?, running(&cluster).await?);
        let load = Load::on(&cluster);

        Page::operations(namespace).run("quorate.dev/rotate-ca").await?;
        let after = until("the new authority to be the only one", SPREAD, async || {
            let now = authority(&cluster).await?;
            let is_over = now.len() == 2 && now.get("ca.crt") != before.get("ca.crt");
            Ok(if is_over { Look::Found(now) } else { Look::NotYet(format!("{:?}", now.keys())) })
        })
        .await?;
        namespace.say("the new authority has taken over");
        every_member_shows_it(&cluster, &after).await?;
        ensure!(running(&cluster).await? == containers, "a Pod was restarted: {containers:?}");
        cluster.wait_ready(3).await?;

        // One that is lost, as one that has expired, is made anew.
        namespace.kubectl(&["delete", "secret", "db-1-tls"]).await?;
        every_member_shows_it(&cluster, &after).await?;
        load.finish(&cluster).await?;
        ensure!(running(&cluster).await? == containers, "a Pod was restarted: {containers:?}");
        Ok(())
    })
    .await
}

/// The authority's Secret is deleted under load: members go on trusting each other, and a new authority takes over (K46).
#[tokio::test]
async fn a_lost_certificate_authority_breaks_nothing() -> Result<()> {
    namespace("lost-ca", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        cluster.wait_ready(3).await?;
        let (before, containers) = (authority(&cluster).await?, running(&cluster).await?);
        let load = Load::on(&cluster);

        namespace.kubectl(&["delete", "secret", "db-ca"]).await?;
        let after = until("another authority to be the only one", SPREAD, async || {
            let now = authority(&cluster).await?;
            let is_over = now.len() == 2 && now.get("ca.crt") != before.get("ca.crt");
            Ok(if is_over { Look::Found(now) } else { Look::NotYet(format!("{:?}", now.keys())) })
        })
        .await?;
        every_member_shows_it(&cluster, &after).await?;
        load.finish(&cluster).await?;
        ensure!(running(&cluster).await? == containers, "a Pod was restarted: {containers:?}");
        cluster.wait_ready(3).await?;
        Ok(())
    })
    .await
}

/// What the authority's Secret holds, as it is written there.
async fn authority(cluster: &Cluster<'_>) -> Result<BTreeMap<String, String>> {
    let data = cluster.namespace.kubectl(&["get", "secret", "db-ca", "-o", "jsonpath={.data}"]).await?;
    Ok(serde_json::from_str(&data)?)
}

/// Waits until the Secrets of all members trust this authority alone: the operator writes them after the authority's.
async fn every_member_shows_it(cluster: &Cluster<'_>, authority: &BTreeMap<String, String>) -> Result<()> {
    let trusted = authority.get("ca.crt").context("an authority has a certificate")?;
    until("every member's Secret to trust the new authority alone", SPREAD, async || {
        for member in 0..3 {
            let (secret, path) = (format!("db-{member}-tls"), "jsonpath={.data.ca\\.crt}");
            let found = cluster.namespace.kubectl(&["get", "secret", &secret, "-o", path]).await?;
            if found != *trusted {
                return Ok(Look::NotYet(format!("{secret} trusts something else")));
            }
        }
        Ok(Look::Found(()))
    })
    .await
}

/// Every Pod's UID and how often its containers were started again.
async fn running(cluster: &Cluster<'_>) -> Result<BTreeMap<String, (String, i32)>> {
    let pods = cluster.pods().await?;
    let each = pods.into_iter().map(|(name, pod)| {
        let status = pod.status.unwrap_or_default();
        let containers =
            status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
        let restarts = containers.map(|container| container.restart_count).sum();
        (name, (pod.metadata.uid.unwrap_or_default(), restarts))
    });
    Ok(each.collect())
}
