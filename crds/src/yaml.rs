//! The CRD as text. The only place that names `serde_yaml`, which is archived upstream.

use crate::schema::crd;

const HEADER: &str =
    "# Generated from the types in crds/src by `make crds`; a test holds it equal. Do not edit.\n";

/// The text of `crds/raftclusters.yaml`.
///
/// # Panics
/// Never: the value has string keys only, which is all YAML could refuse.
pub fn crd_yaml() -> String {
    // The typed object would print its own field order; a JSON value sorts keys, so that diffs stay small.
    #[expect(clippy::expect_used, reason = "a CustomResourceDefinition has string keys only and no floats")]
    let text = serde_json::to_value(crd())
        .map(|value| serde_yaml::to_string(&value))
        .expect("a CRD is representable in JSON")
        .expect("JSON is representable in YAML");
    format!("{HEADER}{text}")
}
