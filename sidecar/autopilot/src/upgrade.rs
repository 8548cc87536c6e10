//! Upgrade migration: votes and leadership move to servers of a newer version once there are enough (`autopilot.md` §4).
//!
//! ```text
//!  idle ─▶ await-new-voters ─▶ promoting ─▶ demoting ─▶ leader-transfer ─▶ demoting ─▶ await-server-removal ─▶ idle
//!            newer healthy       newer get    all older    leadership goes    the old     a person removes
//!            ones < old voters   votes        but leader   to a newer voter   leader      the old ones
//! ```
//!
//! The target version is the newest that any server reports. The leader is never demoted by itself: it hands over first.
//! While a voter's version is not known nothing moves (vault #17019): only servers of a version that a voter runs
//! get votes.

use std::collections::BTreeMap;

use quorate_mutants::{Mutant, broken};
use quorate_raft::ServerId;

use crate::action::ActionKind;
use crate::blocked::BlockedReason;
use crate::promotion::{Held, Wishes};
use crate::scene::{Scene, is_well};
use crate::semver::SemVer;
use crate::settings::Settings;
use crate::state::{NodeType, ServerRole, ServerState};

/// How far an upgrade has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeState {
    /// Where it stands.
    pub status: UpgradeStatus,
    /// The newest version of all servers; `None` if it is not known or migration is off.
    pub target_version: Option<String>,
    /// Servers of the target version.
    pub target: VersionServers,
    /// Servers of every other version.
    pub other: VersionServers,
    /// The same by redundancy zone, target and others; without read replicas.
    pub zones: BTreeMap<String, (VersionServers, VersionServers)>,
}

/// Servers of a version, in the order of every list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionServers {
    /// Who votes.
    pub voters: Vec<ServerId>,
    /// Who does not vote and is no read replica.
    pub non_voters: Vec<ServerId>,
    /// Who never votes.
    pub read_replicas: Vec<ServerId>,
}

/// Where an upgrade stands, in Consul's and Vault's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UpgradeStatus {
    /// Migration is off, or no upgrade version tag is set.
    #[default]
    Disabled,
    /// Every server is of one version.
    Idle,
    /// The version of this voter is not known: nothing is done for an upgrade until it is (ours; vault #17019).
    Frozen {
        /// Whose version is missing.
        server: ServerId,
    },
    /// There are newer servers, and not yet enough healthy ones to take over.
    AwaitNewVoters,
    /// Newer servers get votes.
    Promoting,
    /// Older voters lose theirs.
    Demoting,
    /// Leadership goes to a newer server.
    LeaderTransfer,
    /// Leader and voters are new; there are fewer new servers than old ones.
    AwaitNewServers,
    /// The upgrade is done; the old servers may be removed.
    AwaitServerRemoval,
}

impl UpgradeStatus {
    /// As Consul and Vault spell it; `frozen` is ours.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Idle => "idle",
            Self::Frozen { .. } => "frozen",
            Self::AwaitNewVoters => "await-new-voters",
            Self::Promoting => "promoting",
            Self::Demoting => "demoting",
            Self::LeaderTransfer => "leader-transfer",
            Self::AwaitNewServers => "await-new-servers",
            Self::AwaitServerRemoval => "await-server-removal",
        }
    }
}

/// How far an upgrade has come, from sorted servers whose types are set.
pub(crate) fn state(servers: &[ServerState], settings: &Settings) -> UpgradeState {
    if !settings.has_upgrade_migration() {
        return UpgradeState::default();
    }
    let newest = servers
        .iter()
        .filter_map(|server| Some((version(server)?, server)))
        .reduce(|newest, other| if other.0 > newest.0 { other } else { newest });
    let Some((target, newest)) = newest else {
        return UpgradeState { status: frozen(servers).unwrap_or_default(), ..UpgradeState::default() };
    };
    let mut state =
        UpgradeState { target_version: newest.upgrade_version.clone(), ..UpgradeState::default() };
    for server in servers {
        let Some(version) = version(server) else { continue };
        let is_target = version == target;
        let list = if is_target { &mut state.target } else { &mut state.other };
        list.push(server);
        if let Some(zone) = server.zone.as_ref().filter(|_| settings.has_zones() && !is_replica(server)) {
            let (target, other) = state.zones.entry(zone.clone()).or_default();
            if is_target { target } else { other }.push(server);
        }
    }
    state.status = frozen(servers)
        .filter(|_| !broken(Mutant::A30Frozen))
        .unwrap_or_else(|| status(servers, settings, &state, &target));
    state
}

/// The first voter whose version is not known.
fn frozen(servers: &[ServerState]) -> Option<UpgradeStatus> {
    let unknown = servers.iter().find(|server| server.role.has_vote() && version(server).is_none())?;
    Some(UpgradeStatus::Frozen { server: unknown.id.clone() })
}

fn status(
    servers: &[ServerState],
    settings: &Settings,
    state: &UpgradeState,
    target: &SemVer,
) -> UpgradeStatus {
    let (new, old) = (state.target.voters.len(), state.other.voters.len());
    if state.other.count() == 0 {
        return UpgradeStatus::Idle;
    }
    if old == 0 {
        let servers = |list: &VersionServers| list.voters.len() + list.non_voters.len();
        let is_enough = servers(&state.target) >= servers(&state.other);
        return if is_enough { UpgradeStatus::AwaitServerRemoval } else { UpgradeStatus::AwaitNewServers };
    }
    if new >= old {
        let is_leader = |id: &ServerId| {
            servers.iter().any(|server| server.id == *id && server.role == ServerRole::Leader)
        };
        let only_leader = state.other.voters.iter().all(is_leader);
        return if only_leader { UpgradeStatus::LeaderTransfer } else { UpgradeStatus::Demoting };
    }
    let is_enough = potential(servers, settings, target) >= old || broken(Mutant::A29Await);
    if is_enough { UpgradeStatus::Promoting } else { UpgradeStatus::AwaitNewVoters }
}

