//! A cluster administrator installs, upgrades and uninstalls, with `kubectl apply`, Helm 3 or Helm 4.
//!
//! Every order works: the definition first or with the chart. An upgrade brings a new definition along. Uninstalling the
//! operator leaves the definition and every `RaftCluster`, whose members run on and serve.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::bed::{IMAGES, OPERATOR_NAMESPACE, RELEASE, attempt, helm, kubectl, repository};
use crate::cluster::{Cluster, PATIENCE};
use crate::load::{address, get};
use crate::namespace::{Namespace, namespace_alone};
use crate::wait::{Look, until};
use crate::writes_status::two_writers_lose_nothing;

/// The definition's name.
const DEFINITION: &str = "raftclusters.quorate.dev";
/// What an upgrade changes in the definition for this test.
const BEFORE: &str = "Healthy voters of all voters.";
const AFTER: &str = "Healthy voters of all voters, as a test says it.";

/// Uninstall leaves clusters running, re-install takes them up, upgrade changes the definition; both Helms (K52;
/// operator.md §8.3). Then the definition first, by `kubectl apply` of either kind (operator.md §8.1).
#[tokio::test]
async fn every_way_to_install_and_uninstall_works() -> Result<()> {
    namespace_alone("installs", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).with_application()?.apply().await?;
        cluster.wait_ready(1).await?;
        for program in ["helm", "helm4"] {
            uninstall_leaves_clusters_running(program, &cluster).await?;
            install(program, "charts/quorate").await?;
            cluster.wait_ready(1).await?;
            namespace.say(&format!("{program}: uninstalled and installed again under a running cluster"));
            upgrade_changes_the_definition(program).await?;
            namespace.say(&format!("{program}: an upgrade changed the definition"));
        }
        namespace.kubectl(&["delete", "raftcluster", "db"]).await?;
        let first = definition_first(namespace).await;
        // Other tests need the operator as they know it, however this ended.
        clear().await?;
        install("helm", "charts/quorate").await?;
        first
    })
    .await
}

/// An operator of one namespace works there and may do nothing elsewhere (operator.md §8.5, and §8.12 beside it).
#[tokio::test]
async fn an_operator_of_one_namespace_stays_there() -> Result<()> {
    // In a box: it is large.
    Box::pin(namespace_alone("namespaced", async |namespace| {
        let only = format!("watchNamespaces={{{}}}", namespace.name);
        install_with("helm", "charts/quorate", &["--set", &only]).await?;
        // Where nobody looks one can count what two writers do, meanwhile.
        let elsewhere = format!("{}-elsewhere", namespace.name);
        kubectl(&["create", "namespace", &elsewhere]).await?;
        let seen = tokio::try_join!(
            works_here_only(namespace),
            two_writers_lose_nothing(&namespace.client, &elsewhere)
        );
        kubectl(&["delete", "namespace", &elsewhere, "--wait=false"]).await?;
        // Other tests need the operator as they know it, however this ended.
        install("helm", "charts/quorate").await?;
        seen.map(drop)
    }))
    .await
}

async fn works_here_only(namespace: &Namespace) -> Result<()> {
    let cluster = namespace.cluster("db").replicas(3).apply().await?;
    cluster.wait_ready(3).await?;
    let account = format!("--as=system:serviceaccount:{OPERATOR_NAMESPACE}:quorate-operator");
    for what in ["secrets", "pods", "persistentvolumeclaims", "raftclusters.quorate.dev"] {
        for (place, expected) in [(namespace.name.as_str(), "yes"), ("default", "no")] {
            // `no` is also a failure of the command.
            let words = ["auth", "can-i", "get", what, "-n", place, &account];
            let answer = attempt("kubectl", &words, None).await?;
            let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            ensure!(answer == expected, "may it get {what} in {place}? {answer}, not {expected}");
        }
    }
    Ok(())
}

async fn uninstall_leaves_clusters_running(program: &str, cluster: &Cluster<'_>) -> Result<()> {
    let before = cluster.pod("db-0").await?;
    uninstall(program).await?;
    kubectl(&["get", "crd", DEFINITION]).await?;
    cluster.get().await?;
    let after = cluster.pod("db-0").await?;
    ensure!(after.metadata.uid == before.metadata.uid, "the member's Pod was replaced");
    let address = address(&after).unwrap_or_default();
    let answer = get(&address, "/").await?;
    ensure!(answer.contains("visit "), "without an operator: {answer}");
    Ok(())
}

/// A chart whose definition says something else, and back again.
async fn upgrade_changes_the_definition(program: &str) -> Result<()> {
    let changed = TempDir::new()?;
    copy(&repository().join("charts/quorate"), changed.path())?;
    let file = changed.path().join("files/raftclusters.yaml");
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains(BEFORE), "the definition no longer says {BEFORE:?}");
    fs::write(&file, text.replace(BEFORE, AFTER))?;
    install(program, &changed.path().to_string_lossy()).await?;
    ensure!(definition().await?.contains(AFTER), "the upgrade left the definition as it was");
    install(program, "charts/quorate").await?;
    ensure!(!definition().await?.contains(AFTER), "the second upgrade left the definition as it was");
    Ok(())
}

/// `kubectl apply -f crds/`, then the chart: the chart leaves alone what it did not make.
async fn definition_first(namespace: &Namespace) -> Result<()> {
    for (words, again) in [
        (&["apply", "-f", "crds/"][..], "unchanged"),
        (&["apply", "--server-side", "-f", "crds/"][..], "serverside-applied"),
    ] {
        clear().await?;
        kubectl(words).await?;
        established().await?;
        let version = resource_version().await?;
        let said = kubectl(words).await?;
        ensure!(said.contains(again), "applied a second time: {said}");
        ensure!(resource_version().await? == version, "a second apply changed the definition");
        let notes = install("helm", "charts/quorate").await?;
        ensure!(notes.contains("was there already"), "the notes do not say whose definition it is:\n{notes}");
        ensure!(resource_version().await? == version, "the chart wrote a definition that is not its own");
        namespace.say(&format!("kubectl {} first, then the chart", words.join(" ")));
    }
    Ok(())
}

async fn install(program: &str, chart: &str) -> Result<String> {
    install_with(program, chart, &[]).await
}

async fn install_with(program: &str, chart: &str, more: &[&str]) -> Result<String> {
    let mut words = vec!["upgrade", "--install", RELEASE, chart, "--namespace", OPERATOR_NAMESPACE];
    words.extend(IMAGES);
    words.extend(more);
    words.extend(["--wait", "--timeout", "5m"]);
    helm(program, &words).await
}

async fn uninstall(program: &str) -> Result<()> {
    helm(program, &["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait"]).await?;
    Ok(())
}

/// Neither release nor definition.
async fn clear() -> Result<()> {
    helm("helm", &["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--ignore-not-found"])
        .await?;
    kubectl(&["delete", "crd", DEFINITION, "--ignore-not-found"]).await?;
    Ok(())
}

/// `kubectl wait` fails on a definition so new that it has no conditions at all; so it is asked again.
async fn established() -> Result<()> {
    until("the definition to be established", PATIENCE, async || {
        kubectl(&["wait", "--for=condition=Established", "crd", DEFINITION, "--timeout=60s"]).await?;
        Ok(Look::Found(()))
    })
    .await
}

async fn definition() -> Result<String> {
    kubectl(&["get", "crd", DEFINITION, "-o", "yaml"]).await
}

async fn resource_version() -> Result<String> {
    kubectl(&["get", "crd", DEFINITION, "-o", "jsonpath={.metadata.resourceVersion}"]).await
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
