//! Watches that wake rounds.
//!
//! ```text
//!   RaftClusters ─┐
//!   Pods ─────────┼─ metadata only ──▶ which cluster ──▶ round, one at a time per cluster, so many at once
//!   claims ───────┘
//!   a round's own "look again"
//! ```
//! Invariant: a watch only wakes. What a round decides on it reads itself, so a watch that is late or lossy costs
//! time and nothing else.
//! Not watched: nodes and the status Leases. A member's trouble reaches us as the leader's write to status, and a
//! leader's silence by the next look, at most 20 s away (K32).

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use quorate_plan::children::label_keys;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::limits::{DEBOUNCE, ROUNDS_AT_ONCE};
use crate::round::{Context, Watched, run};

/// Works until `stop` resolves and the rounds under way have ended, or until a watch ends by itself.
pub(crate) async fn work(context: Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let (over, is_over) = watch::channel(false);
    let stop_all = over.clone();
    let stopping = tokio::spawn(async move {
        stop.await;
        stop_all.send_replace(true);
    });
    let each = context.installation.places().into_iter().map(|place| {
        let (context, mut stopped, over) = (context.clone(), is_over.clone(), over.clone());
        async move {
            let stop = async move {
                // The sender lives as long as this.
                let _ = stopped.wait_for(|&stopped| stopped).await;
            };
            work_in(place.as_deref(), context, stop).await;
            // Where one watch has ended by itself none goes on: the caller must notice.
            over.send_replace(true);
        }
    });
    futures::future::join_all(each).await;
    stopping.abort();
}

/// One namespace, or all of them.
async fn work_in(
    place: Option<&str>,
    context: Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let client = context.client.clone();
    // Each watch has kube's own back-off; without one an API server that refuses would be hammered.
    let ours = watcher::Config::default().labels(label_keys::CLUSTER).streaming_lists();
    Controller::new(api::<Watched>(&client, place), watcher::Config::default().streaming_lists())
        .watches(api::<PartialObjectMeta<Pod>>(&client, place), ours.clone(), |pod| cluster_of(&pod))
        .watches(api::<PartialObjectMeta<PersistentVolumeClaim>>(&client, place), ours, |claim| {
            cluster_of(&claim)
        })
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(ROUNDS_AT_ONCE))
        .graceful_shutdown_on(stop)
        .run(run, |_, error, _| match *error {}, context)
        .for_each(|ended| async move {
            match ended {
                Ok((cluster, action)) => debug!(%cluster, ?action, "round ended"),
                // A cluster deleted between its event and its round is nothing to tell.
                Err(kube::runtime::controller::Error::ObjectNotFound(cluster)) => debug!(%cluster, "gone"),
                Err(error) => warn!(%error, "a watch failed; it is tried again"),
            }
        })
        .await;
}

fn api<K>(client: &Client, place: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match place {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The cluster an object belongs to, by its label.
fn cluster_of<K: Resource>(object: &K) -> Option<ObjectRef<Watched>> {
    let name = object.labels().get(label_keys::CLUSTER)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}
