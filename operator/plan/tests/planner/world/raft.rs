//! The Raft group of the small world: a configuration, a leader while a majority is up, votes after stabilization.

use std::collections::{BTreeMap, BTreeSet};

use quorate_plan::Ordinal;
use quorate_plan::raft_view::{AutopilotSettings, Intent, quorum};

use super::World;

/// A server of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) incarnation: String,
    pub(crate) address: String,
    pub(crate) is_voter: bool,
    pub(crate) intent: Intent,
    /// Since when it is healthy without a break.
    pub(crate) healthy_since: Option<u64>,
    /// When the leader last heard it.
    pub(crate) heard: Option<u64>,
    /// Entries it trails; a story may hold it back.
    pub(crate) trailing: u64,
}

/// The group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) servers: BTreeMap<String, Member>,
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) in_flight: bool,
    pub(crate) settings: AutopilotSettings,
    pub(crate) cluster_id: Option<String>,
    pub(crate) recovery_epoch: u64,
    /// How far those trail that join from now on, for ever.
    pub(crate) joiners_trail: u64,
    /// The nodes are in so many zones, by turns.
    pub(crate) zones: u32,
    /// Raft IDs whose vote an upgrade holds back.
    pub(crate) held: BTreeSet<String>,
    /// It holds back everybody's who has none.
    pub(crate) holds_newcomers: bool,
}

impl World {
    /// Whether the server of this ID runs, on its own directory, and can be reached.
    pub(crate) fn is_up(&self, raft_id: &str) -> bool {
        let Some(member) = self.group.servers.get(raft_id) else { return false };
        self.pods.iter().any(|(ordinal, pod)| {
            pod.raft_id.as_deref() == Some(raft_id)
                && self.runs(*ordinal)
                && !self.cut.contains(ordinal)
                && self.disk(*ordinal).is_some_and(|disk| {
                    disk.incarnation == member.incarnation && disk.recovery_epoch == self.group.recovery_epoch
                })
        })
    }

    pub(crate) fn disk(&self, ordinal: Ordinal) -> Option<&super::Disk> {
        self.disks.get(self.pods.get(&ordinal)?.claim_uid.as_ref()?)
    }

    /// Whether so many of these would be a majority that is up.
    pub(crate) fn majority_up_without(&self, without: Option<&str>) -> bool {
        let voters: Vec<_> = self
            .group
            .servers
            .iter()
            .filter(|(id, member)| member.is_voter && Some(id.as_str()) != without)
            .collect();
        let up = voters.iter().filter(|(id, _)| self.is_up(id)).count();
        !voters.is_empty() && up >= quorum(voters.len())
    }

    /// A second of Raft.
    pub(crate) fn raft_second(&mut self) {
        let has_majority = self.majority_up_without(None);
        let leader_is_up = self.group.leader.as_ref().is_some_and(|leader| self.is_up(leader));
        if !has_majority {
            self.group.leader = None;
        } else if !leader_is_up {
            let next = self.group.servers.iter().find(|(id, member)| member.is_voter && self.is_up(id));
            self.group.leader = next.map(|(id, _)| id.clone());
            self.group.term += 1;
        }
        let up: Vec<String> = self.group.servers.keys().filter(|id| self.is_up(id)).cloned().collect();
        let now = self.now;
        for (id, member) in &mut self.group.servers {
            if up.contains(id) {
                member.healthy_since.get_or_insert(now);
                member.heard = Some(now);
            } else {
                member.healthy_since = None;
            }
        }
        if self.group.leader.is_some() {
            self.group.in_flight = false;
            self.promote();
        }
    }

