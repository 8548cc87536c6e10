//! One round for one cluster: observe, plan, act.

use std::sync::Arc;
use std::time::Instant;

use kube::Client;
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use quorate_crds::{RaftCluster, SidecarUpdate};
use quorate_plan::children::Rendering;
use quorate_plan::plan::Plan;
use tokio::time::timeout;
use tracing::{Instrument, debug, info_span, warn};

use crate::act::{Acted, Hands, act};
use crate::error::RoundError;
use crate::installation::Installation;
use crate::limits::{CHANGE_BACKOFF_MAX, ROUND_TIMEOUT};
use crate::memory::{Memory, Recollection};
use crate::metrics::Metrics;
use crate::observe::{Place, now, observe};
use crate::turn::Turn;

/// A cluster as it is watched: metadata only. A round reads the rest live.
pub(crate) type Watched = PartialObjectMeta<RaftCluster>;

/// What every round shares.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) installation: Installation,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) memory: Memory,
    pub(crate) turn: Turn,
}

/// Runs one round and says when to look again.
///
/// Never an error to the controller: the wait after a failure is this cluster's own, so one that is broken costs the
/// others nothing.
pub(crate) async fn run(
    watched: Arc<Watched>,
    context: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let (namespace, name) = (watched.namespace().unwrap_or_default(), watched.name_any());
    let span = info_span!("round", %namespace, cluster = %name);
    async {
        let started = Instant::now();
        let uid = watched.uid().unwrap_or_default();
        let mut recollection = context.memory.take(&uid);
        let limited = timeout(ROUND_TIMEOUT, Box::pin(round(&context, &namespace, &name, &mut recollection)));
        let result = limited.await.unwrap_or(Err(RoundError::Timeout(ROUND_TIMEOUT.as_secs())));
        context.metrics.round(started.elapsed(), result.is_ok());
        let action = match result {
            Ok(Some(action)) => action,
            Ok(None) => {
                context.metrics.forget(&namespace, &name);
                context.turn.forget(&uid);
                return Ok(Action::await_change());
            }
            Err(error) => failed(&context, &watched, &mut recollection, &error).await,
        };
        context.memory.put(&uid, recollection);
        Ok(action)
    }
    .instrument(span)
    .await
}

/// `None`: the cluster does not exist any more.
async fn round(
    context: &Context,
    namespace: &str,
    name: &str,
    recollection: &mut Recollection,
) -> Result<Option<Action>, RoundError> {
    let clusters: Api<DeserializeGuard<RaftCluster>> = Api::namespaced(context.client.clone(), namespace);
    let cluster = match clusters.get_opt(name).await.map_err(RoundError::api("reading the raftcluster"))? {
        None => return Ok(None),
        Some(DeserializeGuard(Ok(cluster))) => cluster,
        Some(DeserializeGuard(Err(invalid))) => return Err(RoundError::Unreadable(invalid.error)),
    };
    let place = Place::of(&cluster);
    // Boxed: rounds are many, and a future's size is paid for each that waits.
    let mut seen = Box::pin(observe(&context.client, &context.installation, cluster, recollection)).await?;
    let rendering = Rendering::of(&seen.observed);
    let is_turn = context.turn.take(&place.uid, &seen.observed.cluster, rendering.is_behind());
    seen.observed.operator.is_turn = is_turn;
    let plan = quorate_plan::plan(&seen.observed, now());
    let is_automatic = seen.observed.cluster.spec.sidecar.update == SidecarUpdate::Automatic;
    context.turn.note(&place.uid, &plan, is_automatic);
    debug!(%plan, "planned");
    context.metrics.saw(&seen.observed, &plan);
    recollection.note_quorum(plan.is_quorum_missing);
    let hands = Hands { client: &context.client, recorder: &context.recorder, place, seen: &seen };
    let acted = Box::pin(act(&hands, &plan, recollection)).await?;
    if acted == Acted::ToItsEnd {
        recollection.succeeded();
    }
    Ok(Some(again(&plan, acted)))
}

fn again(plan: &Plan, acted: Acted) -> Action {
    Action::requeue(match acted {
        Acted::ToItsEnd => plan.look_again,
        Acted::Overtaken => plan.look_again.min(quorate_plan::limits::LOOK_AGAIN_SOON),
    })
}

/// Logs, tells the resource's owner if it goes on, and waits longer each time.
async fn failed(
    context: &Context,
    watched: &Watched,
    recollection: &mut Recollection,
    error: &RoundError,
) -> Action {
    let wait = recollection.failed(rand::random(), &error.to_string());
    let wait = match error {
        // A member that refuses or is silent may take the next call; status must not grow old meanwhile.
        RoundError::Change(_) => wait.min(CHANGE_BACKOFF_MAX),
        _ => wait,
    };
    warn!(%error, wait_ms = wait.as_millis(), "round failed");
    if recollection.failure().is_some() {
        let event = Event {
            type_: EventType::Warning,
            reason: "RoundFailed".to_owned(),
            note: Some(format!("the operator cannot finish a round: {error}; it tries again by itself")),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = context.recorder.publish(&event, &watched.object_ref(&())).await {
            debug!(%error, "the event was not written either");
        }
    }
    Action::requeue(wait)
}
