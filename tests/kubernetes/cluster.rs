//! A `RaftCluster` as a sentence: `namespace.cluster("db").replicas(3).with_application().apply()`, and what one waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::Api;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use quorate_crds::{RaftCluster, RaftClusterSpec, RaftClusterStatus, Unsatisfiable};
use serde_json::json;

use crate::namespace::Namespace;
use crate::wait::{Look, until};

/// How long anything may take that needs a few starts of Pods: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);
/// Stabilization in tests: long enough to be seen, short enough to be paid often.
const STABILIZATION: &str = "2s";

/// A `RaftCluster` to be applied.
pub(crate) struct Sentence<'a> {
    namespace: &'a Namespace,
    name: String,
    spec: RaftClusterSpec,
}

/// One that was applied.
pub(crate) struct Cluster<'a> {
    /// Where it lives.
    pub(crate) namespace: &'a Namespace,
    /// Its name.
    pub(crate) name: String,
    resources: Api<RaftCluster>,
    pods: Api<Pod>,
}

impl Namespace {
    /// Begins a sentence.
    pub(crate) fn cluster(&self, name: &str) -> Sentence<'_> {
        let mut spec = RaftClusterSpec::default();
        STABILIZATION.clone_into(&mut spec.autopilot.server_stabilization_time);
        "1Gi".clone_into(&mut spec.storage.size.0);
        Sentence { namespace: self, name: name.to_owned(), spec }
    }
}

impl<'a> Sentence<'a> {
    /// How many members.
    pub(crate) fn replicas(mut self, replicas: i32) -> Self {
        self.spec.replicas = replicas;
        self
    }

    /// How long a voter is silent before another takes its place.
    pub(crate) fn dead_after(mut self, threshold: &str) -> Self {
        threshold.clone_into(&mut self.spec.autopilot.dead_server_last_contact_threshold);
        self
    }

    /// One voter in each zone; the scheduler puts as many members into each.
    pub(crate) fn in_redundancy_zones(self) -> Self {
        self.with(|spec| {
            spec.autopilot.redundancy_zones = true;
            spec.topology.when_unsatisfiable = Unsatisfiable::DoNotSchedule;
        })
    }

    /// An edit of the spec.
    pub(crate) fn with(mut self, edit: impl FnOnce(&mut RaftClusterSpec)) -> Self {
        edit(&mut self.spec);
        self
    }

    /// The spec of another, whole.
    pub(crate) fn with_spec(mut self, spec: RaftClusterSpec) -> Self {
        self.spec = spec;
        self
    }

    /// Another storage class than the default.
    pub(crate) fn storage_class(mut self, class: &str) -> Self {
        self.spec.storage.storage_class_name = Some(class.to_owned());
        self
    }

    /// The example application in every Pod, which counts visits.
    pub(crate) fn with_application(self) -> Result<Self> {
        self.with_template(&json!({"spec": {"containers": [container("localhost/quorate-example:dev")]}}))
    }

    /// A Pod template.
    pub(crate) fn with_template(mut self, template: &serde_json::Value) -> Result<Self> {
        let template: PodTemplateSpec = serde_json::from_value(template.clone())?;
        self.spec.template = Some(template);
        Ok(self)
    }

    /// Creates it.
    pub(crate) async fn apply(self) -> Result<Cluster<'a>> {
        let namespace = self.namespace;
        let cluster = Cluster {
            namespace,
            name: self.name.clone(),
            resources: Api::namespaced(namespace.client.clone(), &namespace.name),
            pods: Api::namespaced(namespace.client.clone(), &namespace.name),
        };
        let metadata = ObjectMeta { name: Some(self.name), ..ObjectMeta::default() };
        let resource = RaftCluster { metadata, spec: self.spec, status: None };
        cluster.resources.create(&PostParams::default(), &resource).await?;
        Ok(cluster)
    }
}

