//! A user loses two of three volumes at once. Writes stop, and the operator does nothing by itself: it says what is lost.
//!
//! They name the survivor. It becomes the cluster, with everything it held, and grows to three members again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::load::{Load, address, get};
use crate::namespace::namespace;
use crate::page::Page;

/// Only on the annotation with the present term, only when the others are gone for good; data and identity stay, the epoch
/// is on record (K18, rule 3; operator.md §8.43).
#[tokio::test]
async fn a_survivor_becomes_the_cluster_on_a_persons_word() -> Result<()> {
    namespace("recovery", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        // Too early: nobody is lost.
        cluster.annotate("quorate.dev/recover", Some("db-1@1")).await?;
        refused(&cluster, "a majority confirms a leader").await?;
        cluster.annotate("quorate.dev/recover", None).await?;
        load.finish(&cluster).await?;
        let visits = visits(&cluster, "db-1").await?;
        ensure!(visits > 0, "nobody wrote anything");

        namespace.kubectl(&["delete", "pvc", "raft-db-0", "raft-db-2", "--wait=false"]).await?;
        namespace.kubectl(&["delete", "pod", "db-0", "db-2", "--grace-period=0", "--force"]).await?;
        let lost = cluster
            .wait_status("QuorumLost", PATIENCE, |status| {
                condition(status, "Available")
                    .is_some_and(|it| it.status == "False" && it.reason == "QuorumLost")
            })
            .await?;
        let term = lost.raft.as_ref().and_then(|raft| raft.term).context("status.raft has a term")?;
        cluster.annotate("quorate.dev/recover", Some(&format!("db-1@{}", term + 1))).await?;
        refused(&cluster, "status.raft.term is").await?;

        cluster.annotate("quorate.dev/recover", None).await?;
        let page = Page::recovery(namespace);
        ensure!(page.run("status.raft.term").await? == term.to_string(), "the page asks for another term");
        let page = page.with("greeting-1@7", &format!("db-1@{term}"));
        page.run("quorate.dev/recover=\"greeting-1@7\"").await?;
        let after = cluster.wait_ready(3).await?;
        let recovery = after.recovery.clone().context("the recovery is on record")?;
        ensure!(
            recovery.epoch == 1 && Some(&recovery.raft_id) == raft_ids(&before).get("db-1"),
            "{recovery:?}"
        );
        ensure!(after.raft.as_ref().and_then(|raft| raft.recovery_epoch) == Some(1), "{:?}", after.raft);
        ensure!(after.cluster_id == before.cluster_id, "another cluster");
        for (name, pod) in cluster.pods().await? {
            let found = visits_at(&pod, &name).await?;
            ensure!(found >= visits, "{name} knows {found} visits of {visits}");
        }
        let load = Load::on(&cluster);
        // Not a wait for anything: some visits are to be counted.
        sleep(Duration::from_secs(2)).await;
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

async fn refused(cluster: &Cluster<'_>, why: &str) -> Result<()> {
    cluster
        .wait_status(&format!("that {why}"), PATIENCE, |status| {
            status.blocked.iter().any(|entry| entry.rule == "3" && entry.message.contains(why))
        })
        .await?;
    Ok(())
}

async fn visits(cluster: &Cluster<'_>, name: &str) -> Result<u64> {
    visits_at(&cluster.pod(name).await?, name).await
}

async fn visits_at(pod: &k8s_openapi::api::core::v1::Pod, name: &str) -> Result<u64> {
    let address = address(pod).with_context(|| format!("{name} has no address"))?;
    let answer = get(&address, "/visits").await?;
    let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{name} answered {answer:?}"))
}
