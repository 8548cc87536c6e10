//! Redundancy zones: one voter in each, the others of the zone stand by (`autopilot.md` §4).
//!
//! The rules, in words:
//! - A zone keeps its healthy voter: the leader, else the longest stable one.
//! - A zone without a healthy voter gives the vote to its longest stable stand-by, and its failed voters lose theirs.
//!   While no stand-by is stable a failed voter keeps its vote: taking it would win nothing.
//! - For each zone without any healthy server another zone gets an extra voter: the one with most stable stand-bys.
//! - An extra voter loses its vote once no more zones lack a healthy and stable voter than there are extra voters, and three
//!   vote without it: a zone whose servers were all removed as dead is no zone any more, and its vote stays where it went.
//! - A server that says it is in no zone is an ordinary voter. One that never said anything gets no vote.
//! - Zones do not change what may fail at once; they change what may fail one after the other.

use std::collections::BTreeMap;

use quorate_mutants::{Mutant, broken};
use quorate_raft::ServerId;

use crate::blocked::BlockedReason;
use crate::limits::ZONED_VOTERS_MIN;
use crate::promotion::{Held, Wishes};
use crate::scene::Scene;
use crate::state::{NodeType, ServerState};
use crate::upgrade::UpgradeStatus;

/// One redundancy zone at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneState {
    /// Its servers, read replicas aside, in the order of every list.
    pub servers: Vec<ServerId>,
    /// Those of them that vote.
    pub voters: Vec<ServerId>,
    /// How many of its servers may fail before it has no healthy one.
    pub failure_tolerance: usize,
}

/// The zones, and what each server is in its own. `servers` are sorted, and their types set but for zones.
pub(crate) fn group(servers: &mut [ServerState]) -> BTreeMap<String, ZoneState> {
    let mut zones: BTreeMap<String, ZoneState> = BTreeMap::new();
    let mut healthy: BTreeMap<String, usize> = BTreeMap::new();
    let in_zone = |server: &ServerState| server.node_type != NodeType::ReadReplica || broken(Mutant::A31);
    for server in servers.iter().filter(|server| in_zone(server)) {
        let Some(name) = &server.zone else { continue };
        let zone = zones.entry(name.clone()).or_default();
        zone.servers.push(server.id.clone());
        zone.voters.extend(server.role.has_vote().then(|| server.id.clone()));
        *healthy.entry(name.clone()).or_default() += usize::from(server.health.is_healthy);
    }
    for (name, zone) in &mut zones {
        zone.failure_tolerance = healthy.get(name).map_or(0, |healthy| healthy.saturating_sub(1));
    }
    for server in servers.iter_mut().filter(|server| server.node_type != NodeType::ReadReplica) {
        let Some(zone) = server.zone.as_ref().and_then(|name| zones.get(name)) else { continue };
        server.node_type = match zone.voters.first() {
            None => NodeType::ZoneVoter,
            Some(first) if *first == server.id => NodeType::ZoneVoter,
            Some(_) if server.role.has_vote() => NodeType::ZoneExtraVoter,
            Some(_) => NodeType::ZoneStandby,
        };
    }
    zones
}

/// A zone as the rules see it; every list in the order of every list.
#[derive(Default)]
struct Zone<'a> {
    /// Healthy voters: the first is its own, the others are extra.
    healthy: Vec<&'a ServerState>,
    /// Voters that are not healthy.
    failed: Vec<&'a ServerState>,
    /// Those that may get a vote.
    standbys: Vec<&'a ServerState>,
}

/// What the rules of the module want of those that may get a vote.
pub(crate) fn add_wishes(scene: Scene<'_>, eligible: &[&ServerState], wishes: &mut Wishes) {
    let mut zones: BTreeMap<&str, Zone<'_>> = BTreeMap::new();
    for server in scene.voters() {
        let Some(zone) = &server.zone else { continue };
        let zone = zones.entry(zone).or_default();
        if server.health.is_healthy { zone.healthy.push(server) } else { zone.failed.push(server) }
    }
    for server in eligible {
        match &server.zone {
            Some(zone) => zones.entry(zone).or_default().standbys.push(server),
            None if scene.observer.has_reported(&server.id) || broken(Mutant::A28) => {
                wishes.promotions.push(server.id.clone());
            }
            None => wishes.held.push(Held::promotion(server, BlockedReason::ZoneUnknown)),
        }
    }
    if scene.state.upgrade.status == UpgradeStatus::Promoting {
        add_newer(scene, &zones, wishes);
        return;
    }
    for zone in zones.values() {
        add_own(scene, zone, wishes);
    }
    add_extra(scene, &zones, wishes);
}

