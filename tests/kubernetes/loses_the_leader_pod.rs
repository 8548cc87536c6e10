//! A user deletes the leader's Pod while the application writes: an upgrade, a drain, a slip of the hand.
//!
//! They see another member lead at once, and the Pod come back with the same volume as the same member.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::bed::{fault, follow};
use crate::chaos::from_environment;
use crate::cluster::{Cluster, PATIENCE, raft_ids};
use crate::history::History;
use crate::load::{Load, Tally};
use crate::namespace::namespace;
use crate::page::Page;
use crate::wait::{Look, until};

/// How often the leader is lost in each way, without `LEADERS`.
const TIMES_DEFAULT: u64 = 1;
/// What the sidecar logs when it has handed over.
const HANDED_OVER: &str = "leadership handed over before stopping";

/// Hand-over first, same volume and ID, no membership change, no acknowledged write lost (K43; operator.md §8.24). How long nobody
/// writes when it is deleted and when it is killed is printed (§8.48); `LEADERS=20` tells medians.
#[tokio::test]
async fn the_leaders_pod_hands_over_and_comes_back_as_itself() -> Result<()> {
    namespace("leader-pod", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = cluster.wait_ready(3).await?;
        let claims = claim_uids(namespace).await?;
        let history = History::of(&cluster);
        let load = Load::on(&cluster);
        let leader = before.leader.clone().context("status names no leader")?;
        let old = cluster.pod(&leader).await?.metadata.uid;

        // Its log goes with its Pod, so it is followed from before.
        let (mut log, _kubectl) =
            follow(&["-n", &namespace.name, "logs", "--follow", &leader, "-c", "quorate-sidecar"])?;
        let first = log.next_line().await?.context("a running member has a log")?;
        namespace.say(&format!("{leader} leads; its log begins: {first}"));
        Page::operations(namespace).with("greeting-1", &leader).run("kubectl delete pod greeting-1").await?;
        let mut said = Vec::new();
        while let Some(line) = log.next_line().await? {
            said.push(line);
        }
        let said = said.join("\n");
        ensure!(said.contains(HANDED_OVER), "{leader} did not hand over before it stopped:\n{said}");

        until(&format!("{leader} to be back"), PATIENCE, async || {
            let pod = cluster.pod(&leader).await?;
            let uid = pod.metadata.uid.clone();
            Ok(if uid == old { Look::NotYet(format!("{uid:?}")) } else { Look::Found(()) })
        })
        .await?;
        cluster.wait_ready(3).await?;
        let losses = Losses::of(&cluster, from_environment("LEADERS", TIMES_DEFAULT)?).await?;
        let after = cluster.wait_ready(3).await?;
        losses.tell(&cluster, &load.finish(&cluster).await?);
        ensure!(
            raft_ids(&after) == raft_ids(&before),
            "{:?} became {:?}",
            raft_ids(&before),
            raft_ids(&after)
        );
        ensure!(claim_uids(namespace).await? == claims, "a volume claim was replaced");
        ensure!(history.memberships().len() == 1, "the membership changed: {:?}", history.memberships());
        Ok(())
    })
    .await
}

/// When leaders were lost.
#[derive(Default)]
struct Losses {
    deleted: Vec<Instant>,
    killed: Vec<Instant>,
}

impl Losses {
    async fn of(cluster: &Cluster<'_>, times: u64) -> Result<Self> {
        let mut losses = Self::default();
        for _ in 0..times {
            let leader = cluster.leader().await?;
            losses.deleted.push(Instant::now());
            cluster.namespace.kubectl(&["delete", "pod", &leader]).await?;
            another_leads(cluster, &leader).await?;
            let leader = cluster.leader().await?;
            let node = cluster.pod(&leader).await?.spec.and_then(|spec| spec.node_name);
            let pod = format!("{}/{leader}", cluster.namespace.name);
            losses.killed.push(Instant::now());
            fault(&["kill-container", &node.context("a node")?, &pod, "quorate-sidecar"]).await?;
            another_leads(cluster, &leader).await?;
        }
        Ok(losses)
    }

    fn tell(&self, cluster: &Cluster<'_>, tally: &Tally) {
        for (how, moments) in [("deleted", &self.deleted), ("killed", &self.killed)] {
            let mut gaps: Vec<Duration> = moments.iter().map(|moment| tally.gap_after(*moment)).collect();
            gaps.sort_unstable();
            let (Some(median), Some(most)) = (gaps.get(gaps.len() / 2), gaps.last()) else { continue };
            cluster.namespace.say(&format!(
                "leader {how} {} times: nobody wrote for {} ms (median), {} ms at most",
                gaps.len(),
                median.as_millis(),
                most.as_millis()
            ));
        }
    }
}

/// Waits until the cluster is whole again under another leader.
async fn another_leads(cluster: &Cluster<'_>, before: &str) -> Result<()> {
    cluster
        .wait_status(&format!("another leader than {before}"), PATIENCE, |status| {
            status.leader.as_deref().is_some_and(|leader| leader != before && leader != "<none>")
        })
        .await?;
    cluster.wait_ready(3).await?;
    Ok(())
}

async fn claim_uids(namespace: &crate::namespace::Namespace) -> Result<BTreeMap<String, String>> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let listed = namespace.kubectl(&["get", "pvc", "-o", path]).await?;
    let lines = listed.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, uid)| (name.to_owned(), uid.to_owned())).collect())
}
