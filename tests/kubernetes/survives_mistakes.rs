//! A person does what should not be done: deletes every claim, or the resource; scales to and fro; meets a quota.
//!
//! Nothing is lost, and status says what to do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{Patch, PatchParams};
use quorate_crds::RaftCluster;
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::forms_and_scales::bootstrapped_once;
use crate::load::Load;
use crate::namespace::namespace;
use crate::page::Page;
use crate::wait::{Look, until};

/// `kubectl delete pvc -l ...` on a running cluster, then an edit: the Pods stay, and the data with them; by a person's
/// word one member after the other moves to a new volume, the last by itself (K41, rule 9).
#[tokio::test]
async fn every_claim_deleted_under_a_running_cluster_loses_nothing() -> Result<()> {
    namespace("all-claims", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        let pods = uids(&cluster).await?;
        namespace.kubectl(&["delete", "pvc", "-l", &cluster.selector(), "--wait=false"]).await?;
        cluster
            .wait_status("what to do about the claims", PATIENCE, |status| {
                status.blocked.iter().any(|entry| entry.message.contains("replace one at a time"))
                    && condition(status, "Degraded").is_some_and(|it| it.reason == "VolumeBeingDeleted")
            })
            .await?;
        let resources: Api<RaftCluster> = Api::namespaced(namespace.client.clone(), &namespace.name);
        let patch = json!({"spec": {"sidecar": {"resources": {"requests": {"cpu": "90m"}}}}});
        resources.patch(&cluster.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        // The wait is for what must not come.
        sleep(Duration::from_secs(5)).await;
        ensure!(uids(&cluster).await? == pods, "a Pod went, and its volume with it");

        let old = raft_ids(&before);
        for name in ["db-0", "db-1"] {
            let raft_id = &old[name];
            cluster.annotate("quorate.dev/replace", None).await?;
            let page = Page::runbooks(namespace).with("db-1", name).with("<raft ID>", raft_id);
            page.run("quorate.dev/replace=db-1@<raft ID>").await?;
            cluster
                .wait_status(&format!("another in the place of {raft_id}"), PATIENCE, |status| {
                    let ids = raft_ids(status);
                    !ids.is_empty() && !ids.values().any(|id| id == raft_id)
                })
                .await?;
        }
        cluster.annotate("quorate.dev/replace", None).await?;
        let after = cluster.wait_ready(3).await?;
        let stayed = raft_ids(&after).into_values().filter(|id| old.values().any(|old| old == id)).count();
        ensure!(stayed == 0, "{stayed} members are still on volumes that go: {:?}", raft_ids(&after));
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// `kubectl delete raftcluster`, and the same again: its claims were kept, so it is the same cluster with the same data
/// (K34, K41; operator.md §8.45).
#[tokio::test]
async fn a_cluster_made_again_over_its_claims_is_the_same_cluster() -> Result<()> {
    // In a box: it is large.
    Box::pin(namespace("made-again", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        // Not a wait for anything: some visits are to be remembered.
        sleep(Duration::from_secs(2)).await;
        let saved = cluster.get().await?;
        // Its Pods are still going when the next one is made.
        namespace.kubectl(&["delete", "raftcluster", "db"]).await?;
        let cluster = namespace.cluster("db").replicas(3).with_spec(saved.spec).apply().await?;
        let after = cluster.wait_ready(3).await?;
        ensure!(after.cluster_id == before.cluster_id, "another cluster was begun");
        ensure!(raft_ids(&after) == raft_ids(&before), "a member became another");
        load.finish(&cluster).await?;
        bootstrapped_once(&cluster).await
    }))
    .await
}

/// 5→3→5 within a moment: it ends with five, and no ID, Pod or claim is left behind (I10; operator.md §8.23).
#[tokio::test]
async fn scaling_to_and_fro_in_a_moment_ends_as_asked() -> Result<()> {
    namespace("to-and-fro", async |namespace| {
        let cluster = namespace.cluster("db").replicas(5).apply().await?;
        cluster.wait_ready(5).await?;
        cluster.scale(3).await?;
        cluster.scale(5).await?;
        cluster.wait_ready(5).await?;
        let claims = namespace.kubectl(&["get", "pvc", "-o", "name"]).await?;
        ensure!(claims.lines().count() == 5 && cluster.pods().await?.len() == 5, "{claims}");
        Ok(())
    })
    .await
}

/// A quota that forbids the fourth Pod is quoted; three go on; more room is enough (K51).
#[tokio::test]
async fn a_quota_that_forbids_the_fourth_pod_is_quoted() -> Result<()> {
    namespace("quota", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).apply().await?;
        cluster.wait_ready(3).await?;
        namespace.kubectl(&["create", "quota", "three", "--hard=pods=3"]).await?;
        cluster.scale(5).await?;
        let held_back = cluster
            .wait_status("the quota", PATIENCE, |status| {
                status.blocked.iter().any(|entry| {
                    entry.reason == "CreationRefused" && entry.message.contains("exceeded quota: three")
                })
            })
            .await?;
        ensure!(held_back.voters.as_deref() == Some("3/3"), "voters {:?}", held_back.voters);
        ensure!(condition(&held_back, "Available").is_some_and(|it| it.status == "True"));
        namespace.kubectl(&["delete", "quota", "three"]).await?;
        cluster.wait_ready(5).await?;
        Ok(())
    })
    .await
}

