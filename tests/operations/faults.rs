//! What breaks, and how it heals.
//!
//! A volume is lost only when all other voters are there and hold what is committed, and in two steps: its process ends
//! first, and the loss is called off if the group has come to need it meanwhile. More than that no consensus survives (P1).
//! The one exception is drawn on purpose: a majority is lost, and a person says who is to be the cluster.

use std::time::Duration;

use quorate_plan::Ordinal;
use quorate_plan::children::names;
use quorate_plan::observed::Child;
use quorate_plan::raft_view::quorum;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::controllers::Cut;
use super::coverage::Happening;
use super::event::{Doomed, Event, Loss};
use super::objects::CLUSTER;
use super::options::Fault;
use super::world::World;

/// From the end of a process to the loss of its volume: whoever plans a change on it has noticed by then.
const DOOMED_FOR_ELECTION_TIMEOUTS: u32 = 4;
/// A drain, an outage of the API server and a refusal last up to so long.
const LASTS_SECS: std::ops::RangeInclusive<u64> = 5..=120;
/// Nodes left at least.
const NODES_MIN: usize = 3;

impl World {
    /// Something breaks, at random.
    pub(super) fn fault(&mut self) {
        if self.is_calm() {
            return;
        }
        let next = self.around(self.options.fault_every);
        self.schedule.after(next, Event::Fault);
        let Some(fault) = self.options.faults.choose(&mut self.rng).copied() else { return };
        match fault {
            Fault::Kill => self.fault_of_process(),
            Fault::DeletePod | Fault::EndPod => self.fault_of_pod(fault),
            Fault::CutNode | Fault::OutOfService | Fault::Drain => self.fault_of_node(fault),
            Fault::DeleteClaim => self.delete_claim(),
            Fault::LoseVolume => self.doom(Loss::Deleted),
            Fault::EmptyVolume => self.doom(Loss::Emptied),
            Fault::DamageVolume => self.doom(Loss::Damaged),
            Fault::LoseNode => self.doom(Loss::Node),
            Fault::LoseMajority => self.lose_majority(),
            Fault::ApiDown => {
                self.coverage.hit(Happening::ApiDown);
                self.api.down_until = self.schedule.now() + self.lasts();
                self.say(|_| "the API server is away".to_owned());
            }
            Fault::RefusePods => {
                self.coverage.hit(Happening::PodsRefused);
                self.api.refuses_pods_until = self.schedule.now() + self.lasts();
                self.say(|_| "Pods are refused".to_owned());
            }
            Fault::DeleteChild => self.delete_child(),
        }
    }

    fn lasts(&mut self) -> Duration {
        Duration::from_secs(self.rng.random_range(LASTS_SECS))
    }

    fn fault_of_process(&mut self) {
        let all: Vec<Ordinal> = self.processes.keys().copied().collect();
        if let Some(ordinal) = all.choose(&mut self.rng) {
            self.coverage.hit(Happening::Killed);
            self.kill(*ordinal, "is killed");
        }
    }

    /// Pods whose claim is being deleted are left alone: they are all that keeps the volume.
    fn fault_of_pod(&mut self, fault: Fault) {
        let objects = self.api.objects();
        let keeps = |ordinal: &Ordinal| objects.claims.get(ordinal).is_some_and(|claim| !claim.deleting);
        let all: Vec<(Ordinal, String)> = objects
            .pods
            .iter()
            .filter(|(ordinal, pod)| keeps(ordinal) && !pod.deleting)
            .map(|(ordinal, pod)| (*ordinal, pod.uid.clone()))
            .collect();
        let Some((ordinal, uid)) = all.choose(&mut self.rng).cloned() else { return };
        if fault == Fault::DeletePod {
            self.coverage.hit(Happening::PodLost);
            self.say(|_| format!("somebody deletes Pod {CLUSTER}-{ordinal}"));
            self.api.mark_pod(ordinal);
        } else if self.processes.contains_key(&ordinal) {
            self.coverage.hit(Happening::PodEnded);
            self.kill(ordinal, "is evicted by its kubelet");
            self.runs.entry(uid).and_modify(|run| run.is_ended = true);
        }
    }

