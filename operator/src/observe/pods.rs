//! A Pod as the planner reads it.

use k8s_openapi::api::core::v1::{
    ContainerState as KubeState, ContainerStateTerminated, ContainerStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use quorate_plan::children::label_keys;
use quorate_plan::children::names::SIDECAR;
use quorate_plan::observed::{self, ContainerState, Exit, Now, Obstacle, ObstacleKind, PodPhase};

/// The Pod's part of a slot.
pub(super) fn read(pod: &Pod) -> observed::Pod {
    let meta = &pod.metadata;
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let label = |key: &str| meta.labels.as_ref().and_then(|all| all.get(key)).cloned();
    let sidecar = containers(pod).find(|container| container.name == SIDECAR);
    observed::Pod {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        created: seconds(meta.creation_timestamp.as_ref()),
        phase: phase(pod),
        ready: condition_is(pod, "Ready", "True"),
        deleting: meta.deletion_timestamp.is_some(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        controller_uid: controller_uid(meta),
        claim_uid: annotation(label_keys::CLAIM_UID),
        raft_id: annotation(label_keys::RAFT_ID),
        template_hash: annotation(label_keys::TEMPLATE_HASH),
        voter_label: label(label_keys::VOTER).as_deref() == Some("true"),
        role_label: label(label_keys::ROLE),
        sidecar: sidecar.map(state).unwrap_or_default(),
        last_exit: sidecar.and_then(last_exit),
        sidecar_ran: sidecar.is_some_and(has_run),
        obstacle: obstacle(pod),
    }
}

/// The UID of an object's controller.
pub(super) fn controller_uid(meta: &ObjectMeta) -> Option<String> {
    let owners = meta.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

/// Kubernetes' time as the planner's; the beginning of time if absent.
pub(super) fn seconds(time: Option<&Time>) -> Now {
    Now(time.and_then(|time| u64::try_from(time.0.as_second()).ok()).unwrap_or_default())
}

/// All containers with a status; the sidecar is among the init containers when it is native (K43).
fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let ordinary = status.and_then(|status| status.container_statuses.as_ref());
    init.into_iter().chain(ordinary).flatten()
}

fn phase(pod: &Pod) -> PodPhase {
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        Some("Unknown") => PodPhase::Unknown,
        _ => PodPhase::Pending,
    }
}

fn condition_is(pod: &Pod, type_: &str, status: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == type_ && condition.status == status)
}

fn state(container: &ContainerStatus) -> ContainerState {
    match &container.state {
        Some(KubeState { running: Some(running), .. }) => {
            ContainerState::Running { since: seconds(running.started_at.as_ref()) }
        }
        Some(KubeState { terminated: Some(ended), .. }) => ContainerState::Terminated(exit(ended)),
        Some(KubeState { waiting: Some(waiting), .. }) => {
            ContainerState::Waiting { reason: waiting.reason.clone().unwrap_or_default() }
        }
        _ => ContainerState::NotStarted,
    }
}

fn last_exit(container: &ContainerStatus) -> Option<Exit> {
    container.last_state.as_ref()?.terminated.as_ref().map(exit)
}

fn has_run(container: &ContainerStatus) -> bool {
    container.restart_count > 0
        || container.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
        || matches!(state(container), ContainerState::Running { .. } | ContainerState::Terminated(_))
}

fn exit(ended: &ContainerStateTerminated) -> Exit {
    Exit {
        code: ended.exit_code,
        message: ended.message.clone().unwrap_or_default(),
        at: seconds(ended.finished_at.as_ref()),
    }
}