/// Every node was shut down in order, and every Pod has ended (Failed): they are made anew as the same members (E1).
#[tokio::test]
async fn pods_that_all_have_ended_come_back_as_themselves() -> Result<()> {
    namespace("shut-down", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        let pods = uids(&cluster).await?;
        // As the kubelet of a node that shuts down says it; the kubelets here then end the containers.
        let ended = "{\"status\":{\"phase\":\"Failed\",\"reason\":\"Terminated\",\"message\":\"Pod was terminated in response to imminent node shutdown.\"}}";
        until("other Pods", PATIENCE, async || {
            let now = uids(&cluster).await?;
            let is_new = now.len() == 3 && now.iter().all(|(name, uid)| pods.get(name) != Some(uid));
            // Said until it holds: a kubelet that reports its Pod in the same moment overwrites it.
            for (name, _) in now.iter().filter(|(name, uid)| pods.get(*name) == Some(*uid)) {
                let words = ["patch", "pod", name, "--subresource=status", "--type=merge", "-p", ended];
                if let Err(error) = namespace.kubectl(&words).await {
                    namespace.say(&format!("{name} may be gone already: {error}"));
                }
            }
            Ok(if is_new { Look::Found(()) } else { Look::NotYet(format!("{now:?}")) })
        })
        .await?;
        let after = cluster.wait_ready(3).await?;
        ensure!(raft_ids(&after) == raft_ids(&before), "a member became another");
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// Every claim and every Pod is deleted at once: it says that all is lost, and never begins anew by itself (operator.md
/// §8.29).
#[tokio::test]
async fn a_cluster_without_any_volume_says_so_and_is_not_begun_again() -> Result<()> {
    namespace("all-lost", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).apply().await?;
        cluster.wait_ready(3).await?;
        // Paused, nobody makes a Pod that would hold a claim before all are gone.
        cluster.annotate("quorate.dev/paused", Some("true")).await?;
        let selector = cluster.selector();
        namespace.kubectl(&["delete", "pvc", "-l", &selector, "--wait=false"]).await?;
        namespace.kubectl(&["delete", "pod", "-l", &selector, "--force", "--grace-period=0"]).await?;
        cluster.annotate("quorate.dev/paused", None).await?;
        cluster
            .wait_status("that all members are lost", PATIENCE, |status| {
                condition(status, "Available")
                    .is_some_and(|it| it.status == "False" && it.reason == "AllMembersLost")
                    && condition(status, "Stalled").is_some_and(|it| it.status == "True")
            })
            .await?;
        // The wait is for what must not come.
        sleep(Duration::from_secs(5)).await;
        ensure!(cluster.pods().await?.is_empty(), "a Pod was made");
        let claims = namespace.kubectl(&["get", "pvc", "-o", "name"]).await?;
        ensure!(claims.is_empty(), "a volume was made: {claims}");
        bootstrapped_once(&cluster).await
    })
    .await
}

async fn uids(cluster: &Cluster<'_>) -> Result<BTreeMap<String, String>> {
    let pods = cluster.pods().await?;
    pods.into_iter().map(|(name, pod)| Ok((name, pod.metadata.uid.context("a Pod has a UID")?))).collect()
}
