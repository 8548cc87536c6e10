//! The user keeps a member from running.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::{PATIENCE, condition, raft_ids};
use crate::load::Load;
use crate::namespace::namespace;
use crate::page::Page;

/// A fenced leader hands over, goes, is not started again, and comes back as itself (I2).
#[tokio::test]
async fn a_fenced_member_stays_down_until_it_is_let_go() -> Result<()> {
    namespace("fence", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let before = raft_ids(&cluster.wait_ready(3).await?);
        let load = Load::on(&cluster);
        let leader = cluster.leader().await?;
        Page::operations(namespace).with("greeting-1", &leader).run("quorate.dev/fence").await?;
        cluster.wait_gone(&leader).await?;
        let fenced = cluster
            .wait_status("Fenced, and that nothing more is tolerated", PATIENCE, |status| {
                status.failure_tolerance == Some(0)
                    && condition(status, "Ready").is_some_and(|ready| ready.reason == "Fenced")
            })
            .await?;
        ensure!(fenced.leader.as_deref() != Some(&leader), "{leader} still leads");
        // Longer than any Pod that is to come back takes.
        tokio::time::sleep(Duration::from_secs(8)).await;
        ensure!(!cluster.pods().await?.contains_key(&leader), "{leader} was started again");
        cluster.annotate("quorate.dev/fence", None).await?;
        let after = raft_ids(&cluster.wait_ready(3).await?);
        ensure!(after == before, "it came back as another: {after:?}");
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}