    fn fault_of_node(&mut self, fault: Fault) {
        let now = self.schedule.now();
        let names: Vec<String> = self.api.objects().nodes.keys().cloned().collect();
        let Some(node) = names.choose(&mut self.rng).cloned() else { return };
        match fault {
            Fault::CutNode => {
                self.coverage.hit(Happening::NodeCut);
                let until = now + self.options.cut_max.mul_f64(self.rng.random_range(0.02..1.0));
                self.cuts.entry(node.clone()).or_insert(Cut { since: now, until });
                self.say(|_| format!("{node} is cut off"));
            }
            Fault::OutOfService => {
                let Some(node) = self.cuts.keys().next().cloned() else { return };
                self.coverage.hit(Happening::NodeOutOfService);
                self.say(|_| format!("{node} is out of service"));
                self.api.edit(|objects, _| {
                    objects.nodes.entry(node).and_modify(|node| node.out_of_service = true);
                });
            }
            _ => {
                self.coverage.hit(Happening::Drained);
                let until = now + self.lasts();
                self.drains.insert(node.clone(), until);
                self.say(|_| format!("somebody drains {node}"));
                self.api.edit(|objects, _| {
                    objects.nodes.entry(node).and_modify(|node| node.unschedulable = true);
                });
            }
        }
    }

