//! What must hold at every look, said once more from the members themselves and from what the seed has drawn.
//!
//! Who is alive is known here at once, and to a leader a moment later: what needs its notice is asked for only after a
//! [`CALM`] in which nothing failed, came back, joined or was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_autopilot::{State, UpgradeStatus, quorum};
use quorate_raft::{Intent, Suffrage};

use super::group::Group;
use super::plan::{Plan, ZONE_COUNT};

/// Within this every vote has moved that was to move: an election, health noticed, the stabilization time, a few rounds.
const CALM: Duration = Duration::from_secs(45);
/// A leader knows within this who fails or is back.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// Three zones have so many voters at most: three, and the one that takes over from a fourth (A24).
const ZONE_VOTERS_MAX: usize = ZONE_COUNT + 1;

/// What earlier looks saw.
#[derive(Default)]
pub(crate) struct Invariants {
    /// The upgrade at the latest look that found a leader.
    upgrade: Option<UpgradeStatus>,
    /// Who voted at the latest look.
    voters: BTreeSet<String>,
}

impl Invariants {
    /// Everything, once a second.
    pub(crate) fn look(&mut self, group: &Group, plan: &Plan) -> Result<(), String> {
        never_votes(group, plan)?;
        let Some(state) = group.state() else { return Ok(()) };
        tolerances(&state, plan)?;
        self.statuses(&state, group)?;
        if plan.has_zones && !plan.has_upgrade {
            zones(group, plan)?;
            self.bears_one(group)?;
        }
        Ok(())
    }

    /// A25: of three voters none that lives loses its vote: two bear no failure, also when a zone is gone for good.
    fn bears_one(&mut self, group: &Group) -> Result<(), String> {
        let servers = group.servers();
        let voting = servers.iter().filter(|(_, suffrage)| votes(**suffrage)).map(|(name, _)| name.clone());
        let before = std::mem::replace(&mut self.voters, voting.collect());
        let is_noticed = group.now > group.disturbed_at + NOTICED_WITHIN;
        let mut lost = before.difference(&self.voters);
        let is_well = |name: &String| servers.contains_key(name) && group.is_alive(name);
        if is_noticed && before.len() >= ZONE_COUNT && self.voters.len() < ZONE_COUNT && lost.all(is_well) {
            return Err(format!("A25: at {:?} only {:?} of {before:?} vote", group.now, self.voters));
        }
        Ok(())
    }

    /// A29: statuses of an upgrade come in their order. They go back only in trouble.
    fn statuses(&mut self, state: &State, group: &Group) -> Result<(), String> {
        let now = state.upgrade.status.clone();
        let before = self.upgrade.replace(now.clone());
        let (Some(before), true) = (before, is_calm(group)) else { return Ok(()) };
        let is_in_order = match (stage(&before), stage(&now)) {
            (Some(before), Some(now)) => before <= now,
            (before, now) => before == now,
        };
        // The old leader, which handed over, is demoted last.
        let is_demoted_last = (&before, &now) == (&UpgradeStatus::LeaderTransfer, &UpgradeStatus::Demoting);
        let is_over = now == UpgradeStatus::Idle && before == UpgradeStatus::AwaitServerRemoval;
        if is_in_order || is_demoted_last || is_over {
            return Ok(());
        }
        Err(format!("A29: at {:?} the upgrade goes from {before:?} back to {now:?}", group.now))
    }
}

/// How far an upgrade is in this status; none: it is not under way for want of a version.
fn stage(status: &UpgradeStatus) -> Option<u8> {
    Some(match status {
        UpgradeStatus::Disabled | UpgradeStatus::Frozen { .. } => return None,
        UpgradeStatus::Idle => 0,
        UpgradeStatus::AwaitNewVoters => 1,
        UpgradeStatus::Promoting => 2,
        UpgradeStatus::Demoting => 3,
        UpgradeStatus::LeaderTransfer => 4,
        UpgradeStatus::AwaitNewServers => 5,
        UpgradeStatus::AwaitServerRemoval => 6,
    })
}

fn is_calm(group: &Group) -> bool {
    group.now > group.disturbed_at.max(group.removed_at) + CALM
}

/// A31: no read replica ever has a vote, nor half of one in a joint configuration.
fn never_votes(group: &Group, plan: &Plan) -> Result<(), String> {
    let servers = group.servers();
    let mut replicas = plan.members.iter().filter(|joining| joining.intent == Intent::ReadReplica);
    let voting =
        replicas.find(|joining| servers.get(&joining.name).is_some_and(|it| *it != Suffrage::NonVoter));
    voting.map_or(Ok(()), |replica| Err(format!("A31: {} is a read replica and votes", replica.name)))
}

