//! A member will not come back, or is to go: its claim is deleted under it, or its disk is damaged.
//!
//! The user sees a new member join first and take the vote of the old one in one change; writes go on.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use quorate_crds::RaftClusterStatus;

use crate::bed::{fault, kubectl};
use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::history::History;
use crate::load::Load;
use crate::namespace::namespace;
use crate::page::Page;

/// Its claim is deleted while its Pod runs: the newcomer votes before the old one goes, and the claim goes with it (rule
/// 9, K41; operator.md §8.25).
#[tokio::test]
async fn a_member_whose_claim_is_being_deleted_is_replaced_first() -> Result<()> {
    namespace("claim-deleted", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let leader = before.leader.clone().context("status names no leader")?;
        let (load, history) = (Load::on(&cluster), History::of(&cluster));

        // The leader's: it has to hand over as well.
        // It returns when the claim is gone, and that goes with the Pod.
        Page::operations(namespace)
            .with("greeting-1", &leader)
            .run("kubectl delete pvc raft-greeting-1")
            .await?;
        let after = replaced(&cluster, &before, &leader).await?;
        ensure!(!after.contains_key(&leader), "{leader} is still a member: {after:?}");
        history.kept_voters(3)?;
        cluster.wait_gone(&leader).await?;
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// A damaged log: the sidecar exits with 65 and says so, the member is replaced, its claim is kept (rule 11, K39).
#[tokio::test]
async fn a_member_whose_volume_is_damaged_is_replaced_and_the_claim_is_kept() -> Result<()> {
    namespace("damaged", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let leader = before.leader.clone().context("status names no leader")?;
        let victim =
            cluster.pods().await?.into_keys().rfind(|pod| *pod != leader).context("a follower")?;
        let load = Load::on(&cluster);
        damage(&cluster, &victim).await?;
        replaced(&cluster, &before, &victim).await?;
        let kept = namespace
            .kubectl(&[
                "get",
                "pvc",
                &format!("raft-{victim}"),
                "-o",
                "jsonpath={.metadata.annotations.quorate\\.dev/member-state} {.metadata.annotations.quorate\\.dev/leaves-because}",
            ])
            .await?;
        ensure!(kept == "Retired Broken", "the claim says {kept:?}");
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// Waits until the victim's ID is gone and the cluster is whole; the members then.
pub(crate) async fn replaced(
    cluster: &Cluster<'_>,
    before: &RaftClusterStatus,
    victim: &str,
) -> Result<std::collections::BTreeMap<String, String>> {
    let old = raft_ids(before).remove(victim).context("the victim has a Raft ID")?;
    let status = cluster
        .wait_status(&format!("another in the place of {old}"), PATIENCE, |status| {
            let ids = raft_ids(status);
            ids.len() == 3
                && !ids.values().any(|id| *id == old)
                && condition(status, "Ready").is_some_and(|ready| ready.status == "True")
        })
        .await?;
    cluster.namespace.say(&format!("{old} was replaced: {}", status.summary.clone().unwrap_or_default()));
    Ok(raft_ids(&status))
}

/// Writes over the beginning of the member's log on its node, and restarts the sidecar over it.
async fn damage(cluster: &Cluster<'_>, victim: &str) -> Result<()> {
    let namespace = cluster.namespace;
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let node = pods.get(victim).await?.spec.and_then(|spec| spec.node_name).context("the victim's node")?;
    let claim = format!("raft-{victim}");
    let volume = namespace.kubectl(&["get", "pvc", &claim, "-o", "jsonpath={.spec.volumeName}"]).await?;
    let path = "jsonpath={.spec.hostPath.path}{.spec.local.path}";
    let folder = kubectl(&["get", "pv", &volume, "-o", path]).await?;
    ensure!(folder.contains(&volume), "{folder:?} is not the folder of {volume}");
    let log = fault(&["on", &node, "find", &folder, "-name", "log.redb"]).await?;
    let log = log.lines().last().context("the member has a log")?.to_owned();
    let pod = format!("{}/{victim}", namespace.name);
    let over = format!("of={log}");
    fault(&["on", &node, "dd", "if=/dev/urandom", &over, "bs=4096", "count=64", "conv=notrunc"]).await?;
    // What it writes after this is not read: it is killed.
    fault(&["kill-container", &node, &pod, "quorate-sidecar"]).await?;
    namespace.say(&format!("damaged {log} on {node} under {victim}"));
    Ok(())
}
