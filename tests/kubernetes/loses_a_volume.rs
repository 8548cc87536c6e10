//! A user loses a member's volume: the claim is deleted with its Pod, or the disk under it comes back empty.
//!
//! They see the old member leave and a new one join under a new Raft ID, without a vote at first. An emptied disk
//! never counts as the member it once held: it is refused, says so, and serves nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_crds::RaftClusterStatus;

use crate::bed::{fault, kubectl};
use crate::cluster::{Cluster, PATIENCE, raft_ids};
use crate::history::History;
use crate::load::{Load, address, get};
use crate::namespace::namespace;
use crate::page::Page;
use crate::wait::{Look, until};

/// What the emptied member logs.
const NOT_THE_ONE: &str = "this volume is not the one the cluster knows";

/// The old ID leaves through the leader, a new one joins as non-voter, then votes (K1, K33; operator.md §8.25).
#[tokio::test]
async fn a_deleted_volume_makes_a_new_member() -> Result<()> {
    namespace("volume-gone", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        let history = History::of(&cluster);
        let victim = follower(&cluster).await?;
        let old = raft_ids(&before).remove(&victim).context("the victim has a Raft ID")?;

        Page::operations(namespace).with("greeting-1", &victim).run("raft-greeting-1 --wait=false").await?;
        gone(&cluster, &old).await?;
        cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
        never_seen_again(&history, &old)?;
        history.changed_one_at_a_time()
    })
    .await
}

/// Emptied under a running claim: refused by its peers, says so, serves nothing; then replaced (K1; operator.md §8.26).
#[tokio::test]
async fn an_emptied_volume_is_refused_and_then_replaced() -> Result<()> {
    namespace("volume-emptied", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        let victim = follower(&cluster).await?;
        let old = raft_ids(&before).remove(&victim).context("the victim has a Raft ID")?;

        // Paused, the operator does not replace the member before one could look at it.
        let page = Page::operations(namespace);
        page.run("quorate.dev/paused=true").await?;
        paused(&cluster).await?;
        empty(&cluster, &victim).await?;
        until(&format!("{victim} to say that its volume is another"), PATIENCE, async || {
            let log = namespace.kubectl(&["logs", &victim, "-c", "quorate-sidecar", "--tail=50"]).await?;
            Ok(if log.contains(NOT_THE_ONE) { Look::Found(()) } else { Look::NotYet(log) })
        })
        .await?;
        let pod = cluster.pod(&victim).await?;
        let served = get(&address(&pod).context("the victim has an address")?, "/visits").await;
        ensure!(served.is_err(), "the emptied member served {served:?}");

        let history = History::of(&cluster);
        page.run("quorate.dev/paused-").await?;
        gone(&cluster, &old).await?;
        cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
        never_seen_again(&history, &old)
    })
    .await
}

async fn follower(cluster: &Cluster<'_>) -> Result<String> {
    let leader = cluster.leader().await?;
    let pods = cluster.pods().await?;
    pods.into_keys().rfind(|pod| *pod != leader).context("a member that does not lead")
}

async fn paused(cluster: &Cluster<'_>) -> Result<RaftClusterStatus> {
    cluster
        .wait_status("Paused", Duration::from_mins(1), |status| {
            status.conditions.iter().any(|condition| condition.reason == "Paused")
        })
        .await
}

/// Empties the folder of the member's volume on its node, and restarts the sidecar over it.
async fn empty(cluster: &Cluster<'_>, victim: &str) -> Result<()> {
    let namespace = cluster.namespace;
    let node =
        cluster.pod(victim).await?.spec.and_then(|spec| spec.node_name).context("the victim's node")?;
    let claim = format!("raft-{victim}");
    let volume = namespace.kubectl(&["get", "pvc", &claim, "-o", "jsonpath={.spec.volumeName}"]).await?;
    let path = "jsonpath={.spec.hostPath.path}{.spec.local.path}";
    let folder = kubectl(&["get", "pv", &volume, "-o", path]).await?;
    ensure!(folder.contains(&volume), "{folder:?} is not the folder of {volume}");
    fault(&["on", &node, "find", &folder, "-mindepth", "1", "-delete"]).await?;
    let pod = format!("{}/{victim}", namespace.name);
    fault(&["kill-container", &node, &pod, "quorate-sidecar"]).await?;
    namespace.say(&format!("emptied {folder} on {node} under {victim}"));
    Ok(())
}

async fn gone(cluster: &Cluster<'_>, raft_id: &str) -> Result<()> {
    cluster
        .wait_status(&format!("no member {raft_id}"), PATIENCE, |status| {
            let ids = raft_ids(status);
            !ids.is_empty() && !ids.values().any(|id| id == raft_id)
        })
        .await?;
    cluster.namespace.say(&format!("{raft_id} has left"));
    Ok(())
}

/// That once gone, the ID never came back.
fn never_seen_again(history: &History, raft_id: &str) -> Result<()> {
    let seen = history.memberships();
    let is_there: Vec<bool> =
        seen.iter().map(|now| now.voters.contains(raft_id) || now.non_voters.contains(raft_id)).collect();
    let left = is_there.iter().position(|is_there| !is_there).context("the old ID never left")?;
    ensure!(!is_there[left..].contains(&true), "{raft_id} came back: {seen:?}");
    Ok(())
}
