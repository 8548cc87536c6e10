//! An alert calls a person, who follows its runbook word for word (docs/runbooks.md).
//!
//! The commands are the page's own. What they print holds what the page says of it, and it is over as the page says.
//! Here: a lost quorum, a lost node, a full disk. Of the other two most needed the stuck rollout is in `rolls_out`, trouble with
//! certificates in `fails_alone`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bed::{acting_operator, attempt, fault, kubectl, operators_ready};
use crate::cluster::{Cluster, PATIENCE, condition, raft_ids};
use crate::load::{Load, address, get};
use crate::namespace::{namespace, namespace_alone};
use crate::page::Page;
use crate::small_disk::SmallDisk;
use crate::wait::{Look, until};

/// A lost quorum is noticed when no lease was renewed for 20 s and two rounds have seen it (K32).
const QUORUM_LOST_WITHIN: Duration = Duration::from_mins(2);
/// Below the floor of 256 MiB, far above where a write fails (K8).
const NEARLY_FULL_BYTES: u64 = 128 << 20;
/// The ballast is given up, and gives more back (K8).
const ALL_BUT_FULL_BYTES: u64 = 16 << 20;
/// The exit code of a sidecar whose disk is full (K39).
const FULL: i32 = 74;

/// `RaftQuorumLost`: one Pod is Pending and one node is cut off. Then `RaftNoFaultTolerance` and `RaftDeadVoter`: that node
/// does not come back (K32, K49; operator.md §8.27, §8.36). It is cut off and not switched off, which is the
/// harder case: its member runs on, unheard.
#[tokio::test]
async fn a_lost_quorum_and_a_lost_node_are_mended_by_the_runbook() -> Result<()> {
    namespace_alone("nodes-lost", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        cluster.wait_ready(3).await?;
        let cast = Cast::of(&cluster).await?;
        let load = Load::on(&cluster);
        let followed = cast.follow(&cluster).await;
        // Other tests need the nodes, whatever was seen.
        cast.leave_stage().await?;
        followed?;
        load.finish(&cluster).await?;
        operators_ready().await
    })
    .await
}

/// Who has which part.
struct Cast {
    /// Its Pod will be Pending.
    pending: Member,
    /// Its node will be cut off.
    lost: Member,
    /// The third.
    survivor: Member,
}

struct Member {
    pod: String,
    node: String,
}

impl Cast {
    async fn of(cluster: &Cluster<'_>) -> Result<Self> {
        let (_, operators_node) = acting_operator().await?;
        let member = |(pod, found): (String, k8s_openapi::api::core::v1::Pod)| {
            Some(Member { pod, node: found.spec?.node_name? })
        };
        let mut members: Vec<Member> = cluster.pods().await?.into_iter().filter_map(member).collect();
        // The operator that acts stays: another needs its time to take over, and that is shown elsewhere.
        members.sort_by_key(|member| member.node == operators_node);
        let mut members = members.into_iter();
        let mut next = || members.next().context("three members on nodes");
        Ok(Self { lost: next()?, pending: next()?, survivor: next()? })
    }

    async fn follow(&self, cluster: &Cluster<'_>) -> Result<()> {
        let before = raft_ids(&cluster.status().await?);
        self.lose_the_quorum(cluster).await?;
        self.restore_the_quorum(cluster).await?;
        ensure!(raft_ids(&cluster.status().await?) == before, "a member became another");
        self.replace_the_lost(cluster, &before[&self.lost.pod]).await
    }

    async fn lose_the_quorum(&self, cluster: &Cluster<'_>) -> Result<()> {
        let namespace = cluster.namespace;
        kubectl(&["cordon", &self.pending.node]).await?;
        namespace.kubectl(&["delete", "pod", &self.pending.pod, "--wait=false"]).await?;
        fault(&["cut", &self.lost.node]).await?;
        let (pending, lost) = (&self.pending, &self.lost);
        namespace.say(&format!(
            "{} is cordoned under {}, {} is cut off with {} on it",
            pending.node, pending.pod, lost.node, lost.pod
        ));
        cluster
            .wait_status("QuorumLost", QUORUM_LOST_WITHIN, |status| {
                condition(status, "Available").is_some_and(|it| it.reason == "QuorumLost")
            })
            .await?;
        Ok(())
    }

