//! A user applies a `RaftCluster`, and later scales it with `kubectl scale`.
//!
//! They see one member begin the cluster, the others join one at a time, each without a vote until it was healthy for
//! the stabilization time, and `kubectl get` say Healthy. Their application writes all the time, through every member.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::cluster::{Cluster, condition, raft_ids};
use crate::history::History;
use crate::load::Load;
use crate::namespace::namespace;

/// A cluster of one is whole at once, and tolerates nothing (operator.md §8.18).
#[tokio::test]
async fn a_cluster_of_one_forms() -> Result<()> {
    namespace("forms-1", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).apply().await?;
        formed(&cluster, 1).await
    })
    .await
}

/// Exactly one bootstrap, then one at a time (K2, K13; operator.md §8.18, §8.20).
#[tokio::test]
async fn a_cluster_of_three_forms_one_member_at_a_time() -> Result<()> {
    namespace("forms-3", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).apply().await?;
        formed(&cluster, 3).await
    })
    .await
}

/// The same with more members to get it wrong with.
#[tokio::test]
async fn a_cluster_of_five_forms_one_member_at_a_time() -> Result<()> {
    namespace("forms-5", async |namespace| {
        let cluster = namespace.cluster("db").replicas(5).apply().await?;
        formed(&cluster, 5).await
    })
    .await
}

/// Growing and shrinking under load loses no acknowledged write (P4; operator.md §8.21). The longest gap is printed.
#[tokio::test]
async fn scaling_1_3_5_3_1_under_load_loses_no_acknowledged_write() -> Result<()> {
    namespace("scales", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).with_application()?.apply().await?;
        let history = History::of(&cluster);
        cluster.wait_ready(1).await?;
        let load = Load::on(&cluster);
        for replicas in [3, 5, 3, 1] {
            cluster.scale(replicas).await?;
            cluster.wait_ready(usize::try_from(replicas)?).await?;
        }
        let tally = load.finish(&cluster).await?;
        ensure!(tally.pods.len() == 5, "not every member was written through: {:?}", tally.pods);
        history.joined_one_at_a_time()?;
        history.changed_one_at_a_time()?;
        claims_are_those_of_the_members(&cluster).await
    })
    .await
}

async fn formed(cluster: &Cluster<'_>, replicas: usize) -> Result<()> {
    let history = History::of(cluster);
    let status = cluster.wait_ready(replicas).await?;
    history.joined_one_at_a_time()?;
    history.changed_one_at_a_time()?;
    bootstrapped_once(cluster).await?;
    let generation = cluster.get().await?.metadata.generation;
    for (kind, expected) in [
        ("Ready", "True"),
        ("Available", "True"),
        ("Progressing", "False"),
        ("Degraded", "False"),
        ("Stalled", "False"),
    ] {
        // The settling round may come a moment after the last vote.
        let found = cluster
            .wait_status(&format!("{kind}={expected}"), crate::cluster::PATIENCE, |status| {
                condition(status, kind)
                    .is_some_and(|found| found.status == expected && found.observed_generation == generation)
            })
            .await?;
        ensure!(
            condition(&found, kind).is_some_and(|found| !found.message.is_empty()),
            "{kind} says nothing"
        );
    }
    ensure!(
        raft_ids(&status).len() == replicas,
        "not every member has a Raft ID of its own: {:?}",
        raft_ids(&status)
    );
    Ok(())
}

/// That the event of the bootstrap was given once (K2).
pub(crate) async fn bootstrapped_once(cluster: &Cluster<'_>) -> Result<()> {
    let times = cluster
        .namespace
        .kubectl(&[
            "get",
            "events.v1.events.k8s.io",
            "--field-selector",
            &format!("regarding.name={},reason=Bootstrapped", cluster.name),
            "-o",
            "jsonpath={range .items[*]}{.series.count}x{end}",
        ])
        .await?;
    ensure!(times == "x", "the cluster was not bootstrapped exactly once: {times:?}");
    Ok(())
}

/// That no volume claim is left behind, and none is missing (`whenScaled: Delete` is the default).
async fn claims_are_those_of_the_members(cluster: &Cluster<'_>) -> Result<()> {
    let pods: BTreeSet<String> = cluster.pods().await?.into_keys().map(|pod| format!("raft-{pod}")).collect();
    let listed =
        cluster.namespace.kubectl(&["get", "pvc", "-o", "jsonpath={.items[*].metadata.name}"]).await?;
    let claims: BTreeSet<String> = listed.split_whitespace().map(ToOwned::to_owned).collect();
    ensure!(claims == pods, "claims {claims:?} of Pods {pods:?}");
    Ok(())
}
