//! A node is cut off: a cable, a switch, a kernel that hangs.
//!
//! The user's writes go on through the other members. Within seconds status names the member that is not heard and how
//! many more failures are tolerated. When the node is back, so is the member, without anything for the user to do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::bed::{acting_operator, fault};
use crate::cluster::Cluster;
use crate::load::{Load, address, get};
use crate::namespace::namespace_alone;

/// How soon status must name the member when the acting operator is on the other side.
const NAMED_WITHIN: Duration = Duration::from_secs(15);

/// Writes go on, status is true within 15 s, and healing is enough (K31, K50; operator.md §8.27).
#[tokio::test]
async fn a_cut_off_member_is_named_and_comes_back() -> Result<()> {
    namespace_alone("cut", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        let (member, node) = member_away_from_the_operator(&cluster).await?;
        namespace.say(&format!("cut {node} with {member} on it"));
        fault(&["cut", &node]).await?;
        // Whatever happens next, the node is healed: other tests need it.
        let seen = cut(&cluster, &member).await;
        fault(&["heal", &node]).await?;
        namespace.say(&format!("healed {node}"));
        seen?;
        cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

async fn cut(cluster: &Cluster<'_>, member: &str) -> Result<()> {
    let started = Instant::now();
    let status = cluster
        .wait_status(
            &format!("that {member} is unhealthy and nothing more is tolerated"),
            NAMED_WITHIN,
            |status| {
                status.failure_tolerance == Some(0)
                    && status.voters.as_deref() == Some("2/3")
                    && status
                        .summary
                        .as_deref()
                        .is_some_and(|summary| summary.contains(&format!("unhealthy: {member}")))
            },
        )
        .await?;
    let took = started.elapsed().as_secs_f32();
    cluster.namespace.say(&format!("after {took:.1} s: {}", status.summary.unwrap_or_default()));
    for (name, pod) in cluster.pods().await? {
        if name != member {
            let address = address(&pod).with_context(|| format!("{name} has no address"))?;
            let answer = get(&address, "/").await?;
            ensure!(answer.contains("visit "), "{name} did not take a write: {answer}");
        }
    }
    Ok(())
}

/// The leader if it is on another node than the acting operator, else any other member.
async fn member_away_from_the_operator(cluster: &Cluster<'_>) -> Result<(String, String)> {
    let (_, operators_node) = acting_operator().await?;
    let leader = cluster.leader().await?;
    let mut away: Vec<(String, String)> = cluster
        .pods()
        .await?
        .into_iter()
        .filter_map(|(name, pod)| Some((name, pod.spec?.node_name?)))
        .filter(|(_, node)| *node != operators_node)
        .collect();
    away.sort_by_key(|(name, _)| *name != leader);
    away.into_iter().next().context("every member shares the acting operator's node")
}
