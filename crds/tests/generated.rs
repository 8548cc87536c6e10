//! The committed CRD is the one these types generate.

use quorate_crds::{CRD_BYTES_MAX, crd, crd_yaml};

/// Users install the file, the operator speaks the types: a difference would show as lost fields.
#[test]
fn the_committed_crd_equals_the_generated_one() {
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/raftclusters.yaml"))
        .expect("crds/raftclusters.yaml is part of the repository");
    assert!(
        committed == crd_yaml(),
        "crds/raftclusters.yaml is not what the types generate: run `make crds`"
    );
}

/// Client-side apply keeps the whole object in an annotation of limited size (operator.md, "What users complain about", 17).
#[test]
fn the_crd_is_small_enough_for_a_plain_kubectl_apply() {
    let bytes = crd_yaml().len();
    assert!(bytes < CRD_BYTES_MAX, "the CRD has {bytes} bytes, the limit is {CRD_BYTES_MAX}");
}

/// `kubectl explain` answers for every field of ours (operator.md, "What must be true", 17).
#[test]
fn every_field_of_ours_has_a_description() {
    let root = serde_json::to_value(crd()).expect("a CRD is representable in JSON");
    let schema = &root["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut bare = Vec::new();
    for part in ["spec", "status"] {
        walk(&schema[part], part, &mut bare);
    }
    assert!(bare.is_empty(), "no description: {bare:?}");
}

fn walk(node: &serde_json::Value, path: &str, bare: &mut Vec<String>) {
    // What Kubernetes defines, Kubernetes documents.
    if ["spec.template", "spec.sidecar.resources", "status.conditions"]
        .iter()
        .any(|own| path.starts_with(own))
    {
        return;
    }
    if node["description"].as_str().is_none_or(str::is_empty) {
        bare.push(path.to_owned());
    }
    let properties = node["properties"].as_object().or_else(|| node["items"]["properties"].as_object());
    for (name, child) in properties.into_iter().flatten() {
        walk(child, &format!("{path}.{name}"), bare);
    }
}

/// The smallest resource shows every default (operator.md, "What must be true", 8).
#[test]
fn an_empty_spec_reads_as_the_defaults_of_the_schema() {
    let spec: quorate_crds::RaftClusterSpec = serde_json::from_str("{}").expect("every field has a default");
    let root = serde_json::to_value(crd()).expect("a CRD is representable in JSON");
    let properties =
        &root["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let written = serde_json::to_value(&spec).expect("a spec is representable in JSON");
    for (name, value) in written.as_object().expect("a spec is an object") {
        assert_eq!(&properties[name]["default"], value, "default of spec.{name}");
    }
}
