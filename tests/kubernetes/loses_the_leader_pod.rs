//! A user deletes the leader's Pod while the application writes: an upgrade, a drain, a slip of the hand.
//!
//! They see another member lead at once, and the Pod come back with the same volume as the same member.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::bed::follow;
use crate::cluster::{PATIENCE, raft_ids};
use crate::history::History;
use crate::load::Load;
use crate::namespace::namespace;
use crate::wait::{Look, until};

/// What the sidecar logs when it has handed over.
const HANDED_OVER: &str = "leadership handed over before stopping";

/// Hand-over first, same volume and ID, no membership change, no acknowledged write lost (K43; operator.md §8.24).
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
        namespace.kubectl(&["delete", "pod", &leader]).await?;
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
        let after = cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
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

async fn claim_uids(namespace: &crate::namespace::Namespace) -> Result<BTreeMap<String, String>> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let listed = namespace.kubectl(&["get", "pvc", "-o", path]).await?;
    let lines = listed.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, uid)| (name.to_owned(), uid.to_owned())).collect())
}