/// While newer servers get votes, each zone gets one newer voter beside the old one.
fn add_newer(scene: Scene<'_>, zones: &BTreeMap<&str, Zone<'_>>, wishes: &mut Wishes) {
    for zone in zones.values() {
        let has_newer = zone
            .healthy
            .iter()
            .chain(&zone.failed)
            .any(|voter| scene.state.upgrade.target.voters.contains(&voter.id));
        if !has_newer {
            wishes.promotions.extend(next(scene, zone).map(|server| server.id.clone()));
        }
    }
}

/// Who of a zone votes next: the first that may at once, else the first, which is then told why not.
fn next<'a>(scene: Scene<'_>, zone: &Zone<'a>) -> Option<&'a ServerState> {
    let ready = zone.standbys.iter().find(|server| scene.own_obstacle(server).is_none());
    ready.or(zone.standbys.first()).copied()
}

/// The zone's own voter.
fn add_own(scene: Scene<'_>, zone: &Zone<'_>, wishes: &mut Wishes) {
    if zone.healthy.is_empty() {
        let next = next(scene, zone);
        wishes.promotions.extend(next.map(|server| server.id.clone()));
        let is_ready = next.is_some_and(|server| scene.own_obstacle(server).is_none());
        if !is_ready && !broken(Mutant::A24Failed) {
            return;
        }
    }
    wishes.demotions.extend(zone.failed.iter().map(|server| server.id.clone()));
}

/// Extra voters for zones that have no healthy server.
fn add_extra(scene: Scene<'_>, zones: &BTreeMap<&str, Zone<'_>>, wishes: &mut Wishes) {
    let stable =
        |zone: &&Zone<'_>| zone.healthy.iter().any(|voter| scene.is_stable(voter) || broken(Mutant::A25));
    let lacking = zones.values().filter(|zone| !stable(zone)).count();
    let is_down = |zone: &&Zone<'_>| {
        zone.healthy.is_empty() && zone.standbys.iter().all(|server| !server.health.is_healthy)
    };
    let down: Vec<&Zone<'_>> = zones.values().filter(is_down).collect();
    let is_extra = |server: &&ServerState| {
        let zone = server.zone.as_deref().and_then(|zone| zones.get(zone));
        zone.is_some_and(|zone| zone.healthy.iter().skip(1).any(|extra| extra.id == server.id))
    };
    let extra: Vec<&ServerState> = scene.voters().filter(is_extra).collect();
    // While servers of two versions are there, who is extra is the upgrade's business.
    let is_settled = !matches!(
        scene.state.upgrade.status,
        UpgradeStatus::Frozen { .. }
            | UpgradeStatus::AwaitNewVoters
            | UpgradeStatus::Promoting
            | UpgradeStatus::Demoting
            | UpgradeStatus::LeaderTransfer
    );
    if is_settled {
        let all = scene.voters().count();
        let bears_one = all >= ZONED_VOTERS_MIN;
        let kept = if bears_one { ZONED_VOTERS_MIN.saturating_sub(all - extra.len()) } else { 0 };
        let kept = lacking.max(kept);
        wishes.demotions.extend(extra.iter().skip(kept).map(|server| server.id.clone()));
    }
    let mut spare: Vec<Vec<&ServerState>> = zones
        .values()
        .map(|zone| zone.standbys.iter().filter(|server| scene.own_obstacle(server).is_none()))
        .map(|ready| ready.filter(|server| !wishes.promotions.contains(&server.id)).copied().collect())
        .collect();
    let mut taken = extra.len();
    while taken < down.len() {
        // The first of the greatest: `max_by_key` would give the last.
        let Some(zone) = spare.iter_mut().rev().max_by_key(|zone| zone.len()).filter(|zone| !zone.is_empty())
        else {
            break;
        };
        wishes.promotions.push(zone.remove(0).id.clone());
        taken += 1;
    }
    for zone in down.iter().take(taken) {
        let failed = zone.failed.iter().map(|server| server.id.clone());
        let new: Vec<ServerId> = failed.filter(|id| !wishes.demotions.contains(id)).collect();
        wishes.demotions.extend(new);
    }
}
