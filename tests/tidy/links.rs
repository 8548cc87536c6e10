//! Links between our documents lead somewhere.

use crate::{files, shown, text};

#[test]
fn every_relative_link_in_the_documents_resolves() {
    let mut broken = Vec::new();
    for document in files(".md") {
        let folder = document.parent().expect("a file lies in a folder");
        for target in targets(&text(&document)) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                broken.push(format!("{}: {target}", shown(&document)));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

/// What stands between `](` and `)`.
fn targets(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}
