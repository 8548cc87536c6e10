//! Each dependency is named once, with its reason.

use crate::{files, root, shown, text};

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = text(&root().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]").nth(1).expect("the root names the dependencies");
    let section = section.split("\n[").next().unwrap_or_default();
    let silent: Vec<&str> = section
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with('#') && !line.contains("path = "))
        .filter(|line| !line.contains(" # "))
        .collect();
    assert!(silent.is_empty(), "say in a comment on the line what these are for:\n{}", silent.join("\n"));
}

#[test]
fn crates_take_every_dependency_from_the_workspace() {
    let own: Vec<String> = files("Cargo.toml")
        .iter()
        .filter(|path| **path != root().join("Cargo.toml"))
        .flat_map(|path| {
            let text = text(path);
            let mut section = String::new();
            let mut found = Vec::new();
            for line in text.lines() {
                if line.starts_with('[') {
                    line.clone_into(&mut section);
                } else if section.ends_with("dependencies]")
                    && line.contains('=')
                    && !line.contains("workspace = true")
                {
                    found.push(format!("{}: {line}", shown(path)));
                }
            }
            found
        })
        .collect();
    assert!(own.is_empty(), "name these in the root Cargo.toml, with a reason:\n{}", own.join("\n"));
}
