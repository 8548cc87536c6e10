//! Why a claim is not bound or a Pod not started, from the events about it (K51).
//!
//! Events are hints: one that cannot be read leaves the obstacle unknown and never fails a round.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::ListParams;
use quorate_plan::observed::{ContainerState, Now, Obstacle, ObstacleKind, Ordinal, Pod, Slot};
use tracing::debug;

use super::{Place, now};
use crate::limits::EVENTS_READ_MAX;

/// Volumes take a moment to attach; only a Pod older than this is looked at.
const VOLUME_PATIENCE: Duration = Duration::from_secs(10);
/// Reasons of the kubelet and the attach controller about volumes.
const VOLUME_REASONS: [&str; 4] =
    ["FailedMount", "FailedAttachVolume", "FailedMapVolume", "VolumeFailedDelete"];

/// Looks up events where they can tell something.
pub(super) async fn fill(client: &Client, place: &Place, slots: &mut BTreeMap<Ordinal, Slot>) {
    for slot in slots.values_mut() {
        if let Some(claim) = slot.claim.as_mut().filter(|claim| !claim.bound) {
            claim.obstacle = newest(&warnings(client, place, &claim.uid).await).map(words);
        }
        if let Some(pod) = slot.pod.as_mut().filter(|pod| waits_for_volume(pod, now())) {
            let mut events = warnings(client, place, &pod.uid).await;
            events.retain(|event| {
                event.reason.as_deref().is_some_and(|reason| VOLUME_REASONS.contains(&reason))
            });
            pod.obstacle = newest(&events).map(|event| Obstacle {
                kind: ObstacleKind::Volume,
                message: words(event),
                since: pod.created,
            });
        }
    }
}

/// Scheduled, nothing said about it yet, and its sidecar not created.
fn waits_for_volume(pod: &Pod, now: Now) -> bool {
    let is_waiting = match &pod.sidecar {
        ContainerState::NotStarted => true,
        ContainerState::Waiting { reason } => reason == "ContainerCreating" || reason == "PodInitializing",
        ContainerState::Running { .. } | ContainerState::Terminated(_) => false,
    };
    is_waiting && pod.node.is_some() && pod.obstacle.is_none() && now.since(pod.created) > VOLUME_PATIENCE
}

async fn warnings(client: &Client, place: &Place, uid: &str) -> Vec<Event> {
    let about = ListParams::default()
        .fields(&format!("involvedObject.uid={uid},type=Warning"))
        .limit(EVENTS_READ_MAX);
    match place.api::<Event>(client).list(&about).await {
        Ok(list) => list.items,
        Err(error) => {
            debug!(%error, "events cannot be read");
            Vec::new()
        }
    }
}

/// The newest by whichever of its times is set.
fn newest(events: &[Event]) -> Option<&Event> {
    let when = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or_else(|| event.event_time.as_ref().map(|time| time.0))
    };
    events.iter().max_by_key(|event| when(event))
}

fn words(event: &Event) -> String {
    let reason = event.reason.as_deref().unwrap_or("Warning");
    format!("{reason}: {}", event.message.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// K51: the latest word counts, whichever of an event's times its reporter filled in.
    #[test]
    fn the_newest_warning_is_quoted() {
        let event = |reason: &str, time: serde_json::Value| -> Event {
            let mut event = json!({ "metadata": {}, "involvedObject": {}, "reason": reason, "message": "m" });
            event.as_object_mut().unwrap().extend(time.as_object().unwrap().clone());
            serde_json::from_value(event).unwrap()
        };
        let events = [
            event("Old", json!({ "lastTimestamp": "2026-01-01T00:00:00Z" })),
            event("New", json!({ "eventTime": "2026-01-01T00:00:05.000000Z" })),
            event("Never", json!({})),
        ];
        assert_eq!(newest(&events).map(words).as_deref(), Some("New: m"));
        assert_eq!(newest(&[]), None);
    }

    /// K51: a Pod that has just been made is not in trouble.
    #[test]
    fn only_a_scheduled_pod_that_waits_for_long_is_looked_at() {
        let pod = Pod { node: Some("n1".to_owned()), created: Now(100), ..Pod::default() };
        assert!(!waits_for_volume(&pod, Now(105)));
        assert!(waits_for_volume(&pod, Now(120)));
        assert!(!waits_for_volume(&Pod { node: None, ..pod.clone() }, Now(120)));
        let running = ContainerState::Running { since: Now(101) };
        assert!(!waits_for_volume(&Pod { sidecar: running, ..pod }, Now(120)));
    }
}
