//! Names of design statements that code and tests cite (K13, S7, B12, P5 …) exist in docs/statements.md.

use std::collections::BTreeSet;

use crate::{files, root, shown, text};

/// The families of names; the letters are followed by a number.
const FAMILIES: [char; 9] = ['K', 'S', 'B', 'O', 'N', 'P', 'A', 'D', 'I'];

#[test]
fn every_cited_statement_is_listed() {
    let listed: BTreeSet<String> = text(&root().join("docs/statements.md"))
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .map(ToOwned::to_owned)
        .collect();
    let mut unknown = BTreeSet::new();
    for path in files(".rs") {
        for line in text(&path).lines().filter(|line| line.contains("//")) {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            for name in names(comment).filter(|name| !listed.contains(name)) {
                unknown.insert(format!("{name} in {}", shown(&path)));
            }
        }
    }
    let unknown: Vec<String> = unknown.into_iter().collect();
    assert!(unknown.is_empty(), "docs/statements.md does not list:\n{}", unknown.join("\n"));
}

/// Decisions of the core, K1 and on.
const CORE_DECISIONS: std::ops::RangeInclusive<u32> = 1..=26;

#[test]
fn every_decision_of_the_core_is_cited_by_a_test() {
    let cited: BTreeSet<String> = files(".rs").iter().flat_map(|path| cited_by_tests(&text(path))).collect();
    let wanted = CORE_DECISIONS.map(|number| format!("K{number}"));
    let missing: Vec<String> = wanted.filter(|name| !cited.contains(name)).collect();
    assert!(missing.is_empty(), "no test says that it shows {missing:?}");
}

/// What the comments right above tests cite.
fn cited_by_tests(text: &str) -> Vec<String> {
    let (mut above, mut found) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            above.extend(names(comment));
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            found.append(&mut above);
        } else {
            above.clear();
        }
    }
    found
}

/// Words of a comment that have the form of a statement's name: one of the letters, then one or two digits.
fn names(comment: &str) -> impl Iterator<Item = String> + '_ {
    comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '/').filter_map(|word| {
        let digits = word.strip_prefix(FAMILIES)?;
        let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| word.to_owned())
    })
}
