//! A node is cut off: a cable, a switch, a kernel that hangs.
//!
//! The user's writes go on through the other members. Within seconds status names the member that is not heard and how
//! many more failures are tolerated. When the node is back, so is the member, without anything for the user to do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::bed::{OPERATOR_NAMESPACE, acting_operator, fault, kubectl, operators_ready};
use crate::cluster::{Cluster, PATIENCE, condition};
use crate::history::History;
use crate::load::{Load, address, get};
use crate::namespace::namespace_alone;
use crate::replaces_a_member::replaced;
use crate::wait::{Look, until};

/// How soon status must name the member when the acting operator is on the other side.
const NAMED_WITHIN: Duration = Duration::from_secs(15);
/// The same when the acting operator was cut off with it: the other one waits for its Lease to end.
const NAMED_BY_THE_OTHER_WITHIN: Duration = Duration::from_secs(45);

/// How soon nothing may be claimed any more when two of three are silent (K32).
const QUORUM_DENIED_WITHIN: Duration = Duration::from_secs(25);

/// How long a voter is silent before another takes its place: the shortest that is allowed. A test that waits longer would
/// show the same, and every other cut here is over long before.
const DEAD_AFTER: &str = "1m";

/// One node after another is cut off from one cluster, which takes writes all the time.
#[tokio::test]
async fn whichever_node_is_cut_off_writes_go_on_and_status_is_true() -> Result<()> {
    namespace_alone("cut", async |namespace| {
        let cluster =
            namespace.cluster("db").replicas(3).dead_after(DEAD_AFTER).with_application()?.apply().await?;
        cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        a_member_is_named_and_comes_back(&cluster).await?;
        a_member_cut_off_with_the_acting_operator_is_named_by_the_other(&cluster).await?;
        a_quorum_that_is_cut_off_is_not_called_healthy(&cluster).await?;
        a_voter_on_a_dead_node_is_replaced_after_the_threshold(&cluster).await?;
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// Status is true within 15 s, and healing is enough (K31, K50; operator.md §8.27).
async fn a_member_is_named_and_comes_back(cluster: &Cluster<'_>) -> Result<()> {
    let victim = member_away_from_the_operator(cluster).await?;
    cut_and_heal(cluster, victim, NAMED_WITHIN).await
}

/// The acting operator goes silent with the member's node: another takes over and says so (K31, P8; operator.md §8.27).
async fn a_member_cut_off_with_the_acting_operator_is_named_by_the_other(
    cluster: &Cluster<'_>,
) -> Result<()> {
    // The other one has to take over.
    operators_ready().await?;
    let victim = member_beside_the_operator(cluster).await?;
    cut_and_heal(cluster, victim, NAMED_BY_THE_OTHER_WITHIN).await
}

/// Two of three go silent: soon nothing is claimed any more, and healing is enough (K31, K32, P6;
/// operator.md §8.35, §8.36).
async fn a_quorum_that_is_cut_off_is_not_called_healthy(cluster: &Cluster<'_>) -> Result<()> {
    // The one that was cut off before may have ended again and again meanwhile.
    operators_ready().await?;
    let (_, operators_node) = acting_operator().await?;
    let mut away = members(cluster).await?;
    away.retain(|(_, node)| *node != operators_node);
    ensure!(away.len() >= 2, "two members share the acting operator's node: {away:?}");
    let nodes: Vec<String> = away.into_iter().take(2).map(|(_, node)| node).collect();
    cluster.namespace.say(&format!("cut {}", nodes.join(" and ")));
    for node in &nodes {
        fault(&["cut", node]).await?;
    }
    // Whatever happens next, the nodes are healed: other tests need them.
    let seen = nothing_is_claimed(cluster).await;
    for node in &nodes {
        fault(&["heal", node]).await?;
    }
    seen?;
    cluster.wait_ready(3).await?;
    Ok(())
}

/// A node dies for good: nothing is done before the threshold, then a new member takes the dead one's vote; back again,
/// the old one is not a member any more (rule 15; operator.md §8.27).
async fn a_voter_on_a_dead_node_is_replaced_after_the_threshold(cluster: &Cluster<'_>) -> Result<()> {
    operators_ready().await?;
    let (victim, node) = member_away_from_the_operator(cluster).await?;
    let before = cluster.status().await?;
    let history = History::of(cluster);
    cluster.namespace.say(&format!("cut {node} with {victim} on it, for good"));
    fault(&["cut", &node]).await?;
    // Whatever happens next, the node is healed: other tests need it.
    let replaced = replaced(cluster, &before, &victim).await;
    fault(&["heal", &node]).await?;
    let after = replaced?;
    ensure!(!after.contains_key(&victim), "{victim} is still a member: {after:?}");
    history.kept_voters(3)?;
    cluster.wait_gone(&victim).await?;
    cluster.wait_ready(3).await?;
    Ok(())
}

/// Available is not True, and no health of the past stands beside it.
async fn nothing_is_claimed(cluster: &Cluster<'_>) -> Result<()> {
    let started = Instant::now();
    let status = cluster
        .wait_status("that it is not available", QUORUM_DENIED_WITHIN, |status| {
            condition(status, "Available").is_some_and(|it| it.status != "True" && !it.message.is_empty())
        })
        .await?;
    let took = started.elapsed().as_secs_f32();
    cluster.namespace.say(&format!("after {took:.1} s: {}", status.summary.clone().unwrap_or_default()));
    ensure!(status.leader.as_deref() == Some("<none>"), "leader {:?}", status.leader);
    ensure!(status.voters.as_deref() == Some("Unknown"), "voters {:?}", status.voters);
    ensure!(status.failure_tolerance.is_none(), "tolerates {:?}", status.failure_tolerance);
    ensure!(!matches!(status.health.as_deref(), Some("Healthy" | "Degraded")), "health {:?}", status.health);
    ensure!(condition(&status, "Ready").is_some_and(|it| it.status != "True"), "Ready without a leader");
    Ok(())
}

async fn cut_and_heal(
    cluster: &Cluster<'_>,
    (member, node): (String, String),
    within: Duration,
) -> Result<()> {
    let namespace = cluster.namespace;
    namespace.say(&format!("cut {node} with {member} on it"));
    fault(&["cut", &node]).await?;
    // Whatever happens next, the node is healed: other tests need it.
    let seen = named(cluster, &member, within).await;
    fault(&["heal", &node]).await?;
    namespace.say(&format!("healed {node}"));
    seen?;
    cluster.wait_ready(3).await?;
    Ok(())
}

async fn named(cluster: &Cluster<'_>, member: &str, within: Duration) -> Result<()> {
    let started = Instant::now();
    let unhealthy = format!("unhealthy: {member}");
    let status = cluster
        .wait_status(&format!("that {member} is unhealthy and nothing more is tolerated"), within, |status| {
            status.failure_tolerance == Some(0)
                && status.voters.as_deref() == Some("2/3")
                && status.summary.as_deref().is_some_and(|summary| summary.contains(&unhealthy))
        })
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
    let mut away = members(cluster).await?;
    away.retain(|(_, node)| *node != operators_node);
    away.sort_by_key(|(name, _)| *name != leader);
    away.into_iter().next().context("every member shares the acting operator's node")
}

/// A member on the acting operator's node. Two operators and three members share four nodes, so one of the two has a
/// member beside it: if it is the one that stands by, it is made to act.
async fn member_beside_the_operator(cluster: &Cluster<'_>) -> Result<(String, String)> {
    let members = members(cluster).await?;
    until("an operator beside a member to act", PATIENCE, async || {
        let (pod, operators_node) = acting_operator().await?;
        if let Some(member) = members.iter().find(|(_, node)| *node == operators_node) {
            return Ok(Look::Found(member.clone()));
        }
        kubectl(&["-n", OPERATOR_NAMESPACE, "delete", "pod", &pod]).await?;
        Ok(Look::NotYet(format!("{pod} on {operators_node} acts")))
    })
    .await
}

/// The members and their nodes.
async fn members(cluster: &Cluster<'_>) -> Result<Vec<(String, String)>> {
    let pods = cluster.pods().await?;
    Ok(pods.into_iter().filter_map(|(name, pod)| Some((name, pod.spec?.node_name?))).collect())
}