    /// `RaftQuorumLost`.
    async fn restore_the_quorum(&self, cluster: &Cluster<'_>) -> Result<()> {
        let page = Page::runbooks(cluster.namespace);
        let page = page.with("db-1", &self.pending.pod).with("db-0", &self.survivor.pod);
        let said = page.run("get raftcluster db -o wide").await?;
        for words in ["down or hear no leader", "a write needs 2", self.pending.pod.as_str()] {
            ensure!(said.contains(words), "no {words:?} in\n{said}");
        }
        let said = page.run("get pods -l quorate.dev/cluster=db -o wide").await?;
        let is_pending = |line: &str| line.contains(&self.pending.pod) && line.contains("Pending");
        ensure!(said.lines().any(is_pending), "{} is not Pending:\n{said}", self.pending.pod);
        let said = page.run("describe pod db-1").await?;
        ensure!(said.contains("unschedulable"), "it does not say why:\n{said}");
        let said = page.run("logs db-0 -c quorate-sidecar").await?;
        let names_it = |line: &str| line.contains("no connection to peer") && line.contains(&self.lost.pod);
        ensure!(said.lines().any(names_it), "{} is not named:\n{said}", self.lost.pod);

        kubectl(&["uncordon", &self.pending.node]).await?;
        let said = page.run("wait --for=condition=Available").await?;
        ensure!(said.contains("condition met"), "{said}");
        let said = page.run("kubectl -n shop describe raftcluster db").await?;
        ensure!(said.contains("QuorumRestored"), "no event tells of it:\n{said}");
        Ok(())
    }

    /// `RaftNoFaultTolerance`, and `RaftDeadVoter`.
    async fn replace_the_lost(&self, cluster: &Cluster<'_>, raft_id: &str) -> Result<()> {
        let page = Page::runbooks(cluster.namespace);
        let page = page.with("db-1", &self.lost.pod).with("worker-2", &self.lost.node);
        cluster.wait_status("no tolerance", PATIENCE, |status| status.failure_tolerance == Some(0)).await?;
        for words in ["kubectl -n shop describe raftcluster db", "sed -n '/Members:/,$p'"] {
            let said = page.run(words).await?;
            ensure!(said.contains("Unhealthy"), "nobody is unhealthy:\n{said}");
            ensure!(said.contains("Reason:"), "it does not say why:\n{said}");
        }
        // Kubernetes takes 17 s here to miss a node.
        until("the node to be missed", PATIENCE, async || {
            let said = page.run("get pod db-1 -o wide && kubectl get node").await?;
            let is_silent = |line: &str| line.starts_with(&self.lost.node) && line.contains("NotReady");
            Ok(if said.lines().any(is_silent) { Look::Found(()) } else { Look::NotYet(said) })
        })
        .await?;

        page.run("out-of-service=nodeshutdown:NoExecute").await?;
        cluster
            .wait_status(&format!("another in the place of {raft_id}"), PATIENCE, |status| {
                let ids = raft_ids(status);
                ids.len() == 3 && !ids.values().any(|id| id == raft_id)
            })
            .await?;
        let after = raft_ids(&cluster.wait_ready(3).await?);
        let said = page.run("kubectl -n shop get raftcluster db").await?;
        ensure!(said.contains("3/3") && said.contains("Healthy"), "it is not over:\n{said}");

        fault(&["heal", &self.lost.node]).await?;
        page.run("node.kubernetes.io/out-of-service-").await?;
        kubectl(&["wait", "--for=condition=Ready", "node", &self.lost.node, "--timeout=2m"]).await?;
        ensure!(raft_ids(&cluster.wait_ready(3).await?) == after, "its old member came back");
        Ok(())
    }

    /// As all nodes were before, from wherever it ended.
    async fn leave_stage(&self) -> Result<()> {
        kubectl(&["uncordon", &self.pending.node]).await?;
        fault(&["heal", &self.lost.node]).await?;
        // Not there if all went well, which is an error of the command.
        attempt("kubectl", &["taint", "node", &self.lost.node, "node.kubernetes.io/out-of-service-"], None)
            .await?;
        kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=2m"]).await?;
        Ok(())
    }
}

