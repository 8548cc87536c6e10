//! From the Rust types to the CRD the API server takes.
//!
//! The derived schema is changed in four ways, each for one reason:
//!   stripped  descriptions of embedded Kubernetes types, and what no member Pod may have: 353 KB become well
//!             under `CRD_BYTES_MAX`, so that a plain `kubectl apply` works
//!   bounded   lists and strings that a CEL rule walks (`limits.rs`)
//!   shaped    how server-side apply merges lists; a quantity is a string
//!   ruled     the table of `rules.rs` is attached
//!
//! Invariant: each path named here or in `rules.rs` exists; a test walks them all.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::limits;
use crate::rules::RULES;
use crate::spec::RaftCluster;

/// The `CustomResourceDefinition` of `RaftCluster`.
///
/// # Panics
/// Never on any input, for it has none: it panics when the tables above name a field that does not exist, which
/// the tests of this crate would show.
pub fn crd() -> CustomResourceDefinition {
    #[expect(clippy::expect_used, reason = "the same pure computation is run by this crate's tests")]
    let mut root = serde_json::to_value(RaftCluster::crd()).expect("a CRD is representable in JSON");
    let schema = &mut root["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    remove_nullable(schema);
    strip_embedded(schema);
    bound(schema);
    write_size_as_string(schema);
    shape_lists(schema);
    attach_rules(schema);
    #[expect(clippy::expect_used, reason = "the same pure computation is run by this crate's tests")]
    serde_json::from_value(root).expect("the changed schema is still a CRD")
}

/// The schema node at a path such as `spec/template/spec/containers/*`.
fn at<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    let mut node = schema;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        node = if name == "*" { &mut node["items"] } else { &mut node["properties"][name] };
        assert!(node.is_object(), "the schema has no {path}");
    }
    node
}

/// `nullable` would let a user write an explicit null where a default belongs; the server prunes nulls without it.
fn remove_nullable(node: &mut Value) {
    match node {
        Value::Object(object) => {
            if object.get("nullable").is_some_and(Value::is_boolean) {
                object.remove("nullable");
            }
            object.values_mut().for_each(remove_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nullable),
        _ => {}
    }
}

fn strip_embedded(schema: &mut Value) {
    for path in ["spec/template", "spec/sidecar/resources"] {
        let node = at(schema, path);
        let description = node["description"].take();
        remove_descriptions(node);
        node["description"] = description;
    }
    // A finalizer, an owner or a fixed name on a member's Pod could only harm: labels and annotations are all it takes.
    let keys = json!({
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": limits::METADATA_KEYS_MAX,
    });
    at(schema, "spec/template")["properties"]["metadata"] =
        json!({"type": "object", "properties": {"labels": keys, "annotations": keys}});
    // Ephemeral containers cannot be part of a new Pod.
    if let Some(pod) = at(schema, "spec/template/spec")["properties"].as_object_mut() {
        pod.remove("ephemeralContainers");
    }
}

/// Removes the descriptions of a schema, but not a property that is called `description`.
fn remove_descriptions(node: &mut Value) {
    let Value::Object(schema) = node else { return };
    schema.remove("description");
    for (key, value) in schema.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(remove_descriptions);
            }
            ("items" | "additionalProperties" | "not", child) => remove_descriptions(child),
            ("anyOf" | "allOf" | "oneOf", Value::Array(children)) => {
                children.iter_mut().for_each(remove_descriptions);
            }
            _ => {}
        }
    }
}

