//! A user stops a cluster for the night and wakes it in the morning.
//!
//! They see no Pod, every volume, and afterwards the same members with the same data, all of them at new addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::load::Load;
use crate::namespace::namespace;
use crate::page::Page;

/// All Pods stop, claims and membership stay; waking at new addresses a leader is elected by itself, and the same data and IDs
/// are served (A32, rule 4; operator.md §8.28, §8.44).
#[tokio::test]
async fn a_hibernated_cluster_wakes_as_itself() -> Result<()> {
    namespace("hibernate", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let (load, old) = (Load::on(&cluster), addresses(&cluster).await?);
        // Not a wait for anything: some visits are to be remembered.
        sleep(Duration::from_secs(2)).await;

        let page = Page::operations(namespace);
        page.run("\"hibernate\":true").await?;
        let asleep = cluster
            .wait_status("Hibernated", PATIENCE, |status| {
                condition(status, "Ready").is_some_and(|ready| ready.reason == "Hibernated")
            })
            .await?;
        ensure!(condition(&asleep, "Ready").is_some_and(|ready| ready.status == "True"));
        ensure!(condition(&asleep, "Available").is_some_and(|available| available.status == "False"));
        ensure!(asleep.leader.as_deref() == Some("<none>"), "a leader of the past: {:?}", asleep.leader);
        ensure!(cluster.pods().await?.is_empty(), "a Pod still runs");
        let claims = namespace.kubectl(&["get", "pvc", "-o", "name"]).await?;
        ensure!(claims.lines().count() == 3, "{claims}");

        // As the page says: `false` wakes it.
        page.with("true", "false").run("\"hibernate\":true").await?;
        let after = cluster.wait_ready(3).await?;
        ensure!(raft_ids(&after) == raft_ids(&before), "a member became another");
        let new = addresses(&cluster).await?;
        let moved = old.iter().filter(|(name, address)| new.get(*name).is_some_and(|new| new != *address));
        ensure!(moved.count() == 3, "not every member has another address: {old:?} became {new:?}");
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

async fn addresses(cluster: &Cluster<'_>) -> Result<BTreeMap<String, String>> {
    let pods = cluster.pods().await?;
    Ok(pods.into_iter().filter_map(|(name, pod)| Some((name, pod.status?.pod_ip?))).collect())
}
