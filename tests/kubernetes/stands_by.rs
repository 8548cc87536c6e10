//! A user spreads six members over three zones and sets `spec.autopilot.redundancyZones`.
//!
//! They see one voter in each zone and another member standing by. A voter that fails is stood in for by the other of its
//! zone; a whole zone that is gone, by one of another zone, until it is back. Writes go on all the time.
//! The bed's four nodes are in three zones: two members of a zone share a node where it has only one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_crds::{MemberStatus, RaftClusterStatus};

use crate::bed::{acting_operator, fault};
use crate::cluster::{Cluster, PATIENCE, condition};
use crate::history::History;
use crate::load::Load;
use crate::namespace::namespace_alone;

/// Members.
const REPLICAS: usize = 6;
/// What the configuration may list at most while a vote moves (A24).
const VOTERS_MAX: usize = 4;

/// One voter in each zone; its stand-by takes over and keeps the vote (A24); a zone that is gone costs an extra voter
/// elsewhere, until it is back (A25).
#[tokio::test]
async fn a_zone_s_stand_by_takes_over_and_another_zone_for_a_whole_one() -> Result<()> {
    namespace_alone("zones", async |namespace| {
        let sentence = namespace.cluster("db").replicas(i32::try_from(REPLICAS)?).in_redundancy_zones();
        let cluster = sentence.with_application()?.apply().await?;
        let ready = one_voter_in_each_zone(&cluster).await?;
        let raft = ready.raft.clone().context("status.raft")?;
        ensure!(raft.zones.len() == 3, "three zones: {:?}", raft.zones);
        ensure!(
            raft.zones.iter().all(|zone| zone.tolerates == 1 && zone.standbys.len() == 1),
            "{:?}",
            raft.zones
        );
        ensure!(ready.failure_tolerance == Some(1) && raft.optimistic_failure_tolerance == Some(4));
        let (load, history) = (Load::on(&cluster), History::of(&cluster));

        a_voter_fails(&cluster, &ready).await?;
        let ready = one_voter_in_each_zone(&cluster).await?;
        a_zone_is_gone(&cluster, &ready).await?;
        one_voter_in_each_zone(&cluster).await?;

        let seen = history.memberships();
        ensure!(
            seen.iter().all(|now| now.voters.len() <= VOTERS_MAX),
            "more than four voters at once: {seen:?}"
        );
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// A24: its process hangs; the other of its zone votes.
async fn a_voter_fails(cluster: &Cluster<'_>, ready: &RaftClusterStatus) -> Result<()> {
    let victim = members(ready).find(|member| is(member, "Voter")).context("a voter that does not lead")?;
    let (name, zone) = (victim.name.clone(), victim.zone.clone().context("a zone")?);
    let node = cluster.pod(&name).await?.spec.and_then(|spec| spec.node_name).context("a node")?;
    let pod = format!("{}/{name}", cluster.namespace.name);
    cluster.namespace.say(&format!("{name}, the voter of {zone}, hangs"));
    fault(&["pause-container", &node, &pod, "quorate-sidecar"]).await?;
    let seen = cluster
        .wait_status(&format!("another voter in {zone}"), PATIENCE, |status| {
            let voting = voters(status);
            voting.len() == 3 && voting.get(&zone).is_some_and(|voters| *voters != [name.clone()])
        })
        .await;
    // Whatever was seen, it goes on.
    fault(&["resume-container", &node, &pod, "quorate-sidecar"]).await?;
    let seen = seen?;
    cluster.namespace.say(&format!("{:?} votes now", voters(&seen).get(&zone)));
    Ok(())
}

/// A25: a node that is all of a zone is cut off; two of another zone vote, until it is back.
async fn a_zone_is_gone(cluster: &Cluster<'_>, ready: &RaftClusterStatus) -> Result<()> {
    let (_, operators_node) = acting_operator().await?;
    let leaders_zone =
        members(ready).find(|member| is(member, "Leader")).and_then(|member| member.zone.clone());
    let mut nodes: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for member in members(ready) {
        let node = cluster.pod(&member.name).await?.spec.and_then(|spec| spec.node_name).context("a node")?;
        nodes.entry(member.zone.clone().unwrap_or_default()).or_default().push((node, member.name.clone()));
    }
    // One of the two zones of a single node: away from the operator, and from the leader if that can be.
    let mut whole: Vec<_> = nodes
        .into_iter()
        .filter(|(_, members)| {
            members.iter().all(|(node, _)| *node == members[0].0 && *node != operators_node)
        })
        .collect();
    whole.sort_by_key(|(zone, _)| Some(zone) == leaders_zone.as_ref());
    let (zone, gone) = whole.into_iter().next().context("a zone of one node, away from the operator")?;
    let node = gone[0].0.clone();
    cluster.namespace.say(&format!("cut {node}, which is all of {zone}"));
    fault(&["cut", &node]).await?;
    let seen = cluster
        .wait_status(&format!("an extra voter for {zone}"), PATIENCE, |status| {
            let voting = voters(status);
            !voting.contains_key(&zone)
                && voting.values().map(Vec::len).sum::<usize>() == 3
                && status.voters.as_deref() == Some("3/3")
                && members(status).any(|member| member.kind.as_deref() == Some("ZoneExtraVoter"))
        })
        .await;
    // Whatever was seen, the node is healed: other tests need it.
    fault(&["heal", &node]).await?;
    let seen = seen?;
    cluster.namespace.say(&format!("{:?}; {}", voters(&seen), seen.summary.unwrap_or_default()));
    ensure!(seen.failure_tolerance == Some(1), "tolerates {:?} with a zone gone", seen.failure_tolerance);
    Ok(())
}

async fn one_voter_in_each_zone(cluster: &Cluster<'_>) -> Result<RaftClusterStatus> {
    let patience = PATIENCE + Duration::from_mins(1);
    let status = cluster
        .wait_status("Ready with a voter in each zone", patience, |status| {
            let voting = voters(status);
            condition(status, "Ready").is_some_and(|ready| ready.status == "True")
                && status.voters.as_deref() == Some("3/3")
                && members(status).count() == REPLICAS
                && voting.len() == 3
                && voting.values().all(|voters| voters.len() == 1)
        })
        .await?;
    cluster.namespace.say(status.summary.as_deref().unwrap_or_default());
    Ok(status)
}

fn members(status: &RaftClusterStatus) -> impl Iterator<Item = &MemberStatus> {
    status.raft.iter().flat_map(|raft| &raft.members)
}

fn is(member: &MemberStatus, role: &str) -> bool {
    member.role.as_deref() == Some(role)
}

/// Who votes, by zone.
fn voters(status: &RaftClusterStatus) -> BTreeMap<String, Vec<String>> {
    let mut voters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members(status).filter(|member| is(member, "Leader") || is(member, "Voter")) {
        voters.entry(member.zone.clone().unwrap_or_default()).or_default().push(member.name.clone());
    }
    voters
}