/// A container of the restricted Pod Security Standard.
pub(crate) fn container(image: &str) -> serde_json::Value {
    json!({
        "name": "app",
        "image": image,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

impl Cluster<'_> {
    /// The resource as it is.
    pub(crate) async fn get(&self) -> Result<RaftCluster> {
        Ok(self.resources.get(&self.name).await?)
    }

    /// Its status as it is.
    pub(crate) async fn status(&self) -> Result<RaftClusterStatus> {
        Ok(self.get().await?.status.unwrap_or_default())
    }

    /// `kubectl scale`.
    pub(crate) async fn scale(&self, replicas: u32) -> Result<()> {
        self.namespace.say(&format!("scale {} to {replicas}", self.name));
        let replicas = format!("--replicas={replicas}");
        self.namespace.kubectl(&["scale", "raftcluster", &self.name, &replicas]).await?;
        Ok(())
    }

    /// Sets or, with `null`, removes an annotation of the resource.
    pub(crate) async fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.resources.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The members' Pods by name.
    pub(crate) async fn pods(&self) -> Result<BTreeMap<String, Pod>> {
        let listed = self.pods.list(&ListParams::default().labels(&self.selector())).await?;
        Ok(listed.items.into_iter().filter_map(|pod| Some((pod.metadata.name.clone()?, pod))).collect())
    }

    /// One member's Pod.
    pub(crate) async fn pod(&self, name: &str) -> Result<Pod> {
        Ok(self.pods.get(name).await?)
    }

    /// Deletes a member's Pod and waits until another one of this name is Ready.
    pub(crate) async fn restart(&self, name: &str) -> Result<()> {
        let old = self.pod(name).await?.metadata.uid;
        self.namespace.kubectl(&["delete", "pod", name, "--wait=false"]).await?;
        until(&format!("{name} to be Ready again"), PATIENCE, async || {
            let pod = self.pod(name).await?;
            let is_back = pod.metadata.uid != old && is_ready(&pod);
            Ok(if is_back { Look::Found(()) } else { Look::NotYet(format!("{:?}", pod.metadata.uid)) })
        })
        .await
    }

    /// Waits until there is no Pod of this name.
    pub(crate) async fn wait_gone(&self, name: &str) -> Result<()> {
        until(&format!("{name} to be gone"), PATIENCE, async || {
            Ok(match self.pods.get_opt(name).await? {
                None => Look::Found(()),
                Some(pod) => Look::NotYet(format!("{:?}", pod.metadata.deletion_timestamp)),
            })
        })
        .await
    }

    /// What selects the members' Pods.
    pub(crate) fn selector(&self) -> String {
        format!("quorate.dev/cluster={}", self.name)
    }

    /// Waits until status satisfies `is_so`, and returns it.
    pub(crate) async fn wait_status(
        &self,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&RaftClusterStatus) -> bool,
    ) -> Result<RaftClusterStatus> {
        until(&format!("{} to show {what}", self.name), patience, async || {
            let status = self.status().await?;
            Ok(if is_so(&status) { Look::Found(status) } else { Look::NotYet(in_short(&status)) })
        })
        .await
    }

    /// Waits until the resource is Ready as it is declared now, with this many voters and members.
    pub(crate) async fn wait_ready(&self, replicas: usize) -> Result<RaftClusterStatus> {
        let generation = self.get().await?.metadata.generation;
        let tolerates = i32::try_from((replicas - 1) / 2)?;
        let ready = self
            .wait_status(&format!("Ready with {replicas} members"), PATIENCE, |status| {
                status.observed_generation == generation
                    && condition(status, "Ready").is_some_and(|ready| ready.status == "True")
                    && status.voters.as_deref() == Some(&format!("{replicas}/{replicas}"))
                    && status.failure_tolerance == Some(tolerates)
                    && voters(status).len() == replicas
                    && status.raft.as_ref().is_some_and(|raft| raft.members.len() == replicas)
            })
            .await?;
        self.namespace.say(ready.summary.as_deref().unwrap_or_default());
        Ok(ready)
    }

    /// The leader's Pod as status names it.
    pub(crate) async fn leader(&self) -> Result<String> {
        self.status().await?.leader.context("status names no leader")
    }
}

/// Whether a Pod is Ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A condition of a status.
pub(crate) fn condition<'a>(
    status: &'a RaftClusterStatus,
    kind: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Raft IDs of the members by name, as the leader reports them.
pub(crate) fn raft_ids(status: &RaftClusterStatus) -> BTreeMap<String, String> {
    let members = status.raft.iter().flat_map(|raft| &raft.members);
    members.filter_map(|member| Some((member.name.clone(), member.raft_id.clone()?))).collect()
}

/// The voters' names, as the leader reports them.
pub(crate) fn voters(status: &RaftClusterStatus) -> Vec<String> {
    let members = status.raft.iter().flat_map(|raft| &raft.members);
    members
        .filter(|member| matches!(member.role.as_deref(), Some("Leader" | "Voter")))
        .map(|member| member.name.clone())
        .collect()
}

/// A status in a line, for what was waited for in vain.
pub(crate) fn in_short(status: &RaftClusterStatus) -> String {
    let conditions: Vec<String> =
        status.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect();
    let members: Vec<String> = status
        .raft
        .iter()
        .flat_map(|raft| &raft.members)
        .map(|m| {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
            format!("{}:{}:{}", m.name, word(&m.role), word(&m.state))
        })
        .collect();
    format!(
        "{} | {} | members {} | voters {:?}",
        status.summary.as_deref().unwrap_or("no summary"),
        conditions.join(" "),
        members.join(" "),
        status.voters
    )
}
