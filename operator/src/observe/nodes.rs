//! Nodes and storage classes: cluster-wide facts that an installation may not be allowed to read (K52).

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::{Api, ListParams};
use quorate_crds::RaftCluster;
use quorate_plan::observed::{self, Ordinal, Slot, StorageFacts};

use super::pods::seconds;
use crate::error::RoundError;
use crate::installation::Installation;

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Puts each member's node into its slot.
pub(super) async fn fill(
    client: &Client,
    installation: &Installation,
    slots: &mut BTreeMap<Ordinal, Slot>,
) -> Result<(), RoundError> {
    if !installation.may_read_cluster {
        return Ok(());
    }
    let names: BTreeSet<String> = slots.values().filter_map(|slot| slot.pod.as_ref()?.node.clone()).collect();
    let api: Api<Node> = Api::all(client.clone());
    let read = names.into_iter().map(|name| {
        let api = api.clone();
        async move { api.get_opt(&name).await.map_err(RoundError::api("reading a node")) }
    });
    let nodes: Vec<Node> = try_join_all(read).await?.into_iter().flatten().collect();
    for slot in slots.values_mut() {
        let name = slot.pod.as_ref().and_then(|pod| pod.node.as_deref());
        slot.node = nodes.iter().find(|node| node.metadata.name.as_deref() == name).map(read_node);
    }
    Ok(())
}

fn read_node(node: &Node) -> observed::Node {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let condition = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    let ready = condition.is_some_and(|condition| condition.status == "True");
    let spec = node.spec.as_ref();
    observed::Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready,
        unreachable_since: condition
            .filter(|_| !ready)
            .map(|condition| seconds(condition.last_transition_time.as_ref())),
        out_of_service: is_out_of_service(node),
        unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
        zone: node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).cloned(),
    }
}

/// A person says that its machine is switched off (K49).
pub(super) fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// What is known of storage classes. `ReadWriteOncePod` is never claimed to work: no field of a class says so, and a
/// claim's access mode cannot be changed when it turns out wrong (K28).
pub(super) async fn storage(
    client: &Client,
    installation: &Installation,
    cluster: &RaftCluster,
) -> Result<StorageFacts, RoundError> {
    if !installation.may_read_cluster {
        return Ok(StorageFacts::default());
    }
    let api: Api<StorageClass> = Api::all(client.clone());
    let classes =
        api.list(&ListParams::default()).await.map_err(RoundError::api("listing storageclasses"))?;
    let is_default = |class: &StorageClass| {
        let annotations = class.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
    };
    let wanted = cluster.spec.storage.storage_class_name.as_deref();
    Ok(StorageFacts {
        default_class: Some(classes.iter().any(is_default)),
        named_class: wanted
            .map(|name| classes.iter().any(|class| class.metadata.name.as_deref() == Some(name))),
        expanding_classes: Some(
            classes
                .iter()
                .filter(|class| class.allow_volume_expansion == Some(true))
                .filter_map(|class| class.metadata.name.clone())
                .collect(),
        ),
        single_pod_volumes: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// K49: what makes a node gone, or only cordoned, is read as different facts.
    #[test]
    fn a_node_says_whether_it_reports_and_whether_it_is_out_of_service() {
        let node = |ready: &str, spec: serde_json::Value| {
            let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n1" }, "spec": spec,
                "status": { "conditions": [{ "type": "Ready", "status": ready,
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }] } }))
            .unwrap();
            read_node(&node)
        };
        let healthy = node("True", json!({}));
        assert!(healthy.ready && healthy.unreachable_since.is_none() && !healthy.unschedulable);
        let silent = node("Unknown", json!({ "taints": [{ "key": OUT_OF_SERVICE, "effect": "NoExecute" }] }));
        assert!(!silent.ready && silent.unreachable_since.is_some() && silent.out_of_service);
        assert!(node("True", json!({ "unschedulable": true })).unschedulable);
    }
}
