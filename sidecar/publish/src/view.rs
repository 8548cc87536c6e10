//! The leader's view as the sidecar hands it in, and its form in `status.raft`.
//!
//! The view changes with every entry; the status must not (K31). Lag is therefore quantised: nothing below
//! [`TRAILING_SHOWN_MIN`], above it the power of two it has reached, so that a member which catches up from a
//! million entries behind passes 13 steps and not a million.

use quorate_crds::{Blocked, MemberStatus, RaftStatus, UpgradeStatus, ZoneStatus};

use crate::limits::TRAILING_SHOWN_MIN;

/// What the leader knows, in plain words; made by the sidecar from Raft and autopilot state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    /// How often quorum was recovered by hand (K18).
    pub recovery_epoch: u64,
    /// The leader's term.
    pub term: u64,
    /// The leader's Pod: this process.
    pub leader: String,
    /// Every server of the latest configuration, in the order it lists them.
    pub members: Vec<MemberView>,
    /// What autopilot holds back.
    pub blocked: Vec<BlockedView>,
    /// With redundancy zones: how many may fail one after the other.
    pub optimistic_failure_tolerance: Option<u64>,
    /// With upgrade migration: how far it has come.
    pub upgrade: Option<UpgradeView>,
    /// The redundancy zones; none unless they are on.
    pub zones: Vec<ZoneView>,
}

/// How far votes have moved to newer members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeView {
    /// In Consul's and Vault's words.
    pub status: &'static str,
    /// The newest version of all members, if it is known.
    pub target_version: Option<String>,
}

/// A redundancy zone; members by the names of their Pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneView {
    /// Its name.
    pub name: String,
    /// Who votes.
    pub voters: Vec<String>,
    /// Who does not.
    pub standbys: Vec<String>,
    /// How many of its members may fail before it has no healthy one.
    pub tolerates: u64,
}

/// One server of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The member's Pod.
    pub name: String,
    /// The Kubernetes node it runs on, if it said.
    pub node: Option<String>,
    /// Its Raft ID.
    pub raft_id: String,
    /// What it is in the cluster.
    pub role: MemberRole,
    /// Its health as autopilot judges it.
    pub state: MemberState,
    /// Why it is not healthy; in words a user understands.
    pub reason: Option<String>,
    /// Entries its log trails the leader's, exactly.
    pub trailing: u64,
    /// What it is in its redundancy zone, if there are zones.
    pub kind: Option<MemberKind>,
    /// The application's version, where upgrades go by it and it is known.
    pub version: Option<String>,
    /// The zone of its node, if it said.
    pub zone: Option<String>,
}

/// What a server is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// It leads (and votes).
    Leader,
    /// It votes.
    Voter,
    /// It has no vote, for now or for good.
    NonVoter,
}

/// What a server is where there are redundancy zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// In no zone: it votes, or is to.
    Voter,
    /// It never votes.
    ReadReplica,
    /// The voter of its zone, or one of a zone that has none yet.
    ZoneVoter,
    /// It stands by for the voter of its zone.
    ZoneStandby,
    /// It votes besides the voter of its zone, for a zone that has no healthy server.
    ZoneExtraVoter,
}

/// The health of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// In contact and level with the leader.
    Healthy,
    /// Healthy, but not yet for the stabilization time; it will get a vote.
    Stabilizing,
    /// Out of contact, in an old term, or behind.
    Unhealthy,
}

/// An action autopilot holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedView {
    /// The member it is about.
    pub member: String,
    /// What is held back, the numbers behind it, and what to do.
    pub message: String,
    /// The reason in one CamelCase word.
    pub reason: String,
    /// The rule that holds it back.
    pub rule: String,
}

impl MemberRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "Leader",
            Self::Voter => "Voter",
            Self::NonVoter => "NonVoter",
        }
    }
}

impl MemberKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "Voter",
            Self::ReadReplica => "ReadReplica",
            Self::ZoneVoter => "ZoneVoter",
            Self::ZoneStandby => "ZoneStandby",
            Self::ZoneExtraVoter => "ZoneExtraVoter",
        }
    }
}

impl MemberState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Stabilizing => "Stabilizing",
            Self::Unhealthy => "Unhealthy",
        }
    }
}

impl RaftView {
    /// The view as `status.raft` holds it: members and zones by name, lag quantised.
    pub(crate) fn to_status(&self) -> RaftStatus {
        let mut members: Vec<MemberStatus> = self.members.iter().map(MemberView::to_status).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.raft_id.cmp(&b.raft_id)));
        let mut zones: Vec<ZoneStatus> = self.zones.iter().map(ZoneView::to_status).collect();
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        RaftStatus {
            blocked: self.blocked.iter().map(BlockedView::to_status).collect(),
            leader: Some(self.leader.clone()),
            members,
            optimistic_failure_tolerance: self.optimistic_failure_tolerance.map(short),
            recovery_epoch: Some(signed(self.recovery_epoch)),
            term: Some(signed(self.term)),
            upgrade: self.upgrade.as_ref().map(UpgradeView::to_status),
            zones,
        }
    }
}

