//! `docs/concepts.md` names every reason a person can meet.
//!
//! `REWRITE=1 cargo test -p quorate-plan` writes the table anew.

use std::path::PathBuf;

use quorate_plan::reason::Reason;

const MARK: &str = "<!-- table of reasons: generated, see operator/plan/tests/planner/glossary.rs -->\n";

fn table() -> String {
    let mut rows: Vec<_> =
        Reason::ALL.iter().map(|(reason, meaning)| format!("| {reason} | {} |\n", meaning.trim())).collect();
    rows.sort();
    format!("| reason | meaning |\n|---|---|\n{}", rows.concat())
}

/// P6: a word in status that no document explains says nothing.
#[test]
fn the_documents_name_every_reason() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/concepts.md");
    let text = std::fs::read_to_string(&path).expect("docs/concepts.md is part of the repository");
    let (before, after) = text.split_once(MARK).expect("docs/concepts.md has the mark of the table");
    // The table ends at the first line that is not one of its rows.
    let rest: String =
        after.lines().skip_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    let expected = format!("{before}{MARK}{}{rest}", table());
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &expected).expect("docs/concepts.md is written");
    } else {
        assert!(text == expected, "docs/concepts.md is out of date: run this test once with REWRITE=1");
    }
}
