//! What Kubernetes does by itself: it places Pods, lets claims go that nobody uses, counts budgets, and gives up nodes.
//!
//! Each looks again every half second at what is there, as the real ones do in the end.

use std::time::Duration;

use quorate_plan::Ordinal;
use quorate_plan::observed::{BudgetCounts, Obstacle, ObstacleKind, Pod};
use rand::Rng;

use super::coverage::Happening;
use super::event::Event;
use super::world::{Happened, World, check};

/// Controllers look this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A node that does not report for so long is not ready.
const NOT_READY_AFTER: Duration = Duration::from_secs(40);
/// And its Pods are given up so long after that.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(340);
/// How likely the disruption controller counts at a look.
const COUNTS: f64 = 0.5;

/// A node that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Since when.
    pub since: Duration,
    /// Until when.
    pub until: Duration,
}

impl World {
    pub(super) fn controllers(&mut self) -> Happened {
        self.schedule.after(LOOK_EVERY, Event::Controllers);
        self.nodes();
        for (ordinal, pod) in self.api.objects().pods.clone() {
            match &pod.node {
                None if pod.deleting => self.remove_pod(ordinal),
                None => self.place(ordinal, &pod),
                Some(node) if self.is_lost(node) => self.collect(ordinal),
                Some(node) => self.kubelet(ordinal, node)?,
            }
        }
        self.claims_go();
        self.drain();
        self.count_budget();
        let up: Vec<_> = self
            .processes
            .values()
            .filter(|process| !self.cuts.contains_key(&process.node))
            .map(|process| (process.id.clone(), process.epoch))
            .collect();
        self.watch.sees(self.schedule.now(), &up);
        if self.options.is_restarting_only() {
            check(self.watch.runs(&up))?;
        }
        Ok(())
    }

    /// Its Pods can be forgotten: it is no more, or somebody said so.
    fn is_lost(&self, node: &str) -> bool {
        self.api.objects().nodes.get(node).is_none_or(|node| node.out_of_service)
    }

    /// A Pod of a lost node is removed without its kubelet.
    fn collect(&mut self, ordinal: Ordinal) {
        self.end_process(ordinal, "goes with its node");
        self.remove_pod(ordinal);
    }

    /// Nodes that are cut off become not ready, then their Pods are given up; those that are back report again.
    fn nodes(&mut self) {
        let now = self.schedule.now();
        let back: Vec<String> =
            self.cuts.iter().filter(|(_, cut)| cut.until <= now).map(|(name, _)| name.clone()).collect();
        for name in back {
            self.cuts.remove(&name);
            self.coverage.hit(Happening::NodeHealed);
            self.say(|_| format!("{name} is back"));
        }
        let time = self.api.time();
        for (name, node) in self.api.objects().nodes.clone() {
            let silence = self.cuts.get(&name).map(|cut| now.saturating_sub(cut.since));
            let is_ready = silence.is_none_or(|silence| silence < NOT_READY_AFTER);
            if node.ready != is_ready {
                self.say(|_| format!("{name} is {}", if is_ready { "ready" } else { "not ready" }));
                self.api.edit(|objects, _| {
                    let Some(node) = objects.nodes.get_mut(&name) else { return };
                    node.ready = is_ready;
                    node.unreachable_since = (!is_ready).then_some(time);
                });
                if !is_ready {
                    self.unready(&name);
                }
            }
            if silence.is_some_and(|silence| silence >= GIVEN_UP_AFTER) {
                self.give_up(&name);
            }
        }
    }

    fn pods_on(&self, node: &str) -> Vec<(Ordinal, Pod)> {
        let pods = self.api.objects().pods.iter();
        pods.filter(|(_, pod)| pod.node.as_deref() == Some(node)).map(|(n, pod)| (*n, pod.clone())).collect()
    }

    fn unready(&mut self, node: &str) {
        for (ordinal, pod) in self.pods_on(node) {
            if pod.ready {
                self.api.change_pod(ordinal, |pod| pod.ready = false);
            }
        }
    }

    fn give_up(&mut self, node: &str) {
        let pods: Vec<_> = self.pods_on(node).into_iter().filter(|(_, pod)| !pod.deleting).collect();
        if !pods.is_empty() {
            self.coverage.hit(Happening::NodeGivenUp);
        }
        for (ordinal, _) in pods {
            self.api.mark_pod(ordinal);
        }
    }

