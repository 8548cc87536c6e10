//! The operator is killed again and again while it grows a cluster and shrinks it.
//!
//! The user sees the scaling take longer, and nothing else: one bootstrap, one change at a time, the size asked for.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::bed::{
    IMAGES, OPERATOR_NAMESPACE, acting_operator, fault, helm, kubectl, kubectl_with, restricted_namespace,
};
use crate::cluster::PATIENCE;
use crate::forms_and_scales::bootstrapped_once;
use crate::history::History;
use crate::load::Load;
use crate::namespace::{Namespace, namespace, namespace_alone};
use crate::page::Page;
use crate::wait::{Look, until};

/// How often it is killed (issue 3, acceptance 7).
const KILLS: u32 = 5;
/// Draws the moments of the kills; printed, so that a failure can be repeated.
const SEED: u64 = 3;
/// The longest wait before a kill: a member is added in about as long.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Killed five times in one 3→5→3, it converges (I8; operator.md §8.33).
#[tokio::test]
async fn an_operator_that_is_killed_again_and_again_converges() -> Result<()> {
    namespace_alone("operator-killed", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
        let history = History::of(&cluster);
        cluster.wait_ready(3).await?;
        let load = Load::on(&cluster);
        namespace.say(&format!("seed {SEED}"));
        let mut draw = SmallRng::seed_from_u64(SEED);
        cluster.scale(5).await?;
        for kill in 1..=KILLS {
            // Not a wait for anything: the moment itself is what is drawn.
            sleep(PAUSE_MAX.mul_f64(draw.random())).await;
            kill_operator(namespace, kill).await?;
            if kill == KILLS / 2 + 1 {
                cluster.wait_ready(5).await?;
                cluster.scale(3).await?;
            }
        }
        look_at_the_operator(namespace).await?;
        cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
        history.joined_one_at_a_time()?;
        history.changed_one_at_a_time()?;
        ensure!(cluster.pods().await?.len() == 3, "Pods were left behind");
        bootstrapped_once(&cluster).await
    })
    .await
}

/// Where the second operator is installed.
const SECOND: &str = "quorate-second";

/// A second installation with a Lease of its own acts beside the first: no change is made twice, and both agree (I3;
/// operator.md §8.32).
#[tokio::test]
async fn two_operators_that_both_act_agree() -> Result<()> {
    namespace("two-operators", async |namespace| {
        kubectl_with(&["apply", "-f", "-"], &restricted_namespace(SECOND)).await?;
        let mut words = vec!["upgrade", "--install", "second", "charts/quorate", "--namespace", SECOND];
        words.extend(IMAGES);
        // It leaves the clusters of other tests to the first.
        let only = format!("watchNamespaces={{{}}}", namespace.name);
        words.extend(["--set", "crds.install=false", "--set", "replicas=1", "--set", &only]);
        words.extend(["--wait", "--timeout", "5m"]);
        let installed = helm("helm", &words).await;
        let agreed = match installed {
            Ok(_) => both_act(namespace).await,
            Err(error) => Err(error),
        };
        // Other tests know one operator, however this ended.
        helm("helm", &["uninstall", "second", "--namespace", SECOND, "--wait", "--ignore-not-found"]).await?;
        kubectl(&["delete", "namespace", SECOND, "--wait=false"]).await?;
        agreed
    })
    .await
}

async fn both_act(namespace: &Namespace) -> Result<()> {
    let cluster = namespace.cluster("db").replicas(3).with_application()?.apply().await?;
    let history = History::of(&cluster);
    cluster.wait_ready(3).await?;
    let load = Load::on(&cluster);
    for size in [5, 3] {
        cluster.scale(u32::try_from(size)?).await?;
        cluster.wait_ready(size).await?;
    }
    load.finish(&cluster).await?;
    history.joined_one_at_a_time()?;
    history.changed_one_at_a_time()?;
    ensure!(cluster.pods().await?.len() == 3, "Pods were left behind");
    let acting = ["-n", SECOND, "get", "lease", "-o", "jsonpath={.items[*].spec.holderIdentity}"];
    ensure!(!kubectl(&acting).await?.is_empty(), "the second operator never acted");
    Ok(())
}

/// What the runbook of an operator that does not work has to look at: who acts, and what each replica said.
async fn look_at_the_operator(namespace: &Namespace) -> Result<()> {
    let page = Page::runbooks(namespace);
    let said = page.run("get pods,lease").await?;
    ensure!(said.contains("lease.coordination.k8s.io/quorate-operator"), "no Lease in\n{said}");
    let pods: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("pod/")?.split(' ').next()).collect();
    ensure!(pods.len() == 2, "not both replicas in\n{said}");
    let said = page.run("--prefix --tail=50").await?;
    ensure!(pods.iter().all(|pod| said.contains(pod)), "not the log of both, {pods:?}:\n{said}");
    Ok(())
}

/// Kills the acting operator as nothing can be caught, and waits until one acts again.
async fn kill_operator(namespace: &Namespace, kill: u32) -> Result<()> {
    let (pod, node) =
        until("an acting operator", PATIENCE, async || Ok(Look::Found(acting_operator().await?))).await?;
    let before = restarts(&pod).await?;
    fault(&["kill-container", &node, &format!("{OPERATOR_NAMESPACE}/{pod}"), "operator"]).await?;
    namespace.say(&format!("killed {pod} on {node} ({kill} of {KILLS})"));
    until(&format!("{pod} to be started again"), PATIENCE, async || {
        let now = restarts(&pod).await?;
        Ok(if now > before { Look::Found(()) } else { Look::NotYet(format!("{now} restarts")) })
    })
    .await
}

async fn restarts(pod: &str) -> Result<u32> {
    let path = "jsonpath={.status.containerStatuses[0].restartCount}";
    let count = kubectl(&["-n", OPERATOR_NAMESPACE, "get", "pod", pod, "-o", path]).await?;
    Ok(count.parse()?)
}