/// How many healthy servers of the target version can vote: one of each zone, and each that is in none.
fn potential(servers: &[ServerState], settings: &Settings, target: &SemVer) -> usize {
    let is_potential = |server: &&ServerState| {
        server.health.is_healthy && !is_replica(server) && version(server).as_ref() == Some(target)
    };
    let (mut zones, mut others) = (std::collections::BTreeSet::new(), 0);
    for server in servers.iter().filter(is_potential) {
        match server.zone.as_ref().filter(|_| settings.has_zones()) {
            Some(zone) => _ = zones.insert(zone),
            None => others += 1,
        }
    }
    zones.len() + others
}

/// Why this server gets no vote in the present stage of an upgrade.
pub(crate) fn held(scene: Scene<'_>, server: &ServerState) -> Option<BlockedReason> {
    let upgrade = &scene.state.upgrade;
    if matches!(upgrade.status, UpgradeStatus::Disabled) {
        return None;
    }
    let Some(own) = version(server) else {
        if broken(Mutant::A30Version) {
            return None;
        }
        return Some(BlockedReason::VersionUnknown { server: server.id.clone() });
    };
    let target = upgrade.target_version.clone().unwrap_or_default();
    let is_target = SemVer::parse(&target).as_ref() == Some(&own);
    match &upgrade.status {
        UpgradeStatus::Disabled | UpgradeStatus::Idle => None,
        UpgradeStatus::Frozen { server } => {
            let is_run = scene.voters().any(|voter| version(voter).as_ref() == Some(&own));
            (!is_run).then(|| BlockedReason::VersionUnknown { server: server.clone() })
        }
        UpgradeStatus::AwaitNewVoters => is_target.then(|| {
            let target_version = SemVer::parse(&target);
            let healthy =
                target_version.map_or(0, |target| potential(&scene.state.servers, scene.settings, &target));
            BlockedReason::AwaitNewVoters { healthy, needed: upgrade.other.voters.len() }
        }),
        UpgradeStatus::Demoting | UpgradeStatus::LeaderTransfer => {
            Some(BlockedReason::UpgradeFirst { status: upgrade.status.as_str() })
        }
        UpgradeStatus::Promoting | UpgradeStatus::AwaitNewServers | UpgradeStatus::AwaitServerRemoval => {
            (!is_target && !broken(Mutant::A29Old)).then_some(BlockedReason::OlderVersion { target })
        }
    }
}

/// Demotions and the transfer of an upgrade.
pub(crate) fn add_wishes(scene: Scene<'_>, wishes: &mut Wishes) {
    let upgrade = &scene.state.upgrade;
    match upgrade.status {
        UpgradeStatus::Demoting => {
            let is_leader = |id: &&ServerId| scene.input.membership.is_leader(id);
            wishes.demotions.extend(upgrade.other.voters.iter().filter(|id| !is_leader(id)).cloned());
            // A failed voter first: that costs nothing.
            wishes.demotions.sort_by_key(|id| scene.state.server(id).is_some_and(is_well));
        }
        UpgradeStatus::LeaderTransfer => {
            let voters = || scene.voters().filter(|voter| upgrade.target.voters.contains(&voter.id));
            let Some(to) = voters().find(|voter| is_well(voter)).or_else(|| voters().next()) else { return };
            match thin_zone(scene).filter(|_| !broken(Mutant::A29Zone)) {
                Some(reason) => wishes.held.push(Held {
                    action: ActionKind::TransferLeadership,
                    server: to.id.clone(),
                    reason,
                }),
                None => wishes.leader = Some(to.id.clone()),
            }
        }
        _ => {}
    }
}

/// A zone in which the newer servers are not as many as the older ones: leadership stays, so that the group is never
/// less healthy after than before.
fn thin_zone(scene: Scene<'_>) -> Option<BlockedReason> {
    let healthy = |list: &VersionServers| {
        let ids = list.voters.iter().chain(&list.non_voters);
        ids.filter(|id| scene.state.server(id).is_some_and(|server| server.health.is_healthy)).count()
    };
    scene.state.upgrade.zones.iter().find_map(|(zone, (target, other))| {
        let (new, old) = (healthy(target), healthy(other));
        (new < old).then(|| BlockedReason::ZoneRedundancy { zone: zone.clone(), new, old })
    })
}

fn version(server: &ServerState) -> Option<SemVer> {
    server.upgrade_version.as_deref().and_then(SemVer::parse)
}

fn is_replica(server: &ServerState) -> bool {
    server.node_type == NodeType::ReadReplica
}

impl VersionServers {
    fn push(&mut self, server: &ServerState) {
        let list = match (is_replica(server), server.role.has_vote()) {
            (true, _) => &mut self.read_replicas,
            (false, true) => &mut self.voters,
            (false, false) => &mut self.non_voters,
        };
        list.push(server.id.clone());
    }

    fn count(&self) -> usize {
        self.voters.len() + self.non_voters.len() + self.read_replicas.len()
    }
}