/// `RaftVolumeNearlyFull`, to the floor and then to the last byte; the volume grows as a storage driver would make it (K8,
/// K39). What deletes do, and what is refused, is shown without a Kubernetes in `tests/process/full_disk.rs`.
#[tokio::test]
async fn a_full_disk_is_mended_by_the_runbook() -> Result<()> {
    namespace("disk-full", async |namespace| {
        let disk = SmallDisk::new(namespace).await?;
        let cluster = namespace.cluster("db").replicas(1).storage_class(&disk.class).with_application()?;
        let cluster = cluster.apply().await?;
        let followed = fill_and_mend(&cluster, &disk).await;
        disk.remove().await?;
        followed
    })
    .await
}

async fn fill_and_mend(cluster: &Cluster<'_>, disk: &SmallDisk) -> Result<()> {
    let page = Page::runbooks(cluster.namespace).with("db-1", "db-0");
    cluster.wait_ready(1).await?;
    let load = Load::on(cluster);
    let application = address(&cluster.pod("db-0").await?).context("db-0 has an address")?;
    until("a visit", PATIENCE, async || Ok(Look::Found(get(&application, "/").await?))).await?;

    disk.leave_free(NEARLY_FULL_BYTES).await?;
    is_low(&page, "1").await?;
    let refused = get(&application, "/").await.err().context("a write was taken on a full disk")?;
    let refused = format!("{refused:#}");
    ensure!(refused.contains("nearly full") && refused.contains("not applied"), "{refused}");
    get(&application, "/visits").await.context("a read was refused")?;
    let said = page.run("describe pvc raft-db-0").await?;
    ensure!(said.contains("Capacity:") && said.contains(&disk.class), "{said}");

    fill_to_the_last_byte(cluster, disk).await?;
    let said = page.run("logs db-1 -c quorate-sidecar --previous").await?;
    let last = said.lines().last().unwrap_or_default();
    ensure!(last.contains("no space left"), "the last line does not say what is wrong: {last}");

    page.run("patch raftcluster db").await?;
    let asked = until("the claim to ask for more", PATIENCE, async || {
        let path = "jsonpath={.spec.resources.requests.storage}";
        let asked = cluster.namespace.kubectl(&["get", "pvc", "raft-db-0", "-o", path]).await?;
        Ok(if asked == "1Gi" { Look::NotYet(asked) } else { Look::Found(asked) })
    })
    .await?;
    disk.grow(cluster, "raft-db-0", &asked).await?;
    cluster.wait_ready(1).await?;
    is_low(&page, "0").await?;
    get(&application, "/").await.context("writers need no restart")?;
    load.finish(cluster).await?;
    Ok(())
}

/// What the page's first command shows.
async fn is_low(page: &Page<'_>, wanted: &str) -> Result<()> {
    until(&format!("quorate_space_low to be {wanted}"), PATIENCE, async || {
        let said = page.run("grep ^quorate_space_low").await?;
        Ok(if said.split(' ').next_back() == Some(wanted) { Look::Found(()) } else { Look::NotYet(said) })
    })
    .await
}

/// The ballast is given up first; then nothing is left, and the sidecar ends.
async fn fill_to_the_last_byte(cluster: &Cluster<'_>, disk: &SmallDisk) -> Result<()> {
    disk.leave_free(ALL_BUT_FULL_BYTES).await?;
    until("the ballast to be given up", PATIENCE, async || {
        let free = disk.free_bytes().await?;
        Ok(if free > ALL_BUT_FULL_BYTES {
            Look::Found(())
        } else {
            Look::NotYet(format!("{free} bytes free"))
        })
    })
    .await?;
    disk.leave_free(0).await?;
    let pod = cluster.pod("db-0").await?;
    let node = pod.spec.and_then(|spec| spec.node_name).context("db-0 has a node")?;
    // Nobody writes any more: it is the next start that fails.
    let sidecar = format!("{}/db-0", cluster.namespace.name);
    fault(&["kill-container", &node, &sidecar, "quorate-sidecar"]).await?;
    until("the sidecar to end for want of space", PATIENCE, async || {
        let status = cluster.pod("db-0").await?.status.unwrap_or_default();
        let all = status.init_container_statuses.into_iter().flatten();
        let mut ended = all.filter_map(|it| it.last_state?.terminated).map(|it| it.exit_code);
        let code = ended.next();
        Ok(if code == Some(FULL) { Look::Found(()) } else { Look::NotYet(format!("{code:?}")) })
    })
    .await
}