    /// The scheduler.
    fn place(&mut self, ordinal: Ordinal, pod: &Pod) {
        let now = self.schedule.now();
        if self.runs.get(&pod.uid).is_none_or(|run| now < run.due) {
            return;
        }
        let claim = self.api.objects().claims.get(&ordinal).map(|claim| (claim.uid.clone(), claim.deleting));
        let node = match &claim {
            None => Err("persistentvolumeclaim not found".to_owned()),
            Some((_, true)) => Err("persistentvolumeclaim is being deleted".to_owned()),
            Some((uid, false)) => self.choose_node(uid),
        };
        match (node, claim) {
            (Ok(node), Some((uid, _))) => {
                if self.options.has_local_volumes {
                    self.volumes.entry(uid).or_default().node.get_or_insert_with(|| node.clone());
                }
                let start = self.rng.random_range(self.options.start.0..=self.options.start.1);
                self.runs.entry(pod.uid.clone()).and_modify(|run| run.due = now + start);
                self.api.edit(|objects, version| {
                    if let Some(claim) = objects.claims.get_mut(&ordinal).filter(|claim| !claim.bound) {
                        claim.bound = true;
                        version.clone_into(&mut claim.resource_version);
                    }
                });
                self.api.change_pod(ordinal, |pod| (pod.node, pod.obstacle) = (Some(node), None));
            }
            (Ok(_), None) => {}
            (Err(message), _) => {
                let since = pod.obstacle.as_ref().map_or_else(|| self.api.time(), |obstacle| obstacle.since);
                let obstacle = Some(Obstacle { kind: ObstacleKind::Unschedulable, message, since });
                if pod.obstacle != obstacle {
                    self.api.change_pod(ordinal, |pod| pod.obstacle = obstacle);
                }
            }
        }
    }

    /// The emptiest node that takes Pods, or the only one that has the volume.
    fn choose_node(&self, claim_uid: &str) -> Result<String, String> {
        let only = self.volumes.get(claim_uid).and_then(|volume| volume.node.as_deref());
        let objects = self.api.objects();
        let fits = |name: &String| only.is_none_or(|only| only == name);
        let takes_pods = objects
            .nodes
            .values()
            .filter(|node| node.ready && !node.unschedulable && !node.out_of_service && fits(&node.name));
        let crowd =
            |name: &str| objects.pods.values().filter(|pod| pod.node.as_deref() == Some(name)).count();
        let chosen = takes_pods.min_by_key(|node| (crowd(&node.name), node.name.clone()));
        chosen.map(|node| node.name.clone()).ok_or_else(|| "0 nodes are available".to_owned())
    }

    /// Claim protection: a claim that is being deleted goes once no Pod on a node uses it, and its volume with it.
    fn claims_go(&mut self) {
        let objects = self.api.objects();
        let is_used = |ordinal: &Ordinal| objects.pods.get(ordinal).is_some_and(|pod| pod.node.is_some());
        let gone: Vec<Ordinal> = objects
            .claims
            .iter()
            .filter(|(ordinal, claim)| claim.deleting && !is_used(ordinal))
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for ordinal in gone {
            if let Some(claim) = self.api.edit(|objects, _| objects.claims.remove(&ordinal)) {
                self.volumes.remove(&claim.uid);
                self.say(|_| format!("claim {} is gone", claim.name));
            }
        }
    }

    /// The disruption controller, a moment late.
    fn count_budget(&mut self) {
        let Some(budget) = &self.api.objects().budget else { return };
        let pods = self.api.objects().pods.values().filter(|pod| pod.voter_label && !pod.deleting);
        let current_healthy = i32::try_from(pods.filter(|pod| pod.ready).count()).unwrap_or(0);
        let counts = BudgetCounts {
            current_healthy,
            desired_healthy: budget.min_available,
            disruptions_allowed: (current_healthy - budget.min_available).max(0),
        };
        if budget.counts != Some(counts) && self.rng.random_bool(COUNTS) {
            self.api.edit(|objects, _| objects.budget.iter_mut().for_each(|it| it.counts = Some(counts)));
        }
    }

    /// People's drains: Pods are evicted as the budget allows, those whose claim is being deleted left alone.
    fn drain(&mut self) {
        let now = self.schedule.now();
        for (node, until) in self.drains.clone() {
            if until <= now {
                self.drains.remove(&node);
                self.say(|_| format!("{node} takes Pods again"));
                self.api.edit(|objects, _| {
                    objects.nodes.entry(node).and_modify(|node| node.unschedulable = false);
                });
                continue;
            }
            for (ordinal, pod) in self.pods_on(&node) {
                let is_going = self.api.objects().claims.get(&ordinal).is_none_or(|claim| claim.deleting);
                if !pod.deleting && !is_going && self.api.evict(&pod.name, None).is_err() {
                    self.coverage.hit(Happening::DrainHeld);
                }
            }
        }
    }
}
