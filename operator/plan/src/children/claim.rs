//! A member's volume claim (K34, K41, K28).

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use quorate_crds::{ClaimPolicy, RaftCluster};

use super::metadata::{labels, owner};
use super::names;
use crate::observed::{Ordinal, StorageFacts};
use crate::record::ClaimRecord;

/// The owner a claim has: only `whenDeleted: Delete` lets it go with the resource (K41).
pub fn claim_owner(cluster: &RaftCluster) -> Option<OwnerReference> {
    (cluster.spec.storage.retention.when_deleted == ClaimPolicy::Delete).then(|| owner(cluster))
}

/// The claim of a slot. Its record is complete as far as known: the UID, and with it the Raft ID, come after the POST.
pub fn claim(
    cluster: &RaftCluster,
    ordinal: Ordinal,
    record: &ClaimRecord,
    storage: &StorageFacts,
) -> PersistentVolumeClaim {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let access_mode = if storage.single_pod_volumes { "ReadWriteOncePod" } else { "ReadWriteOnce" };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::claim(name, ordinal)),
            namespace: cluster.metadata.namespace.clone(),
            labels: Some(labels(name, Some(&names::pod(name, ordinal)))),
            annotations: Some(record.write()),
            owner_references: claim_owner(cluster).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![access_mode.to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), cluster.spec.storage.size.clone())].into()),
                limits: None,
            }),
            storage_class_name: cluster.spec.storage.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
