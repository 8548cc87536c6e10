//! Where a member's volume can be mounted: asked only where that decides something, of members on a node that takes no
//! Pods (K36), and of those on none (K49).

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::Client;
use kube::api::Api;
use quorate_plan::children::names;
use quorate_plan::observed::{Ordinal, Slot};

use super::nodes::is_out_of_service;
use crate::error::RoundError;
use crate::installation::Installation;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Puts the nodes that a volume is pinned to into its claim.
pub(super) async fn fill(
    client: &Client,
    installation: &Installation,
    cluster: &str,
    claims: &[PersistentVolumeClaim],
    slots: &mut BTreeMap<Ordinal, Slot>,
) -> Result<(), RoundError> {
    if !installation.may_read_cluster {
        return Ok(());
    }
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let asked = claims.iter().filter_map(|claim| {
        let ordinal = names::ordinal_of_claim(cluster, claim.metadata.name.as_deref()?)?;
        let is_asked = slots.get(&ordinal)?.node.as_ref().is_none_or(|node| node.unschedulable);
        let volume = claim.spec.as_ref()?.volume_name.clone().filter(|_| is_asked)?;
        let api = api.clone();
        Some(async move {
            let found = api.get_opt(&volume).await.map_err(RoundError::api("reading a persistentvolume"))?;
            let nodes = found.as_ref().and_then(pinned);
            let there = match &nodes {
                Some(nodes) => Some(existing(client, nodes).await?),
                None => None,
            };
            Ok::<_, RoundError>((ordinal, nodes, there))
        })
    });
    for (ordinal, nodes, there) in try_join_all(asked).await? {
        let Some(slot) = slots.get_mut(&ordinal) else { continue };
        let Some(claim) = slot.claim.as_mut() else { continue };
        claim.nodes = nodes;
        claim.is_stranded = there.as_ref().is_some_and(Vec::is_empty);
        let are_out = |there: &Vec<_>| !there.is_empty() && there.iter().all(is_out_of_service);
        claim.is_out_of_service = slot.node.is_none() && there.as_ref().is_some_and(are_out);
    }
    Ok(())
}

/// Live: absence is never taken from a cache (K33).
async fn existing(client: &Client, names: &[String]) -> Result<Vec<Node>, RoundError> {
    let api: Api<Node> = Api::all(client.clone());
    let mut nodes = Vec::new();
    for name in names {
        nodes.extend(api.get_opt(name).await.map_err(RoundError::api("reading a node"))?);
    }
    Ok(nodes)
}

/// The nodes a volume names, if it names nodes at all: a volume of a zone can be mounted on many.
fn pinned(volume: &PersistentVolume) -> Option<Vec<String>> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let mut nodes = Vec::new();
    for term in &required.node_selector_terms {
        // Terms are alternatives: one that names no node leaves it open.
        let named =
            term.match_expressions.iter().flatten().find(|it| it.key == HOSTNAME && it.operator == "In")?;
        nodes.extend(named.values.clone().unwrap_or_default());
    }
    (!nodes.is_empty()).then_some(nodes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// K36: only a volume that names its nodes in every alternative is pinned.
    #[test]
    fn a_local_volume_is_pinned_and_one_of_a_zone_is_not() {
        let on = |terms: serde_json::Value| {
            let volume: PersistentVolume = serde_json::from_value(
                json!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": terms } } } }),
            )
            .unwrap();
            pinned(&volume)
        };
        let host = |name: &str| json!({ "matchExpressions": [{ "key": HOSTNAME, "operator": "In", "values": [name] }] });
        let zone = json!({ "matchExpressions": [{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z1"] }] });
        assert_eq!(on(json!([host("n1")])), Some(vec!["n1".to_owned()]));
        assert_eq!(on(json!([host("n1"), zone])), None);
        assert_eq!(pinned(&PersistentVolume::default()), None);
    }
}
