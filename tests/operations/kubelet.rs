//! Kubelets: they start a Pod's sidecar on its claim's volume, start it again when it ends, stop it when the Pod goes, and
//! report. A kubelet that is cut off does all of it but report.

use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Pod as KubePod;
use quorate_plan::Ordinal;
use quorate_plan::children::names::SIDECAR;
use quorate_plan::observed::{ContainerState, Exit, Obstacle, ObstacleKind, Pod, PodPhase};
use quorate_raft::{Identity, Incarnation, Input, Now, Raft, RaftId, RecoveryEpoch, Versions};
use quorate_store::{Recovery, RecoveryRequest};
use rand::Rng;

use super::coverage::Happening;
use super::event::{Boot, Event};
use super::objects::{CLUSTER, VERSION};
use super::process::Process;
use super::volume::Directory;
use super::world::{CLUSTER_ID, Happened, World};

/// An image with this in its name cannot be pulled.
pub const NO_SUCH_IMAGE: &str = "no-such";
/// A sidecar that was asked to end does so within this time.
const STOPS_MS: std::ops::RangeInclusive<u64> = 200..=3_000;
/// The longest pause before a container is started again.
const BACK_OFF_MAX: Duration = Duration::from_mins(5);
/// How likely a peer notices that a process is gone, and within which time.
const PEER_NOTICES: f64 = 0.7;
const NOTICED_MS: std::ops::RangeInclusive<u64> = 10..=150;

/// What a kubelet knows of a Pod.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whether its image exists.
    pub is_pullable: bool,
    /// The lowest recovery epoch its directory may have.
    pub epoch: u64,
    /// When the next thing is due: scheduling, a start.
    pub due: Duration,
    /// When the sidecar that was asked to end ends.
    pub stops_at: Option<Duration>,
    /// How the sidecar last ended.
    pub exit: Option<Exit>,
    /// How often it ended by itself.
    pub ends: u32,
    /// It is kept from starting: its volume is about to be lost.
    pub is_held: bool,
    /// The kubelet ended the Pod for good.
    pub is_ended: bool,
    /// The application's version, as an annotation says it.
    pub version: Option<String>,
}

impl Run {
    /// A Pod that was just made.
    pub fn new(made: &KubePod, due: Duration) -> Self {
        let spec = made.spec.as_ref();
        let containers =
            spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        let sidecar = containers.into_iter().find(|container| container.name == SIDECAR);
        let env = sidecar.into_iter().flat_map(|sidecar| sidecar.env.iter().flatten());
        let epoch = env.into_iter().find(|var| var.name == "QUORATE_RECOVERY_EPOCH");
        let image = sidecar.and_then(|sidecar| sidecar.image.as_deref()).unwrap_or_default();
        Self {
            is_pullable: !image.contains(NO_SUCH_IMAGE),
            epoch: epoch.and_then(|var| var.value.as_ref()?.parse().ok()).unwrap_or(0),
            due,
            stops_at: None,
            exit: None,
            ends: 0,
            is_held: false,
            is_ended: false,
            version: made.metadata.annotations.as_ref().and_then(|all| all.get(VERSION)).cloned(),
        }
    }
}

impl World {
    /// The kubelet of a Pod that is on a node.
    pub(super) fn kubelet(&mut self, ordinal: Ordinal, node: &str) -> Happened {
        let now = self.schedule.now();
        let Some(pod) = self.api.objects().pods.get(&ordinal).cloned() else { return Ok(()) };
        let is_cut = self.cuts.contains_key(node);
        let runs = self.processes.contains_key(&ordinal);
        let Some(run) = self.runs.get(&pod.uid).cloned() else { return Ok(()) };
        if pod.deleting && !is_cut {
            return self.stop_pod(ordinal, &pod, &run);
        }
        let may_start = run.is_pullable && !run.is_held && !run.is_ended && now >= run.due;
        if !runs && may_start {
            self.start_sidecar(ordinal, &pod, node)?;
        }
        if !is_cut {
            self.report(ordinal);
        }
        Ok(())
    }