fn bound(schema: &mut Value) {
    for (path, key, limit) in [
        ("spec/template/spec/containers", "maxItems", limits::CONTAINERS_MAX),
        ("spec/template/spec/initContainers", "maxItems", limits::CONTAINERS_MAX),
        ("spec/template/spec/volumes", "maxItems", limits::VOLUMES_MAX),
        ("spec/template/spec/volumes/*/name", "maxLength", limits::NAME_CHARS_MAX),
        (
            "spec/template/spec/volumes/*/persistentVolumeClaim/claimName",
            "maxLength",
            limits::DNS_NAME_CHARS_MAX,
        ),
        ("spec/autopilot/upgradeVersionFrom", "maxLength", limits::ANNOTATION_CHARS_MAX),
        ("spec/clientAccess/serviceAccounts", "maxItems", limits::CLIENT_ACCOUNTS_MAX),
        ("spec/clientAccess/serviceAccounts/*", "maxLength", limits::ACCOUNT_CHARS_MAX),
        ("spec/clusterDomain", "maxLength", limits::DNS_NAME_CHARS_MAX),
        ("spec/storage/size", "maxLength", limits::QUANTITY_CHARS_MAX),
        ("spec/storage/storageClassName", "maxLength", limits::DNS_NAME_CHARS_MAX),
        ("spec/tls/issuerRef/group", "maxLength", limits::DNS_NAME_CHARS_MAX),
        ("spec/tls/issuerRef/kind", "maxLength", limits::NAME_CHARS_MAX),
        ("spec/tls/issuerRef/name", "maxLength", limits::DNS_NAME_CHARS_MAX),
        ("spec/tls/secretRef/name", "maxLength", limits::DNS_NAME_CHARS_MAX),
        ("spec/sidecar/image", "maxLength", limits::IMAGE_CHARS_MAX),
        ("spec/sidecar/imagePullPolicy", "maxLength", limits::NAME_CHARS_MAX),
    ] {
        at(schema, path)[key] = limit.into();
    }
    for list in ["containers", "initContainers"] {
        for (field, key, limit) in [
            ("name", "maxLength", limits::NAME_CHARS_MAX),
            ("ports", "maxItems", limits::PORTS_MAX),
            ("env", "maxItems", limits::ENV_MAX),
            ("env/*/name", "maxLength", limits::ENV_NAME_CHARS_MAX),
            ("volumeMounts", "maxItems", limits::MOUNTS_MAX),
            ("volumeMounts/*/name", "maxLength", limits::NAME_CHARS_MAX),
        ] {
            at(schema, &format!("spec/template/spec/{list}/*/{field}"))[key] = limit.into();
        }
    }
    for field in ["lastContactThreshold", "deadServerLastContactThreshold", "serverStabilizationTime"] {
        at(schema, &format!("spec/autopilot/{field}"))["maxLength"] = limits::DURATION_CHARS_MAX.into();
    }
}

/// A plain string: a rule on int-or-string would have to tell the two apart first.
fn write_size_as_string(schema: &mut Value) {
    let size = at(schema, "spec/storage/size");
    if let Some(size) = size.as_object_mut() {
        size.remove("x-kubernetes-int-or-string");
        size.insert("type".to_owned(), "string".into());
    }
}

/// How server-side apply merges our lists: conditions by type; everything else has one owner and is replaced whole.
fn shape_lists(schema: &mut Value) {
    let conditions = at(schema, "status/conditions");
    conditions["x-kubernetes-list-type"] = "map".into();
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    at(schema, "spec/clientAccess/serviceAccounts")["x-kubernetes-list-type"] = "set".into();
    for path in [
        "status/blocked",
        "status/raft/blocked",
        "status/raft/members",
        "status/raft/zones",
        "status/rollout/pending",
    ] {
        at(schema, path)["x-kubernetes-list-type"] = "atomic".into();
    }
}

fn attach_rules(schema: &mut Value) {
    for rule in RULES {
        let node = at(schema, rule.at);
        let mut validation = Map::new();
        validation.insert("rule".to_owned(), rule.must_hold.into());
        validation.insert("message".to_owned(), rule.message.into());
        match &mut node["x-kubernetes-validations"] {
            Value::Array(rules) => rules.push(validation.into()),
            absent => *absent = Value::Array(vec![validation.into()]),
        }
    }
}
