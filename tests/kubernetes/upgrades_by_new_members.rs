//! A user does not want a new version of the application started over the old members' data before it has proven itself.
//!
//! They set `update.strategy: OnDelete` and `autopilot.upgradeVersionFrom`, edit the template and double `replicas`: new
//! members join with the new version, and when there are enough of them votes and leadership move. Then they halve
//! `replicas`, and the old members leave.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use quorate_crds::{RaftCluster, RaftClusterStatus, UpdateStrategy};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, PATIENCE, condition, container, voters};
use crate::load::Load;
use crate::namespace::namespace;

/// The annotation that says the version.
const ANNOTATION: &str = "quorate.dev/app-version";
/// What is published one after the other (A29).
const STATUSES: [&str; 7] =
    ["idle", "await-new-voters", "promoting", "demoting", "leader-transfer", "await-server-removal", "idle"];

/// 3 + 3: the statuses come in order, no write is lost, and the old members are those that leave (A29).
#[tokio::test]
async fn votes_move_to_members_of_a_new_version_and_the_old_ones_leave() -> Result<()> {
    namespace("upgrade", async |namespace| {
        let sentence = namespace.cluster("db").replicas(3).with_template(&template("1.0.0"))?;
        let cluster = sentence
            .with(|spec| {
                spec.update.strategy = UpdateStrategy::OnDelete;
                spec.autopilot.upgrade_version_from = Some(ANNOTATION.to_owned());
            })
            .apply()
            .await?;
        cluster.wait_ready(3).await?;
        let (load, statuses) = (Load::on(&cluster), Statuses::of(&cluster));
        cluster.wait_status("idle", PATIENCE, |status| upgrade(status) == Some("idle")).await?;

        namespace.say("version 2.0.0, and twice as many members");
        let spec = json!({"spec": {"replicas": 6, "template": template("2.0.0")}});
        let resources: Api<RaftCluster> = Api::namespaced(namespace.client.clone(), &namespace.name);
        resources.patch(&cluster.name, &PatchParams::default(), &Patch::Merge(spec)).await?;
        let moved = cluster
            .wait_status("that the old members may go", PATIENCE, |status| {
                upgrade(status) == Some("await-server-removal") && voters(status).len() == 3
            })
            .await?;
        ensure!(voters(&moved) == ["db-3", "db-4", "db-5"], "{:?} vote", voters(&moved));
        let target = moved.raft.and_then(|raft| raft.upgrade).and_then(|upgrade| upgrade.target_version);
        ensure!(target.as_deref() == Some("2.0.0"), "the target is {target:?}");

        cluster.scale(3).await?;
        let done = cluster.wait_ready(3).await?;
        ensure!(voters(&done) == ["db-3", "db-4", "db-5"], "{:?} are left", voters(&done));
        cluster.wait_status("idle", PATIENCE, |status| upgrade(status) == Some("idle")).await?;
        ensure!(condition(&done, "Available").is_some_and(|it| it.status == "True"));
        load.finish(&cluster).await?;
        let seen = statuses.seen();
        namespace.say(&format!("statuses: {}", seen.join(", ")));
        let mut rest = seen.iter();
        for expected in STATUSES {
            ensure!(rest.any(|seen| seen == expected), "{expected} did not come in its turn: {seen:?}");
        }
        Ok(())
    })
    .await
}

fn template(version: &str) -> Value {
    json!({
        "metadata": {"annotations": {ANNOTATION: version}},
        "spec": {"containers": [container("localhost/quorate-example:dev")]},
    })
}

fn upgrade(status: &RaftClusterStatus) -> Option<&str> {
    Some(status.raft.as_ref()?.upgrade.as_ref()?.status.as_str())
}

/// The statuses of the upgrade as they were published; each once in a row.
struct Statuses {
    seen: Arc<Mutex<Vec<String>>>,
    watch: JoinHandle<()>,
}

impl Statuses {
    fn of(cluster: &Cluster<'_>) -> Self {
        let api: Api<RaftCluster> =
            Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", cluster.name));
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = seen.clone();
        let watch = tokio::spawn(async move {
            let mut versions = Box::pin(watcher(api, only).default_backoff().applied_objects());
            loop {
                match versions.try_next().await {
                    Ok(Some(version)) => {
                        let status = version.status.unwrap_or_default();
                        let Some(now) = upgrade(&status) else { continue };
                        let mut seen = record.lock().unwrap_or_else(PoisonError::into_inner);
                        if seen.last().is_none_or(|last| last != now) {
                            seen.push(now.to_owned());
                        }
                    }
                    Ok(None) => return,
                    // The stream goes on after an error, with a pause of its own.
                    Err(_) => {}
                }
            }
        });
        Self { seen, watch }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Statuses {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
