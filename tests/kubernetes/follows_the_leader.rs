//! An application outside the cluster writes through `<cluster>-leader`, and a drain asks the disruption budget.
//!
//! The Service names the leader and nobody else, whoever that is and whether the operator runs or not. `kubectl scale`, and
//! whatever else counts Pods, sees the members.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::bed::{OPERATOR_NAMESPACE, fault, kubectl};
use crate::cluster::{Cluster, PATIENCE, container};
use crate::load::Load;
use crate::namespace::{namespace, namespace_alone};
use crate::wait::{Look, until};

/// With the operator stopped the Service follows an election, and never names two (K40; operator.md §8.38).
#[tokio::test]
async fn the_leaders_service_names_one_member_without_an_operator_too() -> Result<()> {
    namespace_alone("leader-service", async |namespace| {
        let mut app = container("localhost/quorate-example:dev");
        app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
        let template = json!({"spec": {"containers": [app]}});
        let cluster = namespace.cluster("db").replicas(3).with_template(&template)?.apply().await?;
        cluster.wait_ready(3).await?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watch = tokio::spawn(record(slices(&cluster), seen.clone()));
        let load = Load::on(&cluster);
        // Not a wait for anything: some visits are to be remembered.
        sleep(Duration::from_secs(2)).await;
        scale_operator(0).await?;
        let followed = follows(&cluster).await;
        // Other tests need the operator, however this ended.
        scale_operator(2).await?;
        followed?;
        watch.abort();
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(seen.iter().all(|members| members.len() <= 1), "two leaders at once: {seen:?}");
        ensure!(seen.iter().flatten().collect::<BTreeSet<_>>().len() >= 2, "nobody took over: {seen:?}");
        cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

/// The leader is killed; how soon another is named is printed, and measured elsewhere.
async fn follows(cluster: &Cluster<'_>) -> Result<()> {
    let leader = named(cluster).await?;
    let node =
        cluster.pod(&leader).await?.spec.and_then(|spec| spec.node_name).context("the leader has a node")?;
    let killed = Instant::now();
    let pod = format!("{}/{leader}", cluster.namespace.name);
    fault(&["kill-container", &node, &pod, "quorate-sidecar"]).await?;
    let next = until("another leader in the Service", PATIENCE, async || {
        let now = named(cluster).await?;
        Ok(if now == leader { Look::NotYet(now) } else { Look::Found(now) })
    })
    .await?;
    let took = killed.elapsed().as_secs_f32();
    cluster
        .namespace
        .say(&format!("without an operator: {next} after {leader}, {took:.1} s after it was killed"));
    Ok(())
}

fn slices(cluster: &Cluster<'_>) -> Api<EndpointSlice> {
    Api::namespaced(cluster.namespace.client.clone(), &cluster.namespace.name)
}

/// The member the Service leads to.
async fn named(cluster: &Cluster<'_>) -> Result<String> {
    let slice = slices(cluster).get(&format!("{}-leader", cluster.name)).await?;
    members(&slice).into_iter().next().context("the Service leads to nobody")
}

fn members(slice: &EndpointSlice) -> BTreeSet<String> {
    let endpoints = slice.endpoints.iter();
    endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone()).collect()
}

/// Every version of the leader's slice.
async fn record(slices: Api<EndpointSlice>, seen: Arc<Mutex<Vec<BTreeSet<String>>>>) {
    let only = watcher::Config::default().fields("metadata.name=db-leader");
    let mut versions = Box::pin(watcher(slices, only).default_backoff().applied_objects());
    loop {
        match versions.try_next().await {
            Ok(Some(slice)) => seen.lock().unwrap_or_else(PoisonError::into_inner).push(members(&slice)),
            Ok(None) => return,
            // The stream goes on after an error, with a pause of its own.
            Err(_) => {}
        }
    }
}

async fn scale_operator(replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    kubectl(&["-n", OPERATOR_NAMESPACE, "scale", "deployment", "quorate-operator", &replicas]).await?;
    let words =
        ["-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment", "quorate-operator", "--timeout=3m"];
    kubectl(&words).await?;
    Ok(())
}

/// `/scale`, its selector, and the budget count the members (K37; operator.md §8.9, §8.10).
#[tokio::test]
async fn scale_and_budget_count_the_members() -> Result<()> {
    namespace("counts", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).apply().await?;
        cluster.wait_ready(3).await?;
        let path = format!("/apis/quorate.dev/v1alpha1/namespaces/{}/raftclusters/db/scale", namespace.name);
        let scale: serde_json::Value = serde_json::from_str(&kubectl(&["get", "--raw", &path]).await?)?;
        ensure!(scale["spec"]["replicas"] == 3 && scale["status"]["replicas"] == 3, "{scale}");
        let selector = scale["status"]["selector"].as_str().context("a selector")?;
        let selected = namespace.kubectl(&["get", "pods", "-l", selector, "-o", "name"]).await?;
        ensure!(selected.lines().eq(["pod/db-0", "pod/db-1", "pod/db-2"]), "{selector} selects {selected}");
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(namespace.client.clone(), &namespace.name);
        until("the budget to count three voters", PATIENCE, async || {
            let budget = budgets.get("db-voters").await?;
            let counted = budget
                .status
                .as_ref()
                .map(|it| (it.expected_pods, it.desired_healthy, it.disruptions_allowed));
            Ok(if counted == Some((3, 2, 1)) {
                Look::Found(())
            } else {
                Look::NotYet(format!("{counted:?}"))
            })
        })
        .await
    })
    .await
}
