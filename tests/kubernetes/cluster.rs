//! A `RaftCluster` as a sentence: `namespace.cluster("db").storage_class("fast").apply()`, and what one waits for.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use quorate_crds::{RaftCluster, RaftClusterSpec, RaftClusterStatus};
use serde_json::json;

use crate::namespace::Namespace;
use crate::wait::{Look, until};

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
    /// Another storage class than the default.
    pub(crate) fn storage_class(mut self, class: &str) -> Self {
        self.spec.storage.storage_class_name = Some(class.to_owned());
        self
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
