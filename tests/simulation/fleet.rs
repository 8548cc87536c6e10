//! All members, and what is known of volumes that are gone.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use anyhow::Result;
use quorate_raft::{Incarnation, RaftId, RecoveryEpoch, Role, ServerId, Status, Versions};
use rand::Rng;
use rand::rngs::SmallRng;

use super::event::Boot;
use super::member::Member;
use super::mirror::Mirror;
use super::network::MemberNumber;

/// The members by number.
#[derive(Default)]
pub struct Fleet {
    members: Vec<Member>,
    /// What lost volumes held: an acknowledgement on its way when its disk is lost still counts.
    lost: BTreeMap<ServerId, Mirror>,
    /// Where each volume that ever was is or was reached.
    places: BTreeMap<ServerId, MemberNumber>,
    volumes: u64,
    /// The recovery epoch of the cluster.
    pub epoch: RecoveryEpoch,
}

impl Fleet {
    /// Adds a member with an empty volume and a binary that speaks `versions`.
    pub fn add(&mut self, versions: Versions, rng: &mut SmallRng) -> Result<MemberNumber> {
        let number = self.members.len();
        let raft_id = self.next_name(number)?;
        let member = Member::new(number, raft_id, Incarnation(rng.random()), (self.epoch, versions))?;
        self.places.insert(member.id.clone(), number);
        self.members.push(member);
        Ok(number)
    }

    /// Gives a member an empty volume in place of its own, under its old name or a new one.
    pub fn empty(&mut self, number: MemberNumber, keeps_name: bool, rng: &mut SmallRng) -> Result<()> {
        let old = &self.members[number];
        let of = (self.epoch, old.versions);
        let raft_id = if keeps_name { old.id.raft_id.clone() } else { self.next_name(number)? };
        let mut emptied = Member::new(number, raft_id, Incarnation(rng.random()), of)?;
        // Events for processes on the old volume are void.
        emptied.boots = self.members[number].boots + 1;
        self.places.insert(emptied.id.clone(), number);
        let old = std::mem::replace(&mut self.members[number], emptied);
        self.lost.insert(old.id, old.mirror);
        Ok(())
    }

    fn next_name(&mut self, number: MemberNumber) -> Result<RaftId> {
        self.volumes += 1;
        Ok(RaftId::new(&format!("m{number}-{:04x}", self.volumes))?)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// What each core of the present epoch believes its log to be.
    pub fn accepted_logs(&self) -> impl Iterator<Item = &Mirror> + Clone {
        self.members.iter().filter(|member| member.epoch == self.epoch).map(|member| &member.accepted)
    }

    /// The member whose volume has this identity.
    pub fn holder_of(&self, id: &ServerId) -> Option<MemberNumber> {
        self.place_of(id).filter(|number| self.members[*number].id == *id)
    }

    /// Where messages to this identity go, whatever volume is there by now.
    pub fn place_of(&self, id: &ServerId) -> Option<MemberNumber> {
        self.places.get(id).copied()
    }

    /// What the volume of this identity holds, or held when it was lost.
    pub fn disk_of(&self, id: &ServerId) -> Option<&Mirror> {
        match self.holder_of(id) {
            Some(number) => Some(&self.members[number].mirror),
            None => self.lost.get(id),
        }
    }

    /// The process that runs on a member now.
    pub fn boot(&self, number: MemberNumber) -> Boot {
        Boot { member: number, boot: self.members[number].boots }
    }

    /// Whether this process still runs.
    pub fn lives(&self, boot: Boot) -> bool {
        let member = &self.members[boot.member];
        member.boots == boot.boot && member.process.is_some()
    }

    /// Those that believe to lead, with their picture of the group; the highest term last.
    pub fn leaders(&self) -> Vec<(MemberNumber, Status)> {
        let leads = |member: &Member| {
            let raft = &member.process.as_ref()?.raft;
            (raft.role() == Role::Leader).then(|| (member.number, raft.status()))
        };
        let mut leaders: Vec<_> = self.members.iter().filter_map(leads).collect();
        leaders.sort_by_key(|(_, status)| status.term);
        leaders
    }
}

impl Index<MemberNumber> for Fleet {
    type Output = Member;

    fn index(&self, number: MemberNumber) -> &Member {
        &self.members[number]
    }
}

impl IndexMut<MemberNumber> for Fleet {
    fn index_mut(&mut self, number: MemberNumber) -> &mut Member {
        &mut self.members[number]
    }
}