/// The first obstacle in the order a Pod meets them: a node, then images and configuration, then crashes (K51).
/// Volumes are not reported on the Pod itself; `obstacles` looks for their events.
fn obstacle(pod: &Pod) -> Option<Obstacle> {
    if let Some(unscheduled) = unscheduled(pod) {
        return Some(unscheduled);
    }
    let since = seconds(pod.metadata.creation_timestamp.as_ref());
    containers(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let kind = match waiting.reason.as_deref()? {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => ObstacleKind::ImagePull,
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                ObstacleKind::Configuration
            }
            "CrashLoopBackOff" => ObstacleKind::CrashLoop,
            _ => return None,
        };
        let words = waiting.message.as_deref().or(waiting.reason.as_deref()).unwrap_or_default();
        // The kubelet alternates between the pull's error and "Back-off …: ErrImagePull: <the same error>". Kept
        // apart, one image that is not there would be a status write every few seconds.
        let words = words.rsplit_once("ErrImagePull: ").map_or(words, |(_, error)| error);
        Some(Obstacle { kind, message: format!("container {}: {words}", container.name), since })
    })
}

fn unscheduled(pod: &Pod) -> Option<Obstacle> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(Obstacle {
        kind: ObstacleKind::Unschedulable,
        message: condition.message.clone().unwrap_or_default(),
        since: seconds(condition.last_transition_time.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> observed::Pod {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "db-0", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": { "quorate.dev/raft-id": "db-0-3f2a91c4" } },
            "status": status,
        }))
        .unwrap();
        read(&pod)
    }

    /// K51: of several obstacles the first one a Pod meets is the one to tell.
    #[test]
    fn an_unschedulable_pod_says_so_in_the_schedulers_words() {
        let read = pod(
            &json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/4 nodes are available", "lastTransitionTime": "2026-01-01T00:00:05Z" }] }),
        );
        let obstacle = read.obstacle.unwrap();
        assert_eq!(
            (obstacle.kind, obstacle.message.as_str()),
            (ObstacleKind::Unschedulable, "0/4 nodes are available")
        );
        assert_eq!(obstacle.since.0 - read.created.0, 5);
    }

    /// K51: an application's image that cannot be pulled is named by its container.
    #[test]
    fn an_image_that_cannot_be_pulled_is_quoted_with_its_container() {
        let read = pod(
            &json!({ "phase": "Pending", "containerStatuses": [{ "name": "app", "image": "", "imageID": "",
            "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } } }] }),
        );
        let obstacle = read.obstacle.unwrap();
        assert_eq!(obstacle.kind, ObstacleKind::ImagePull);
        assert_eq!(obstacle.message, "container app: Back-off pulling image");
        assert_eq!(read.sidecar, ContainerState::NotStarted);
    }

    /// K31: the kubelet tells one failed pull in two turns of phrase; to us it is one obstacle.
    #[test]
    fn a_failed_pull_reads_the_same_in_back_off() {
        let words = |reason: &str, message: &str| {
            pod(&json!({ "containerStatuses": [{ "name": "app", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": { "waiting": { "reason": reason, "message": message } } }] }))
            .obstacle
        };
        let pull = words("ErrImagePull", "failed to pull: not found");
        let back_off = words(
            "ImagePullBackOff",
            "Back-off pulling image \"x\": ErrImagePull: failed to pull: not found",
        );
        assert_eq!(pull, back_off);
    }

    /// K39: the exit code and termination message of the sidecar, native or not, reach the planner.
    #[test]
    fn the_sidecars_last_exit_is_read_wherever_the_container_is() {
        let status = json!([{ "name": "quorate-sidecar", "image": "", "imageID": "", "ready": false, "restartCount": 2,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 78, "message": "{\"code\":78}", "finishedAt": "2026-01-01T00:00:09Z" } } }]);
        for place in ["containerStatuses", "initContainerStatuses"] {
            let read = pod(&json!({ place: status }));
            let exit = read.last_exit.unwrap();
            assert_eq!((exit.code, exit.message.as_str()), (78, "{\"code\":78}"), "{place}");
            assert!(read.sidecar_ran);
            assert_eq!(read.sidecar, ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned() });
        }
    }
}
