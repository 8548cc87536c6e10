//! Claims and Pods by ordinal.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use quorate_crds::bytes;
use quorate_plan::children::names;
use quorate_plan::observed::{Claim, Ordinal, Slot};
use quorate_plan::record::ClaimRecord;

use super::pods;

/// Every ordinal that has a claim or a Pod. An object whose name is not a member's is a person's, and left alone.
pub(super) fn assemble(
    cluster: &str,
    pods: &[Pod],
    claims: &[PersistentVolumeClaim],
) -> BTreeMap<Ordinal, Slot> {
    let mut slots: BTreeMap<Ordinal, Slot> = BTreeMap::new();
    for claim in claims {
        let ordinal = claim.metadata.name.as_deref().and_then(|name| names::ordinal_of_claim(cluster, name));
        if let Some(ordinal) = ordinal {
            slots.entry(ordinal).or_default().claim = Some(read_claim(claim));
        }
    }
    for pod in pods {
        let ordinal = pod.metadata.name.as_deref().and_then(|name| names::ordinal_of_pod(cluster, name));
        if let Some(ordinal) = ordinal {
            slots.entry(ordinal).or_default().pod = Some(pods::read(pod));
        }
    }
    slots
}

fn read_claim(claim: &PersistentVolumeClaim) -> Claim {
    let meta = &claim.metadata;
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    Claim {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        bound: phase == Some("Bound"),
        requested_bytes: storage(
            claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()),
        ),
        capacity_bytes: storage(claim.status.as_ref().and_then(|status| status.capacity.as_ref())),
        deleting: meta.deletion_timestamp.is_some(),
        controller_uid: pods::controller_uid(meta),
        nodes: None,
        is_stranded: false,
        is_out_of_service: false,
        storage_class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
        record: meta.annotations.as_ref().map(ClaimRecord::read).unwrap_or_default(),
        obstacle: None,
    }
}

fn storage(amounts: Option<&BTreeMap<String, Quantity>>) -> Option<u64> {
    amounts?.get("storage").and_then(bytes)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn named<T>(name: &str, make: impl Fn(ObjectMeta) -> T) -> T {
        make(ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() })
    }

    /// K45: a slot is found by name; a Pod that merely carries our label is not a member.
    #[test]
    fn claims_and_pods_of_one_ordinal_share_a_slot_and_strangers_have_none() {
        let pod = |name: &str| named(name, |metadata| Pod { metadata, ..Pod::default() });
        let claim = |name: &str| {
            named(name, |metadata| PersistentVolumeClaim { metadata, ..PersistentVolumeClaim::default() })
        };
        let slots = assemble(
            "db",
            &[pod("db-0"), pod("db-7"), pod("db-debug"), pod("other-1")],
            &[claim("raft-db-0"), claim("raft-db-1"), claim("scratch")],
        );
        let shape: Vec<(u32, bool, bool)> =
            slots.iter().map(|(n, slot)| (n.0, slot.claim.is_some(), slot.pod.is_some())).collect();
        assert_eq!(shape, [(0, true, true), (1, true, false), (7, false, true)]);
    }
}