    /// Autopilot: one stable non-voter at a time gets its vote (K15). With zones only one of each zone, in the place of
    /// one that failed or leaves.
    fn promote(&mut self) {
        if self.shift_votes() {
            return;
        }
        let stable = self.group.servers.iter().find(|(id, member)| {
            self.is_stable(member)
                && !self.stands_by(id)
                && self.replaced_by(member).is_none_or(|old| self.may_be_replaced(old))
        });
        let Some((id, old)) = stable.map(|(id, member)| (id.clone(), self.replaced_by(member).cloned()))
        else {
            return;
        };
        let member = self.group.servers.get_mut(&id).expect("just found");
        (member.is_voter, member.intent) = (true, Intent::Voter);
        match old {
            Some(old) => {
                self.group.servers.remove(&old);
                self.changed(format!("replace {old} by {id}"));
            }
            None => self.changed(format!("promote {id}")),
        }
    }

    /// A non-voter that may get a vote.
    fn is_stable(&self, member: &Member) -> bool {
        let needed = self.group.settings.server_stabilization_time.as_secs();
        let is_long = member.healthy_since.is_some_and(|since| self.now - since >= needed);
        !member.is_voter && member.trailing <= 250 && is_long
    }

    /// In its zone: with stand-bys at hand a failed voter loses its vote, and one that leaves hands it over.
    fn shift_votes(&mut self) -> bool {
        let standby_of = |zone: u32| {
            let mut all = self.group.servers.iter();
            let is_it = |(id, member): &(&String, &Member)| {
                self.zone(id) == Some(zone) && self.is_stable(member) && self.replaced_by(member).is_none()
            };
            all.find(is_it).map(|(id, _)| id.clone())
        };
        let voters = self
            .group
            .servers
            .iter()
            .filter(|(id, member)| member.is_voter && self.group.leader.as_ref() != Some(*id));
        let going = voters
            .filter(|(id, member)| member.healthy_since.is_none() || self.left.contains(*id))
            .find_map(|(id, _)| Some((id.clone(), standby_of(self.zone(id)?)?)));
        let Some((old, new)) = going else { return false };
        if self.left.contains(&old) {
            self.group.servers.remove(&old);
            self.group.servers.get_mut(&new).expect("just found").is_voter = true;
            self.changed(format!("replace {old} by {new}"));
        } else {
            self.group.servers.get_mut(&old).expect("just found").is_voter = false;
            self.changed(format!("demote {old}"));
        }
        true
    }

    /// The zone of a server's node; none while zones are off.
    fn zone(&self, raft_id: &str) -> Option<u32> {
        let is_on = !self.group.settings.redundancy_zone_tag.is_empty();
        let ordinal = raft_id.split('-').rev().nth(1)?.parse::<u32>().ok()?;
        is_on.then(|| ordinal % self.group.zones)
    }

    /// Whether a server without a vote needs none: another of its zone votes already, or an upgrade holds it back.
    pub(crate) fn stands_by(&self, raft_id: &str) -> bool {
        let zone = self.zone(raft_id);
        let mut servers = self.group.servers.iter();
        let has_voter = servers.any(|(id, member)| member.is_voter && self.zone(id) == zone);
        zone.is_some() && has_voter || self.group.holds_newcomers || self.group.held.contains(raft_id)
    }

    /// The server of the configuration whose vote a newcomer is to take.
    fn replaced_by(&self, member: &Member) -> Option<&String> {
        let Intent::ReplacementFor { raft_id, .. } = &member.intent else { return None };
        self.group.servers.get_key_value(raft_id).map(|(id, _)| id)
    }

    /// Only of one that is dead, or that the operator declared to leave (K15).
    fn may_be_replaced(&self, old: &String) -> bool {
        self.left.contains(old) || self.group.servers.get(old).is_some_and(|old| self.is_dead(old))
    }

    /// Silent for the whole dead threshold.
    pub(crate) fn is_dead(&self, member: &Member) -> bool {
        let threshold = self.group.settings.dead_server_last_contact_threshold.as_secs();
        member.heard.is_some_and(|at| self.now - at > threshold)
    }

    /// A change was accepted; it is committed a second later.
    pub(crate) fn changed(&mut self, change: String) {
        assert!(
            !self.group.in_flight,
            "two membership changes at once: {change} after {:?}",
            self.changes.last()
        );
        self.group.index += 1;
        self.group.in_flight = true;
        self.changes.push(change);
    }
}