    fn stop_pod(&mut self, ordinal: Ordinal, pod: &Pod, run: &Run) -> Happened {
        let now = self.schedule.now();
        if self.processes.contains_key(&ordinal) {
            match run.stops_at {
                None => {
                    let stops_at = now + Duration::from_millis(self.rng.random_range(STOPS_MS));
                    self.runs.entry(pod.uid.clone()).and_modify(|run| run.stops_at = Some(stops_at));
                    self.say(|_| format!("{} is asked to end, and hands over", pod.name));
                    return self.step(ordinal, Input::HandOver);
                }
                Some(stops_at) if now < stops_at => return Ok(()),
                Some(_) => self.end_process(ordinal, "ends as it was asked to"),
            }
        }
        self.remove_pod(ordinal);
        Ok(())
    }

    /// A Pod is no more.
    pub(super) fn remove_pod(&mut self, ordinal: Ordinal) {
        if let Some(pod) = self.api.edit(|objects, _| objects.pods.remove(&ordinal)) {
            self.runs.remove(&pod.uid);
            self.say(|_| format!("Pod {} is gone", pod.name));
        }
    }

    /// What the Pod's status says, if that is news.
    fn report(&mut self, ordinal: Ordinal) {
        let Some(pod) = self.api.objects().pods.get(&ordinal) else { return };
        let Some(run) = self.runs.get(&pod.uid) else { return };
        let process = self.processes.get(&ordinal).filter(|process| process.pod_uid == pod.uid);
        let mut next = pod.clone();
        next.last_exit.clone_from(&run.exit);
        next.ready = process.is_some();
        next.obstacle = None;
        next.sidecar_ran |= process.is_some() || run.exit.is_some();
        match (process, &run.exit) {
            (Some(process), _) => {
                next.phase = PodPhase::Running;
                next.sidecar = ContainerState::Running { since: process.since };
            }
            (None, _) if !run.is_pullable => {
                next.sidecar = ContainerState::Waiting { reason: "ImagePullBackOff".to_owned() };
                next.obstacle = Some(Obstacle {
                    kind: ObstacleKind::ImagePull,
                    message: "container quorate-sidecar: not found".to_owned(),
                    since: pod.created,
                });
            }
            (None, Some(exit)) if exit.code == 0 || run.ends < 2 => {
                next.sidecar = ContainerState::Terminated(exit.clone());
            }
            (None, Some(_)) => {
                next.sidecar = ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned() };
            }
            (None, None) => {}
        }
        if run.is_ended {
            next.phase = PodPhase::Failed;
        }
        if next != *pod {
            self.api.change_pod(ordinal, |pod| *pod = next);
        }
    }

    fn start_sidecar(&mut self, ordinal: Ordinal, pod: &Pod, node: &str) -> Happened {
        let (Some(claim_uid), Some(raft_id)) = (&pod.claim_uid, &pod.raft_id) else { return Ok(()) };
        let is_there = self.api.objects().claims.get(&ordinal).is_some_and(|claim| claim.uid == *claim_uid);
        let Some(run) = self.runs.get(&pod.uid).filter(|_| is_there) else { return Ok(()) };
        let (epoch, version) = (run.epoch, run.version.clone());
        let raft_id = RaftId::new(raft_id)?;
        let incarnation = Incarnation(self.rng.random());
        let volume = self.volumes.entry(claim_uid.clone()).or_default();
        if volume.is_damaged {
            self.exit(ordinal, 65, "CorruptData");
            return Ok(());
        }
        let directory = volume
            .directory
            .get_or_insert_with(|| Directory::create(raft_id.clone(), incarnation, RecoveryEpoch(epoch)));
        if directory.id.raft_id != raft_id {
            self.exit(ordinal, 78, "WrongIdentity");
            return Ok(());
        }
        if directory.epoch.0 < epoch {
            self.exit(ordinal, 78, "BeforeRecovery");
            return Ok(());
        }
        self.boots += 1;
        let boot = Boot { ordinal, boot: self.boots };
        let (id, epoch, stored) = (directory.id.clone(), directory.epoch, directory.stored());
        let identity = Identity {
            cluster_id: CLUSTER_ID,
            recovery_epoch: epoch,
            server: id.clone(),
            versions: Versions::OURS,
        };
        let seed = self.rng.random();
        let raft = Raft::new(identity, self.options.settings, stored, seed, Now(self.schedule.now()))
            .map_err(|error| anyhow!("{error}"))?;
        let place = (claim_uid.clone(), pod.uid.clone(), node.to_owned());
        let mut process = Process::new(boot, id, epoch.0, raft, place, self.api.time());
        process.version = version;
        self.processes.insert(ordinal, process);
        self.say(|_| format!("{} runs on {node}", pod.name));
        self.schedule.after(Duration::ZERO, Event::Autopilot(boot));
        self.step(ordinal, Input::Tick)
    }

    /// The sidecar ends with its last words, and is started again later and later.
    fn exit(&mut self, ordinal: Ordinal, code: i32, reason: &str) {
        let (now, time) = (self.schedule.now(), self.api.time());
        let Some(pod) = self.api.objects().pods.get(&ordinal) else { return };
        let uid = pod.uid.clone();
        let Some(run) = self.runs.get_mut(&uid) else { return };
        let message = format!("{{\"code\":{code},\"reason\":\"{reason}\"}}");
        run.exit = Some(Exit { code, message, at: time });
        run.due = now + (Duration::from_secs(5) * 2_u32.pow(run.ends.min(10))).min(BACK_OFF_MAX);
        run.ends += 1;
        self.say(|_| format!("{CLUSTER}-{ordinal} ends with code {code} ({reason})"));
    }

    /// A process ends; those who talk to it may notice.
    pub(super) fn end_process(&mut self, ordinal: Ordinal, how: &str) {
        let Some(gone) = self.processes.remove(&ordinal) else { return };
        self.say(|_| format!("{} {how}", gone.id.raft_id));
        let linked: Vec<Boot> = self
            .processes
            .values()
            .filter(|process| self.is_linked(&process.node, &gone.node))
            .map(|process| process.boot)
            .collect();
        for boot in linked {
            if self.rng.random_bool(PEER_NOTICES) {
                let delay = Duration::from_millis(self.rng.random_range(NOTICED_MS));
                self.schedule.after(delay, Event::PeerGone(boot, gone.id.clone()));
            }
        }
    }

    /// A process is killed; its kubelet starts it again.
    pub(super) fn kill(&mut self, ordinal: Ordinal, how: &str) {
        if self.processes.contains_key(&ordinal) {
            self.end_process(ordinal, how);
            self.exit(ordinal, 137, "Killed");
        }
    }

    /// A member was asked to become the cluster (K18): it is stopped, recovered, and started.
    pub(super) fn recover_directory(&mut self, ordinal: Ordinal, request: &RecoveryRequest) -> Happened {
        let Some(process) = self.processes.get(&ordinal) else { return Ok(()) };
        let (pod_uid, claim_uid, node) =
            (process.pod_uid.clone(), process.claim_uid.clone(), process.node.clone());
        self.end_process(ordinal, "is stopped to be recovered");
        let volume = self.volumes.get_mut(&claim_uid).context("a volume that is mounted")?;
        let directory = volume.directory.as_mut().context("a directory that was open")?;
        let decided = request.decide(&directory.stored(), &directory.id, directory.epoch);
        if let Ok(Recovery::Write { epoch, persist }) = decided {
            let id = directory.id.clone();
            directory.write(&persist)?;
            directory.epoch = epoch;
            self.coverage.hit(Happening::Recovered);
            let log = directory.read(quorate_raft::Index(1), directory.last().index);
            self.watch.recovered(epoch.0, &log);
            self.say(|_| format!("{} is the cluster now, at recovery epoch {}", id.raft_id, epoch.0));
        }
        let Some(pod) = self.api.objects().pods.get(&ordinal).filter(|pod| pod.uid == pod_uid).cloned()
        else {
            return Ok(());
        };
        self.start_sidecar(ordinal, &pod, &node)
    }
}
