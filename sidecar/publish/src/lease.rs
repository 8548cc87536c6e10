//! Renewing the status Lease (K32): a sign of life for the operator, nothing more.
//!
//! No one acquires this Lease and nothing waits for it to expire; a deposed leader that renews it once more does
//! no harm, because a renewal only tells the operator that it need not ask yet.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use quorate_crds::SIDECAR_FIELD_MANAGER;
use serde_json::json;

use crate::error::{PublishError, call};
use crate::limits::LEASE_DURATION_SECONDS;
use crate::target::Target;

/// Writes this member and the time of day into the Lease.
pub(crate) async fn renew(client: &Client, target: &Target) -> Result<(), PublishError> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &target.namespace);
    let body = json!({ "spec": {
        "holderIdentity": target.pod,
        "leaseDurationSeconds": LEASE_DURATION_SECONDS,
        "renewTime": MicroTime(jiff::Timestamp::now()),
    }});
    let parameters =
        PatchParams { field_manager: Some(SIDECAR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    call("renewing the status lease", leases.patch_metadata(&target.lease, &parameters, &Patch::Merge(&body)))
        .await
        .map(|_| ())
}