/// A3, A26, A28, A31: the three tolerances and who is in a zone, from each server's health and the zone that the seed gave
/// it, dead ones included.
fn tolerances(state: &State, plan: &Plan) -> Result<(), String> {
    let place = |name: &str| {
        let joining = plan.joining(name).ok()?;
        joining.zone_name().filter(|_| plan.has_zones && joining.intent != Intent::ReadReplica)
    };
    let voting = || state.servers.iter().filter(|server| server.role.has_vote());
    let led: BTreeSet<&str> = voting().filter_map(|voter| place(voter.id.raft_id.as_str())).collect();
    let mut standing_by = 0;
    // How many servers, and how many of them are healthy.
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for server in &state.servers {
        let Some(zone) = place(server.id.raft_id.as_str()) else { continue };
        let (servers, healthy) = zones.entry(zone).or_default();
        *servers += 1;
        *healthy += usize::from(server.health.is_healthy);
        let stands_by = server.health.is_healthy && !server.role.has_vote() && led.contains(zone);
        standing_by += usize::from(stands_by);
    }
    let healthy = voting().filter(|voter| voter.health.is_healthy).count();
    let majority = quorum(voting().count());
    let tolerance = healthy.saturating_sub(majority);
    let optimistic = if healthy < majority { 0 } else { tolerance + standing_by };
    let of_zone = |(name, (servers, healthy)): (&str, (usize, usize))| {
        (name.to_owned(), servers, healthy.saturating_sub(1))
    };
    let due = (tolerance, optimistic, zones.into_iter().map(of_zone).collect::<Vec<_>>());
    let said =
        state.zones.iter().map(|(name, zone)| (name.clone(), zone.servers.len(), zone.failure_tolerance));
    let told = (state.failure_tolerance, state.optimistic_failure_tolerance, said.collect());
    if due == told { Ok(()) } else { Err(format!("A26, A28: it is {due:?}, and {told:?} is said")) }
}

fn votes(suffrage: Suffrage) -> bool {
    suffrage != Suffrage::NonVoter && suffrage != Suffrage::Outgoing
}

/// A24, A25, A28: never more than four voters; and in calm, whoever is dead, each zone in which somebody lives has a living
/// voter, and three vote if three live: the vote of a zone of which nobody lives is elsewhere.
fn zones(group: &Group, plan: &Plan) -> Result<(), String> {
    let servers = group.servers();
    let voters = servers.values().filter(|suffrage| votes(**suffrage)).count();
    if voters > ZONE_VOTERS_MAX {
        return Err(format!("A24: at {:?} there are {voters} voters: {servers:?}", group.now));
    }
    if !is_calm(group) {
        return Ok(());
    }
    let (mut living, mut voting) = (BTreeMap::new(), BTreeMap::new());
    for (name, suffrage) in servers.iter().filter(|(name, _)| group.is_alive(name)) {
        let joining = plan.joining(name)?;
        // One that takes over for another waits for that one, and no longer than it counts as dead.
        let Some(zone) = joining.zone_name().filter(|_| joining.intent == Intent::Voter) else { continue };
        *living.entry(zone).or_insert(0) += 1;
        *voting.entry(zone).or_insert(0) += usize::from(votes(*suffrage));
    }
    if let Some((zone, _)) =
        voting.iter().find(|(zone, voters)| **voters == 0 && !is_covered(group, plan, zone))
    {
        return Err(format!("A24: at {:?} nobody who lives votes in zone {zone}: {servers:?}", group.now));
    }
    let (living, voting): (usize, usize) = (living.values().sum(), voting.values().sum());
    let taken_over =
        servers.iter().filter(|(name, suffrage)| group.is_alive(name) && votes(**suffrage)).count();
    let could_vote = |name: &String| plan.joining(name).ok().filter(|it| it.intent != Intent::ReadReplica);
    let in_configuration = servers.keys().filter_map(|name| could_vote(name)?.zone_name());
    let has_all = in_configuration.collect::<BTreeSet<_>>().len() == ZONE_COUNT;
    if has_all && voting.max(taken_over) < living.min(ZONE_COUNT) {
        return Err(format!("A25: at {:?} {voting} of {living} that live vote: {servers:?}", group.now));
    }
    Ok(())
}

/// Whether somebody who took over for another votes in that zone.
fn is_covered(group: &Group, plan: &Plan, zone: &str) -> bool {
    group.servers().iter().any(|(name, suffrage)| {
        let is_there = plan.joining(name).is_ok_and(|joining| joining.zone_name() == Some(zone));
        is_there && *suffrage != Suffrage::NonVoter && group.is_alive(name)
    })
}
