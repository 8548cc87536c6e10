//! A script restarts every Pod, each as soon as the last one is Ready; later somebody scales in, and a removed member's Pod
//! stays up.
//!
//! The user's writes go on, the members stay who they are, and whoever was removed is quiet.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::bed::{attempt, kubectl, kubectl_with};
use crate::cluster::{Cluster, PATIENCE, is_ready, raft_ids, voters};
use crate::history::History;
use crate::load::Load;
use crate::namespace::{Namespace, namespace};
use crate::wait::{Look, until};

/// How long a removed member is watched for what must not come: several election timeouts.
const QUIET_FOR: Duration = Duration::from_secs(8);

/// Five Pods are deleted one after the other, the next as soon as the last is Ready: a majority votes all the time (A33).
/// One of the five is removed then, and its process lives on: it is not ready, and no term is spent on it (A34, K19).
#[tokio::test]
async fn a_rolling_restart_never_loses_the_quorum_and_a_removed_member_is_quiet() -> Result<()> {
    namespace("one-by-one", async |namespace| {
        let cluster = namespace.cluster("db").replicas(5).with_application()?.apply().await?;
        let before = cluster.wait_ready(5).await?;
        let (load, history) = (Load::on(&cluster), History::of(&cluster));
        for name in raft_ids(&before).keys() {
            cluster.restart(name).await?;
        }
        let after = cluster.wait_ready(5).await?;
        ensure!(raft_ids(&after) == raft_ids(&before), "a member became another");
        ensure!(history.memberships().len() == 1, "the membership changed: {:?}", history.memberships());
        let lost = namespace
            .kubectl(&["get", "events", "--field-selector", "reason=QuorumLost", "-o", "name"])
            .await?;
        ensure!(lost.is_empty(), "the quorum was lost: {lost}");

        let kept = Kept::pods_of(namespace).await?;
        // Whatever is seen next, Pods may go again.
        let seen = is_removed_and_quiet(&cluster).await;
        kept.release().await?;
        seen?;
        cluster.scale(3).await?;
        cluster.wait_ready(3).await?;
        load.finish(&cluster).await?;
        Ok(())
    })
    .await
}

async fn is_removed_and_quiet(cluster: &Cluster<'_>) -> Result<()> {
    cluster.scale(4).await?;
    let status = cluster
        .wait_status("four voters", PATIENCE, |status| {
            voters(status).len() == 4 && raft_ids(status).len() == 4
        })
        .await?;
    let members = raft_ids(&status);
    let removed = cluster.pods().await?.into_keys().find(|name| !members.contains_key(name));
    let removed = removed.context("the removed member's Pod is kept")?;
    until(&format!("{removed} not to be ready"), PATIENCE, async || {
        let pod = cluster.pod(&removed).await?;
        Ok(if is_ready(&pod) { Look::NotYet("it is ready".to_owned()) } else { Look::Found(()) })
    })
    .await?;
    let led = |status: &quorate_crds::RaftClusterStatus| (term(status), status.leader.clone());
    let before = led(&cluster.status().await?);
    sleep(QUIET_FOR).await;
    let after = led(&cluster.status().await?);
    ensure!(before.0.is_some() && after == before, "{removed} disturbs: {before:?} became {after:?}");
    let pod = cluster.pod(&removed).await?;
    ensure!(!is_ready(&pod) && pod.metadata.deletion_timestamp.is_none(), "{removed} did not stay as it was");
    cluster.namespace.say(&format!("{removed} is removed, not ready and quiet in term {:?}", after.0));
    Ok(())
}

fn term(status: &quorate_crds::RaftClusterStatus) -> Option<i64> {
    status.raft.as_ref()?.term
}

/// Pods of a namespace that nobody may delete, so that a removed member's process lives on.
struct Kept {
    policy: String,
}

impl Kept {
    async fn pods_of(namespace: &Namespace) -> Result<Self> {
        let policy = format!("keep-{}", namespace.name);
        let manifest = format!(
            "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {{name: {policy}}}, spec: \
             {{matchConstraints: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}, \
             resourceRules: [{{apiGroups: [\"\"], apiVersions: [v1], operations: [DELETE], resources: [pods]}}]}}, \
             validations: [{{expression: \"false\", message: kept by a test}}]}}}}\n---\n\
             {{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {{name: {policy}}}, \
             spec: {{policyName: {policy}, validationActions: [Deny]}}}}",
            namespace = namespace.name
        );
        kubectl_with(&["apply", "-f", "-"], &manifest).await?;
        let kept = Self { policy };
        // A policy is in force a moment after it was made.
        let words = ["-n", namespace.name.as_str(), "delete", "pod", "db-0", "--dry-run=server"];
        let in_force = until("the policy to be in force", PATIENCE, async || {
            let refused = !attempt("kubectl", &words, None).await?.status.success();
            Ok(if refused { Look::Found(()) } else { Look::NotYet("a deletion is allowed".to_owned()) })
        })
        .await;
        match in_force {
            Ok(()) => Ok(kept),
            Err(error) => {
                kept.release().await?;
                Err(error)
            }
        }
    }

    async fn release(self) -> Result<()> {
        let policy = self.policy.as_str();
        kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", policy]).await?;
        Ok(())
    }
}
