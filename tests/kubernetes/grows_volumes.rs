//! The user wants larger volumes.

use anyhow::{Result, ensure};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use quorate_crds::{RaftCluster, RaftClusterStatus};
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::load::Load;
use crate::namespace::{Namespace, namespace};
use crate::page::Page;
use crate::wait::{Look, until};

/// Each claim asks for more where the class lets it; the rest is a storage driver's, and the bed has none that grows one
/// (operator.md §8.7). Where the class lets none grow, the way out is said, and it works: a replacement has the new size.
#[tokio::test]
async fn volumes_grow_where_their_class_lets_them() -> Result<()> {
    namespace("grow", async |namespace| {
        let class = expandable_class(namespace).await?;
        let cluster = namespace.cluster("growing").replicas(1).storage_class(&class).apply().await?;
        let stuck = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        cluster.wait_ready(1).await?;
        stuck.wait_ready(3).await?;
        grow(&cluster, "2Gi").await?;
        until("the claim to ask for 2Gi", PATIENCE, async || {
            let asked = request(&cluster, "raft-growing-0").await?;
            Ok(if asked == "2Gi" { Look::Found(()) } else { Look::NotYet(asked) })
        })
        .await?;
        wait_reason(&cluster, "ExpandingVolume").await?;

        let load = Load::on(&stuck);
        grow(&stuck, "2Gi").await?;
        let said = wait_reason(&stuck, "VolumeNotExpandable").await?;
        ensure!(request(&stuck, "raft-db-0").await? == "1Gi", "a class that lets none grow was asked");
        let message = condition(&said, "Ready").map(|ready| ready.message.clone()).unwrap_or_default();
        let id = raft_ids(&said).remove("db-0").unwrap_or_default();
        let way_out = format!("quorate.dev/replace=db-0@{id}");
        ensure!(message.contains(&way_out), "no way out in {message:?}");
        let page = Page::operations(namespace).with("greeting-1", "db-0").with("greeting-1-3f2a91c4", &id);
        page.run("quorate.dev/replace").await?;
        stuck
            .wait_status("a member with a larger volume", PATIENCE, |status| {
                raft_ids(status).keys().eq(["db-1", "db-2", "db-3"])
                    && status.voters.as_deref() == Some("3/3")
            })
            .await?;
        ensure!(request(&stuck, "raft-db-3").await? == "2Gi", "the successor's volume has the old size");
        stuck.wait_gone("db-0").await?;
        load.finish(&stuck).await?;
        Ok(())
    })
    .await
}

/// The bed's class under another name, with leave to grow: the bed's provisioner makes the volume, and nobody grows it.
async fn expandable_class(namespace: &Namespace) -> Result<String> {
    let classes: Api<StorageClass> = Api::all(namespace.client.clone());
    let mut class = classes.get("local-path").await?;
    let name = format!("growing-{}", namespace.name);
    class.metadata = serde_json::from_value(json!({ "name": name }))?;
    class.allow_volume_expansion = Some(true);
    classes.create(&PostParams::default(), &class).await?;
    Ok(name)
}

async fn grow(cluster: &Cluster<'_>, size: &str) -> Result<()> {
    let resources: Api<RaftCluster> =
        Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    let patch = Patch::Merge(json!({"spec": {"storage": {"size": size}}}));
    resources.patch(&cluster.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn request(cluster: &Cluster<'_>, claim: &str) -> Result<String> {
    let path = "jsonpath={.spec.resources.requests.storage}";
    cluster.namespace.kubectl(&["get", "pvc", claim, "-o", path]).await
}

async fn wait_reason(cluster: &Cluster<'_>, reason: &str) -> Result<RaftClusterStatus> {
    cluster
        .wait_status(reason, PATIENCE, |status| {
            condition(status, "Ready").is_some_and(|ready| ready.reason == reason)
        })
        .await
}
