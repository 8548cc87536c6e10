//! The Helm chart against itself, against the generated definition, and rendered by Helm 3 and 4 (K52).

// The lint's leave for tests does not reach the plain functions of a test crate.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::path::PathBuf;

mod render;
mod values;

/// `charts/quorate`.
fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/quorate")
}

fn read(path: &str) -> String {
    let path = chart().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every template with its name.
fn templates() -> Vec<(String, String)> {
    let folder = chart().join("templates");
    let entries = std::fs::read_dir(&folder).expect("the chart has templates");
    let mut found: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a template can be read"))
        })
        .collect();
    found.sort();
    found
}

/// Acceptance 9: what Helm installs is what `kubectl apply -f crds/` installs, byte for byte.
#[test]
fn the_charts_definition_is_the_generated_one() {
    let generated =
        std::fs::read_to_string(chart().join("../../crds/raftclusters.yaml")).expect("crds/ is there");
    assert!(read("files/raftclusters.yaml") == generated, "run make crds: the chart's copy is old");
}

/// K52: the annotation that keeps the definition is put in as text, at the one place the template looks for.
#[test]
fn the_definition_has_one_top_level_metadata_without_annotations() {
    let definition = read("files/raftclusters.yaml");
    assert_eq!(definition.lines().filter(|line| *line == "metadata:").count(), 1);
    assert!(!definition.contains("\nmetadata:\n  annotations:"));
}

/// K54: the chart's version, the program's version and the image tag it defaults to are one.
#[test]
fn the_charts_app_version_is_the_operators_version() {
    let meta: serde_yaml::Value = serde_yaml::from_str(&read("Chart.yaml")).expect("Chart.yaml parses");
    assert_eq!(meta["appVersion"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(meta["kubeVersion"].as_str(), Some(">=1.33.0-0"));
}
