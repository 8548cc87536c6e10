//! The disruption budget of the voters (K37).
//!
//! It counts voters by label, so that non-voters never block a drain, and it is an integer: a percentage would be
//! rounded against the number of *matching* Pods, which is smaller exactly when it matters.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use quorate_crds::RaftCluster;

use super::metadata::{label_keys, metadata, selector};
use super::names;

/// The budget that keeps `min_available` voters.
pub fn budget(cluster: &RaftCluster, min_available: i32) -> PodDisruptionBudget {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let mut voters = selector(name);
    voters.match_labels.get_or_insert_default().insert(label_keys::VOTER.to_owned(), "true".to_owned());
    PodDisruptionBudget {
        metadata: metadata(cluster, names::budget(name)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(min_available)),
            selector: Some(voters),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
