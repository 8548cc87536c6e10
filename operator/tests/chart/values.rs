//! Values, their schema and their use in templates agree.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use serde_yaml::Value;

use super::{read, templates};

/// Values that only carry others; a template that uses one uses all below it.
fn values() -> Value {
    serde_yaml::from_str(&read("values.yaml")).expect("values.yaml parses")
}

/// Dotted paths of every value, maps that are empty by default (`nodeSelector: {}`) included.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Mapping(map) if !map.is_empty() => {
            for (key, below) in map {
                let key = key.as_str().expect("keys are words");
                let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
                paths(below, &path, found);
            }
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

/// Every `.Values.a.b` of the templates.
fn used() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in templates() {
        for rest in text.split(".Values.").skip(1) {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
            found.insert(rest[..end].trim_end_matches('.').to_owned());
        }
    }
    found
}

/// A misspelt `.Values.x` renders as nothing at all, silently.
#[test]
fn every_value_a_template_uses_has_a_default() {
    let mut defaults = BTreeSet::new();
    paths(&values(), "", &mut defaults);
    for path in used() {
        let below = format!("{path}.");
        let is_known = defaults.iter().any(|known| *known == path || known.starts_with(&below));
        assert!(is_known, ".Values.{path} is used and not in values.yaml");
    }
}

/// A value nobody uses is a promise nobody keeps.
#[test]
fn every_default_is_used_by_a_template() {
    let used = used();
    let mut defaults = BTreeSet::new();
    paths(&values(), "", &mut defaults);
    for path in defaults {
        let is_used = used.iter().any(|known| *known == path || path.starts_with(&format!("{known}.")));
        assert!(is_used, "{path} is in values.yaml and used by no template");
    }
}

/// Acceptance 4 of operator.md: an unknown key is refused with its name, at every level.
#[test]
fn the_schema_knows_every_value_and_nothing_else() {
    let schema: Json = serde_json::from_str(&read("values.schema.json")).expect("the schema parses");
    agree(&schema, &schema, &values(), "");
}

fn agree(root: &Json, schema: &Json, value: &Value, path: &str) {
    let schema = match schema.get("$ref").and_then(Json::as_str) {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} leads nowhere")),
        None => schema,
    };
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
    assert_eq!(schema.get("additionalProperties"), Some(&Json::Bool(false)), "{path} takes unknown keys");
    let Value::Mapping(map) = value else { panic!("{path} is a map in the schema only") };
    for (key, below) in map {
        let key = key.as_str().expect("keys are words");
        let known = properties.get(key).unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
        agree(root, known, below, &format!("{path}.{key}"));
    }
    // `global` is what parent charts set; it has no default.
    for key in properties.keys().filter(|key| *key != "global" && *key != "claims") {
        assert!(map.contains_key(key.as_str()), "{path}.{key} is in the schema and not in values.yaml");
    }
}
