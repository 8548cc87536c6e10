//! Why a member does not start, in Kubernetes' own words and with what to do (K51).

use crate::limits::QUOTE_CHARS_MAX;
use crate::observed::{Claim, ContainerState, ObstacleKind, Ordinal, Pod, Slot};
use crate::reason::Reason;
use crate::round::Round;

/// Reports the first obstacle of a slot, if any.
pub(crate) fn report(round: &mut Round<'_>, ordinal: Ordinal, slot: &Slot, claim: &Claim) {
    let member = round.pod_name(ordinal);
    if claim.deleting {
        being_deleted(round, slot, claim, &member);
    } else if let Some(refusal) = slot.refused.as_ref().filter(|_| lacks_something(slot)) {
        let text = format!("the API server refused to create an object of {member}: {}", quote(refusal));
        round.block("E1", Reason::CreationRefused, &member, text);
    } else if let Some((reason, text)) = volume(round, claim, slot.pod.as_ref(), &member) {
        round.block("E1", reason, &member, text);
    } else if let Some((reason, text)) = slot.pod.as_ref().and_then(|pod| start(pod, &member)) {
        round.block("E1", reason, &member, text);
    }
}

/// A refusal is remembered by whoever met it; another operator may have made the object since. A Pod that is ready has all it needs.
fn lacks_something(slot: &Slot) -> bool {
    slot.pod.as_ref().is_none_or(|pod| !pod.ready)
}

/// Someone deletes the claim of a member that is not leaving. It goes with its Pod; then rule 10 follows.
fn being_deleted(round: &mut Round<'_>, slot: &Slot, claim: &Claim, member: &str) {
    if !claim.record.is_wanted() {
        return;
    }
    // While its Pod runs the claim stays, and the member with it: rule 9 replaces it first.
    if slot.pod.as_ref().is_none_or(|pod| pod.deleting) {
        let text =
            format!("the volume claim {} and its Pod are going; {member} is replaced afterwards", claim.name);
        round.wait("9", Reason::VolumeBeingDeleted, member, text);
    }
}

/// A refusal for a slot whose claim could not even be made.
pub(crate) fn report_refused_claim(round: &mut Round<'_>, ordinal: Ordinal) {
    let refusal = round.observed.slots.get(&ordinal).and_then(|slot| slot.refused.as_deref());
    if let Some(refusal) = refusal {
        let member = round.pod_name(ordinal);
        let text = format!("the API server refused to create an object of {member}: {}", quote(refusal));
        round.block("E1", Reason::CreationRefused, &member, text);
    }
}

fn volume(round: &Round<'_>, claim: &Claim, pod: Option<&Pod>, member: &str) -> Option<(Reason, String)> {
    if claim.bound {
        return None;
    }
    let facts = &round.observed.storage;
    let name = &claim.name;
    match &claim.storage_class {
        None if facts.default_class == Some(false) => {
            return Some((
                Reason::VolumePending,
                format!(
                    "claim {name} is Pending: spec.storage.storageClassName names no class and the cluster has no default class; mark a StorageClass as default, or create the RaftCluster anew with a class"
                ),
            ));
        }
        Some(class) if facts.named_class == Some(false) => {
            return Some((
                Reason::VolumePending,
                format!(
                    "claim {name} is Pending: the storage class {class} does not exist; create it, or create the RaftCluster anew with another class"
                ),
            ));
        }
        _ => {}
    }
    // A class that binds at first use waits for the Pod to be scheduled: then the scheduler's words say more.
    if pod.is_some_and(|pod| pod.obstacle.is_some()) {
        return None;
    }
    let warning = claim.obstacle.as_deref()?;
    Some((Reason::VolumePending, format!("claim {name} of {member} is Pending: {}", quote(warning))))
}

fn start(pod: &Pod, member: &str) -> Option<(Reason, String)> {
    if let ContainerState::Terminated(exit) = &pod.sidecar
        && exit.code != 0
    {
        let text = format!(
            "the sidecar of {member} ended with code {}: {}; see `kubectl logs {member} -c quorate-sidecar`",
            exit.code,
            quote(&exit.message)
        );
        return Some((Reason::NotStarting, text));
    }
    let obstacle = pod.obstacle.as_ref()?;
    let said = quote(&obstacle.message);
    Some(match obstacle.kind {
        ObstacleKind::Unschedulable => (
            Reason::Unschedulable,
            format!("no node takes {member}: {said}; add a node, or relax spec.template or spec.topology"),
        ),
        ObstacleKind::ImagePull => (
            Reason::ImagePull,
            format!(
                "an image of {member} cannot be pulled: {said}; correct the image name, or give the Pod access to the registry"
            ),
        ),
        ObstacleKind::Configuration => (
            Reason::NotStarting,
            format!("the kubelet refuses a container of {member}: {said}; correct spec.template"),
        ),
        ObstacleKind::Volume => {
            (Reason::VolumePending, format!("the volume of {member} cannot be mounted: {said}"))
        }
        ObstacleKind::CrashLoop => (
            Reason::NotStarting,
            format!(
                "a container of {member} ends again and again: {said}; see `kubectl logs {member} --all-containers --previous`"
            ),
        ),
    })
}

/// The first line, cut: messages of a scheduler can be pages long.
pub(crate) fn quote(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    if line.chars().count() <= QUOTE_CHARS_MAX {
        line.to_owned()
    } else {
        line.chars().take(QUOTE_CHARS_MAX).chain("...".chars()).collect()
    }
}
