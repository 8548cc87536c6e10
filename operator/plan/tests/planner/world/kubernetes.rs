//! The API server and the kubelets of the small world.

use quorate_plan::observed::{ContainerState, Exit, Now, PodPhase};
use quorate_plan::{Ordinal, record};

use super::{Disk, World};

impl World {
    /// Lets a second pass: Pods start and stop, claims go, Raft elects and promotes.
    pub(crate) fn tick(&mut self) {
        self.now += 1;
        self.pods_go();
        self.claims_go();
        self.pods_start();
        self.raft_second();
    }

    /// A cut-off node confirms no deletion.
    fn pods_go(&mut self) {
        let cut = self.cut.clone();
        self.pods.retain(|ordinal, pod| !pod.deleting || cut.contains(ordinal));
    }

    /// A claim in use stays until its Pod is gone; its volume goes with it.
    fn claims_go(&mut self) {
        let gone: Vec<Ordinal> = self
            .claims
            .iter()
            .filter(|(ordinal, claim)| claim.deleting && !self.pods.contains_key(ordinal))
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for ordinal in gone {
            if let Some(claim) = self.claims.remove(&ordinal) {
                self.disks.remove(&claim.uid);
            }
        }
    }

    fn pods_start(&mut self) {
        for ordinal in self.pods.keys().copied().collect::<Vec<_>>() {
            let is_waiting = self.pods[&ordinal].phase == PodPhase::Pending;
            let mounts = self.claims.get(&ordinal).map(|claim| claim.uid.clone());
            if !is_waiting || self.obstacles.contains_key(&ordinal) || self.cut.contains(&ordinal) {
                continue;
            }
            let Some(uid) = mounts.filter(|uid| self.pods[&ordinal].claim_uid.as_ref() == Some(uid)) else {
                continue;
            };
            self.start(ordinal, &uid);
        }
    }

    fn start(&mut self, ordinal: Ordinal, claim_uid: &str) {
        let incarnation = format!("{:032x}", 0xa000 + self.mint());
        let version = self.version();
        let now = Now(self.now);
        let (Some(pod), Some(claim)) = (self.pods.get_mut(&ordinal), self.claims.get_mut(&ordinal)) else {
            return;
        };
        if !claim.bound {
            claim.bound = true;
            claim.capacity_bytes = claim.requested_bytes;
        }
        pod.phase = PodPhase::Running;
        pod.ready = true;
        pod.node = Some(format!("node-{ordinal}"));
        pod.sidecar = ContainerState::Running { since: now };
        pod.sidecar_ran = true;
        pod.resource_version = version;
        let raft_id = pod.raft_id.clone().unwrap_or_default();
        let recovery_epoch = claim.record.recovery_epoch;
        self.disks.entry(claim_uid.to_owned()).or_insert(Disk {
            raft_id,
            incarnation,
            cluster_id: None,
            recovery_epoch,
        });
    }

    /// Whether this slot's sidecar runs.
    pub(crate) fn runs(&self, ordinal: Ordinal) -> bool {
        self.pods
            .get(&ordinal)
            .is_some_and(|pod| matches!(pod.sidecar, ContainerState::Running { .. }) && !pod.deleting)
    }

    /// `kubectl delete pod`.
    pub(crate) fn delete_pod(&mut self, ordinal: u32) {
        let version = self.version();
        if let Some(pod) = self.pods.get_mut(&Ordinal(ordinal)) {
            pod.deleting = true;
            pod.resource_version = version;
        }
    }

    /// `kubectl delete pvc`, and the Pod with it.
    pub(crate) fn delete_claim_and_pod(&mut self, ordinal: u32) {
        self.delete_claim_only(ordinal);
        self.delete_pod(ordinal);
    }

    /// `kubectl delete pvc`: it stays while its Pod runs.
    pub(crate) fn delete_claim_only(&mut self, ordinal: u32) {
        let version = self.version();
        if let Some(claim) = self.claims.get_mut(&Ordinal(ordinal)) {
            claim.deleting = true;
            claim.resource_version = version;
        }
    }

    /// A sidecar ends by itself, with its termination message.
    pub(crate) fn exit(&mut self, ordinal: u32, code: u32, reason: &str) {
        let exit = Exit {
            code: i32::try_from(code).expect("small"),
            message: format!("{{\"code\":{code},\"reason\":\"{reason}\"}}"),
            at: Now(self.now),
        };
        if let Some(pod) = self.pods.get_mut(&Ordinal(ordinal)) {
            pod.sidecar = ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned() };
            pod.last_exit = Some(exit);
            pod.ready = false;
        }
    }

    /// `rm -rf` inside the volume, and a restart.
    pub(crate) fn empty_directory(&mut self, ordinal: u32) {
        let incarnation = format!("{:032x}", 0xe000 + self.mint());
        let ordinal = Ordinal(ordinal);
        let Some(claim) = self.claims.get(&ordinal) else { return };
        if let Some(disk) = self.disks.get_mut(&claim.uid) {
            disk.incarnation = incarnation;
            disk.cluster_id = None;
        }
    }

    /// The Raft ID a slot's claim stands for.
    pub(crate) fn raft_id(&self, ordinal: u32) -> String {
        let name = self.cluster.metadata.name.clone().unwrap_or_default();
        self.claims
            .get(&Ordinal(ordinal))
            .map_or_else(String::new, |claim| record::raft_id(&format!("{name}-{ordinal}"), &claim.uid))
    }
}
