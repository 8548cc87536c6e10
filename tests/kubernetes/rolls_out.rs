//! A user edits the Pod template while the application writes: once well, once with an image that does not exist.
//!
//! They see one member after the other come back with the new template, the leader last, and writes go on. The bad edit
//! stops at the first member and says why; correcting it is all there is to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use quorate_crds::RaftCluster;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::{Cluster, PATIENCE, condition, container, raft_ids};
use crate::history::History;
use crate::load::Load;
use crate::namespace::namespace;
use crate::page::Page;

/// The application's image in these tests.
const IMAGE: &str = "localhost/quorate-example:dev";
/// How often Pods are looked at: they are away for a second or more.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One at a time, unhealthy first, leader last after hand-over, paused when one does not come back; a second edit
/// supersedes the first; no write is lost and the membership stays (A33, rules 19 and E2; operator.md §8.30, §8.34). What to
/// do is in the runbook `RaftRolloutStuck`.
#[tokio::test]
async fn an_edited_template_reaches_every_member_one_at_a_time() -> Result<()> {
    namespace("rollout", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let leader = before.leader.clone().context("status names no leader")?;
        let (history, load, absences) = (History::of(&cluster), Load::on(&cluster), Absences::of(&cluster));

        edit(&cluster, IMAGE, "well").await?;
        let after = cluster.wait_ready(3).await?;
        let order = absences.order();
        namespace.say(&format!("replaced in the order {order:?}; {leader} led"));
        ensure!(order.len() == 3, "each Pod is replaced once: {order:?}");
        ensure!(order.last() == Some(&leader), "{leader} led and was not the last of {order:?}");
        ensure!(after.leader.as_deref() != Some(leader.as_str()), "{leader} did not hand over");
        ensure!(marks(&cluster).await? == BTreeSet::from(["well".to_owned()]), "not every Pod has the edit");

        edit(&cluster, "localhost/quorate-example:none", "ill").await?;
        let stuck = cluster
            .wait_status("the image that is not there", PATIENCE, |status| {
                status.blocked.iter().any(|entry| entry.reason == "ImagePull")
            })
            .await?;
        let ready = condition(&stuck, "Ready").context("Ready is always set")?;
        ensure!(ready.status == "False", "Ready with a member that does not start");
        // Others would be taken now if they ever were; the wait is for what must not come.
        sleep(Duration::from_secs(5)).await;
        ensure!(absences.order().len() == 4, "only one Pod meets the bad template: {:?}", absences.order());
        mend_by_the_runbook(&cluster).await?;
        let healed = cluster.wait_ready(3).await?;
        ensure!(marks(&cluster).await? == BTreeSet::from(["cured".to_owned()]), "not every Pod has the cure");

        ensure!(absences.most() <= 1, "{} members were away at once", absences.most());
        load.finish(&cluster).await?;
        ensure!(raft_ids(&healed) == raft_ids(&before), "a member became another");
        ensure!(history.memberships().len() == 1, "the membership changed: {:?}", history.memberships());
        Ok(())
    })
    .await
}

/// `RaftRolloutStuck`: what it says of an image that is not there, and of a leader that waits for a person.
async fn mend_by_the_runbook(cluster: &Cluster<'_>) -> Result<()> {
    let page = Page::runbooks(cluster.namespace);
    let said = page.run("range .status.blocked").await?;
    ensure!(said.starts_with("ImagePull: "), "what blocks is not said: {said}");
    let said = page.run(".status.rollout.pending").await?;
    ensure!(said.matches("db-").count() >= 2, "those that wait are not named: {said}");
    supervise(cluster).await?;
    edit(cluster, IMAGE, "cured").await?;
    let waiting = cluster
        .wait_status("that only the leader is left", PATIENCE, |status| {
            status.blocked.iter().any(|entry| entry.message.contains("is Supervised"))
        })
        .await?;
    let said = page.run("range .status.blocked").await?;
    ensure!(said.starts_with("RolloutPaused: "), "what blocks is not said: {said}");
    let page = page.with("<leader>", &waiting.leader.context("status names no leader")?);
    page.run("delete pod <leader>").await?;
    cluster
        .wait_status("nobody who waits", PATIENCE, |status| {
            status.rollout.as_ref().is_some_and(|rollout| rollout.pending.is_empty())
        })
        .await?;
    let said = page.run(".status.rollout.pending").await?;
    ensure!(!said.contains("db-"), "it is not over: {said}");
    Ok(())
}

/// `kubectl edit`: the image, and an environment variable to know Pods by.
async fn edit(cluster: &Cluster<'_>, image: &str, mark: &str) -> Result<()> {
    cluster.namespace.say(&format!("template edited: {mark}"));
    let mut container = container(image);
    container["env"] = json!([{"name": "MARK", "value": mark}]);
    let patch: Value = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let resources: Api<RaftCluster> =
        Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    resources.patch(&cluster.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// The leader waits for a person from now on.
async fn supervise(cluster: &Cluster<'_>) -> Result<()> {
    let resources: Api<RaftCluster> =
        Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
    let patch = Patch::Merge(json!({"spec": {"update": {"strategy": "Supervised"}}}));
    resources.patch(&cluster.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The marks of the Pods that run.
async fn marks(cluster: &Cluster<'_>) -> Result<BTreeSet<String>> {
    let mark = |pod: Pod| {
        let container = pod.spec?.containers.into_iter().find(|container| container.name == "app")?;
        container.env?.into_iter().find(|var| var.name == "MARK")?.value
    };
    Ok(cluster.pods().await?.into_values().filter_map(mark).collect())
}

/// Which Pods were replaced, in order, and how many were away at once.
struct Absences {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    uids: BTreeMap<String, String>,
    order: Vec<String>,
    most: usize,
}

impl Absences {
    fn of(cluster: &Cluster<'_>) -> Self {
        let pods: Api<Pod> = Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name);
        let only = ListParams::default().labels(&cluster.selector());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let record = seen.clone();
        let looking = tokio::spawn(async move {
            loop {
                // A failed look is a look less.
                if let Ok(listed) = pods.list(&only).await {
                    record.lock().unwrap_or_else(PoisonError::into_inner).look(&listed.items);
                }
                sleep(LOOK_EVERY).await;
            }
        });
        Self { seen, looking }
    }

    fn order(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).order.clone()
    }

    fn most(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).most
    }
}

impl Drop for Absences {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Seen {
    fn look(&mut self, pods: &[Pod]) {
        let mut present = 0;
        for pod in pods {
            let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else { continue };
            let before = self.uids.insert(name.clone(), uid.clone());
            if before.is_some_and(|before| before != *uid) {
                self.order.push(name.clone());
            }
            let is_running =
                pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            present += usize::from(is_running && pod.metadata.deletion_timestamp.is_none());
        }
        self.most = self.most.max(self.uids.len() - present);
    }
}