impl MemberView {
    fn to_status(&self) -> MemberStatus {
        MemberStatus {
            name: self.name.clone(),
            node: self.node.clone(),
            raft_id: Some(self.raft_id.clone()),
            reason: self.reason.clone(),
            role: Some(self.role.as_str().to_owned()),
            state: Some(self.state.as_str().to_owned()),
            trailing: quantised(self.trailing),
            kind: self.kind.map(|kind| kind.as_str().to_owned()),
            version: self.version.clone(),
            zone: self.zone.clone(),
        }
    }
}

impl UpgradeView {
    fn to_status(&self) -> UpgradeStatus {
        UpgradeStatus { status: self.status.to_owned(), target_version: self.target_version.clone() }
    }
}

impl ZoneView {
    /// The order of stability changes with every election; that of names does not.
    fn to_status(&self) -> ZoneStatus {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        ZoneStatus {
            name: self.name.clone(),
            standbys: sorted(&self.standbys),
            tolerates: short(self.tolerates),
            voters: sorted(&self.voters),
        }
    }
}

impl BlockedView {
    fn to_status(&self) -> Blocked {
        Blocked {
            member: self.member.clone(),
            message: self.message.clone(),
            reason: self.reason.clone(),
            rule: self.rule.clone(),
        }
    }
}

/// Whether nothing but lag changed: such news can wait (K31).
pub(crate) fn differs_only_in_trailing(a: &RaftStatus, b: &RaftStatus) -> bool {
    let without_trailing = |status: &RaftStatus| {
        let mut status = status.clone();
        for member in &mut status.members {
            member.trailing = None;
        }
        status
    };
    a != b && without_trailing(a) == without_trailing(b)
}

fn quantised(trailing: u64) -> Option<i64> {
    (trailing >= TRAILING_SHOWN_MIN).then(|| signed(1 << trailing.ilog2()))
}

/// A configuration has few servers.
fn short(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// JSON numbers of Kubernetes are signed; no counter of ours gets near the edge in this universe.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn view(term: u64) -> RaftView {
        let member = |name: &str, role| MemberView {
            name: name.to_owned(),
            node: Some("node-a".to_owned()),
            raft_id: format!("{name}-3f2a91c4"),
            role,
            state: MemberState::Healthy,
            reason: None,
            trailing: 0,
            kind: None,
            version: None,
            zone: None,
        };
        RaftView {
            recovery_epoch: 0,
            term,
            leader: "db-0".to_owned(),
            members: vec![member("db-0", MemberRole::Leader), member("db-1", MemberRole::Voter)],
            blocked: Vec::new(),
            optimistic_failure_tolerance: None,
            upgrade: None,
            zones: Vec::new(),
        }
    }

    /// K31: entries in flight are not lag, and lag moves in few steps.
    #[test]
    fn lag_is_absent_when_small_and_a_power_of_two_when_not() {
        assert_eq!(quantised(0), None);
        assert_eq!(quantised(TRAILING_SHOWN_MIN - 1), None);
        assert_eq!(quantised(TRAILING_SHOWN_MIN), Some(128));
        assert_eq!(quantised(1_000_000), Some(524_288));
        let steps: std::collections::BTreeSet<_> = (0..1_000_000).filter_map(quantised).collect();
        assert_eq!(steps.len(), 13);
    }

    /// K31: the order in which a configuration lists its servers is no news.
    #[test]
    fn members_are_listed_by_name() {
        let straight = view(7);
        let mut reversed = straight.clone();
        reversed.members.reverse();
        assert_eq!(straight.to_status(), reversed.to_status());
    }

    /// K31: nothing of zones and upgrades is there where nobody asked for them; where they are, the order in which autopilot
    /// lists them is no news either.
    #[test]
    fn zones_are_listed_by_name_and_only_where_they_are_on() {
        let plain = serde_json::to_value(view(7).to_status()).unwrap();
        for absent in ["optimisticFailureTolerance", "upgrade", "zones"] {
            assert_eq!(plain.get(absent), None, "{absent}");
        }
        let zone = |name: &str, standbys: [&str; 2]| ZoneView {
            name: name.to_owned(),
            voters: vec!["db-0".to_owned()],
            standbys: standbys.map(str::to_owned).to_vec(),
            tolerates: 2,
        };
        let mut one = view(7);
        one.zones = vec![zone("z1", ["db-3", "db-4"]), zone("z0", ["db-1", "db-2"])];
        let mut other = view(7);
        other.zones = vec![zone("z0", ["db-2", "db-1"]), zone("z1", ["db-4", "db-3"])];
        assert_eq!(one.to_status(), other.to_status());
        let names: Vec<_> =
            one.to_status().zones.into_iter().map(|zone| (zone.name, zone.standbys)).collect();
        let expected = [("z0", ["db-1", "db-2"]), ("z1", ["db-3", "db-4"])];
        assert_eq!(names, expected.map(|(name, all)| (name.to_owned(), all.map(str::to_owned).to_vec())));
    }

    /// K31: only a difference in lag may wait; one of health, role or term may not.
    #[test]
    fn a_change_of_health_is_more_than_lag() {
        let before = view(7).to_status();
        let mut lagging = view(7);
        lagging.members[1].trailing = 4_096;
        assert!(differs_only_in_trailing(&before, &lagging.to_status()));
        lagging.members[1].state = MemberState::Unhealthy;
        assert!(!differs_only_in_trailing(&before, &lagging.to_status()));
        assert!(!differs_only_in_trailing(&before, &view(8).to_status()));
        assert!(!differs_only_in_trailing(&before, &before));
    }
}
