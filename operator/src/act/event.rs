//! Events on the resource: what changed, for people (operator.md §3.10).

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event as KubeEvent, EventType};
use quorate_plan::observed::Observed;
use quorate_plan::plan::Event;
use tracing::warn;

use super::Hands;

/// The longest action the API server takes.
const ACTION_CHARS_MAX: usize = 128;

/// Publishes them. An event that cannot be written is logged and lost: the conditions say the same.
pub(super) async fn publish(hands: &Hands<'_>, events: &[Event]) {
    let about = hands.seen.observed.cluster.object_ref(&());
    for event in events {
        let kube_event = KubeEvent {
            type_: if event.is_warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.clone(),
            note: Some(event.message.clone()),
            action: action(&event.message),
            secondary: related(&hands.seen.observed, &event.message),
        };
        if let Err(error) = hands.recorder.publish(&kube_event, &about).await {
            warn!(%error, reason = event.reason, "an event was not written");
        }
    }
}

/// Repeats are counted per action and keep the first note, so the action is what the message says: the same words are
/// counted, other words are another event.
fn action(message: &str) -> String {
    message.chars().take(ACTION_CHARS_MAX).collect()
}

/// The member a message begins with, as the related object. Repeats are counted per related object, so that two
/// members' events of one reason stay two events.
fn related(observed: &Observed, message: &str) -> Option<ObjectReference> {
    let first = message.split_whitespace().next()?;
    let pods = observed.slots.values().filter_map(|slot| slot.pod.as_ref());
    let pod = pods.into_iter().find(|pod| pod.name == first)?;
    Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(observed.namespace().to_owned()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    })
}

#[cfg(test)]
mod tests {
    use quorate_plan::observed::{Ordinal, Pod, Slot};

    use super::*;

    /// "all 3 voters are healthy (x4)" on a cluster of five would be a lie (P6).
    #[test]
    fn events_of_other_words_are_not_counted_as_repeats() {
        assert_ne!(action("all 3 voters are healthy"), action("all 5 voters are healthy"));
        assert_eq!(action(&"é".repeat(500)).chars().count(), ACTION_CHARS_MAX);
    }

    /// Repeats are counted per related object: two members' events of one reason must stay two events.
    #[test]
    fn an_event_about_a_member_is_related_to_its_pod() {
        let pod = Pod { name: "db-1".to_owned(), uid: "u".to_owned(), ..Pod::default() };
        let slot = Slot { pod: Some(pod), ..Slot::default() };
        let observed = Observed { slots: [(Ordinal(1), slot)].into(), ..Observed::default() };
        let uid = |message: &str| related(&observed, message).and_then(|object| object.uid);
        assert_eq!(uid("db-1 votes now").as_deref(), Some("u"));
        assert_eq!(uid("db-12 votes now"), None);
        assert_eq!(uid("the quorum is back"), None);
    }
}