    /// The others are all there, hold everything, and are not about to change.
    fn others_bear_it(&self, ordinal: Ordinal) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(status) = self.processes.get(&leader).map(|process| process.raft.status()) else {
            return false;
        };
        let Some(latest) = status.latest.as_ref().filter(|_| !status.is_changing()) else { return false };
        if self.watch.configuration.as_ref().is_none_or(|known| known.index != latest.index) {
            return false;
        }
        let is_it = |raft_id: &str| Self::ordinal_in(raft_id) == Some(ordinal);
        let voters: Vec<_> = latest.configuration.voters().collect();
        let is_voter = voters.iter().any(|voter| is_it(voter.id.raft_id.as_str()));
        let holds = |id: &quorate_raft::ServerId| {
            *id == status.id
                || status.peers.iter().any(|peer| peer.id == *id && peer.matched >= status.commit)
        };
        let is_there = |id: &quorate_raft::ServerId| {
            let process = self.processes.values().find(|process| process.id == *id);
            let is_up = process.is_some_and(|process| !self.cuts.contains_key(&process.node));
            let claim = process.and_then(|process| self.api.objects().claims.get(&process.boot.ordinal));
            is_up && holds(id) && claim.is_some_and(|claim| !claim.deleting)
        };
        let others = voters.iter().filter(|voter| !is_it(voter.id.raft_id.as_str()));
        others.clone().all(|voter| is_there(&voter.id)) && (!is_voter || voters.len() >= 3)
    }

    /// A volume is to be lost: its process ends first.
    fn doom(&mut self, how: Loss) {
        let all: Vec<Ordinal> = self.processes.keys().copied().collect();
        let Some(ordinal) = all.choose(&mut self.rng).copied() else { return };
        let Some(process) = self.processes.get(&ordinal) else { return };
        let (pod_uid, claim_uid, node) =
            (process.pod_uid.clone(), process.claim_uid.clone(), process.node.clone());
        let is_alone = how != Loss::Node
            || self.api.objects().nodes.len() > NODES_MIN && self.is_alone_on(&node, ordinal);
        if !self.others_bear_it(ordinal) || !is_alone || self.cuts.contains_key(&node) {
            return;
        }
        self.kill(ordinal, "ends, and its volume is to be lost");
        self.runs.entry(pod_uid.clone()).and_modify(|run| run.is_held = true);
        let delay = self.options.settings.election_timeout * DOOMED_FOR_ELECTION_TIMEOUTS;
        self.schedule.after(delay, Event::Destroy(Doomed { ordinal, pod_uid, claim_uid, how }));
    }

    /// No other member in use has its volume there.
    fn is_alone_on(&self, node: &str, ordinal: Ordinal) -> bool {
        let claims = self.api.objects().claims.iter();
        let here = claims.filter(|(other, claim)| {
            let volume = self.volumes.get(&claim.uid);
            **other != ordinal
                && claim.record.is_live()
                && volume.is_some_and(|volume| volume.node.as_deref() == Some(node))
        });
        here.count() == 0
    }

    /// The volume is lost, unless the group has come to need it.
    pub(super) fn destroy(&mut self, doomed: &Doomed) {
        let Doomed { ordinal, pod_uid, claim_uid, how } = doomed;
        self.runs.entry(pod_uid.clone()).and_modify(|run| run.is_held = false);
        let pod = self.api.objects().pods.get(ordinal);
        let node = pod.filter(|pod| pod.uid == *pod_uid).and_then(|pod| pod.node.clone());
        let claim = self.api.objects().claims.get(ordinal);
        let is_there = claim.is_some_and(|claim| claim.uid == *claim_uid);
        let Some(node) = node.filter(|_| is_there && !self.is_calm() && self.others_bear_it(*ordinal)) else {
            self.coverage.hit(Happening::LossSpared);
            return;
        };
        self.say(|_| format!("the volume of {CLUSTER}-{ordinal} is lost: {how:?}"));
        match how {
            Loss::Deleted => {
                self.coverage.hit(Happening::VolumeLost);
                self.api.mark_claim(*ordinal);
                self.api.mark_pod(*ordinal);
            }
            Loss::Emptied => {
                self.coverage.hit(Happening::VolumeEmptied);
                self.volumes.entry(claim_uid.clone()).and_modify(|volume| volume.directory = None);
            }
            Loss::Damaged => {
                self.coverage.hit(Happening::VolumeDamaged);
                self.volumes.entry(claim_uid.clone()).and_modify(|volume| volume.is_damaged = true);
            }
            Loss::Node => {
                self.coverage.hit(Happening::NodeRemoved);
                self.api.edit(|objects, _| objects.nodes.remove(&node));
            }
        }
    }

    /// `kubectl delete pvc` of one member: its Pod keeps it.
    fn delete_claim(&mut self) {
        let objects = self.api.objects();
        let is_one_going = objects.claims.values().any(|claim| claim.deleting);
        let all: Vec<Ordinal> = objects.claims.keys().copied().collect();
        let Some(ordinal) = all.choose(&mut self.rng).copied() else { return };
        if is_one_going || !self.cuts.is_empty() || !self.others_bear_it(ordinal) {
            return;
        }
        self.coverage.hit(Happening::ClaimLost);
        self.say(|_| format!("somebody deletes the claim of {CLUSTER}-{ordinal}"));
        self.api.mark_claim(ordinal);
    }

    /// More than half of the voters lose their claims at once; a person has to say what is to become of the rest.
    fn lose_majority(&mut self) {
        let Some(known) = &self.watch.configuration else { return };
        let mut voters: Vec<Ordinal> = known
            .configuration
            .voters()
            .filter_map(|voter| Self::ordinal_in(voter.id.raft_id.as_str()))
            .collect();
        if voters.len() < 3 || self.person.is_recovering || self.watch.epoch > 0 {
            return;
        }
        let survivor = self.rng.random_range(0..voters.len());
        let survivor = voters.remove(survivor);
        // One whose volume was emptied a moment ago has nothing to go on from.
        let process = self.processes.get(&survivor);
        let is_whole = process.is_some_and(|process| known.configuration.is_voter(&process.id));
        if !self.others_bear_it(survivor) || !is_whole || !self.cuts.is_empty() {
            return;
        }
        self.coverage.hit(Happening::MajorityLost);
        self.person.is_recovering = true;
        self.say(|_| format!("the claims of all but {CLUSTER}-{survivor} are deleted"));
        let lost = voters.len().min(quorum(voters.len() + 1));
        for ordinal in voters.into_iter().take(lost) {
            self.end_process(ordinal, "goes with its volume");
            self.api.mark_claim(ordinal);
            self.api.mark_pod(ordinal);
        }
    }

    fn delete_child(&mut self) {
        self.coverage.hit(Happening::ChildDeleted);
        let which = self.rng.random_range(0..4);
        let any = self.processes.keys().next().copied();
        self.say(|_| format!("somebody deletes child {which}"));
        self.api.edit(|objects, _| match which {
            0 => objects.children.members_service = Child::Missing,
            1 => objects.children.role_binding = Child::Missing,
            2 => objects.budget = None,
            _ => drop(any.and_then(|any| objects.children.certificates.remove(&any))),
        });
    }

    /// Everything works from now on, and people want one thing.
    pub(super) fn stop_faults(&mut self) {
        let now = self.schedule.now();
        self.say(|_| "faults stop, and people want one thing".to_owned());
        self.calm_since = Some(now);
        self.cuts.values_mut().for_each(|cut| cut.until = now);
        self.drains.values_mut().for_each(|until| *until = now);
        self.runs.values_mut().for_each(|run| run.is_held = false);
        self.api.down_until = now;
        self.api.refuses_pods_until = now;
        self.api.edit(|objects, _| objects.nodes.values_mut().for_each(|node| node.out_of_service = false));
        self.settle_wishes();
        self.schedule.after(Duration::ZERO, Event::Converged);
    }

    /// The claim's name of a slot, for words.
    pub(super) fn claim_name(ordinal: Ordinal) -> String {
        names::claim(CLUSTER, ordinal)
    }
}
