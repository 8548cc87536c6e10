//! `docs/limits.md` lists every limit in the code with its value and reason; this test keeps it so.
//!
//! `REWRITE=1 cargo test -p quorate-suite --test tidy` writes the table anew.

use std::fmt::Write as _;

use crate::{files, root, shown, text};

const BEGIN: &str = "<!-- table of limits: generated, see tests/tidy/limits.rs -->";
const END: &str = "<!-- end of the table -->";

#[test]
fn the_table_of_limits_equals_the_code() {
    let path = root().join("docs/limits.md");
    let page = text(&path);
    let (before, rest) = page.split_once(BEGIN).expect("docs/limits.md has the beginning mark");
    let (table, after) = rest.split_once(END).expect("docs/limits.md has the end mark");
    let wanted = generate();
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}\n{wanted}{END}{after}"))
            .expect("docs/limits.md can be written");
    } else {
        assert_eq!(
            table.trim(),
            wanted.trim(),
            "docs/limits.md is out of date: run this test once with REWRITE=1"
        );
    }
}

fn generate() -> String {
    let mut table = String::from("| limit | value | what it is for |\n|---|---|---|\n");
    for path in files("limits.rs") {
        if path.ends_with("tests/tidy/limits.rs") {
            continue;
        }
        let _ = writeln!(table, "| **{}** | | |", shown(&path));
        for (name, value, reason) in constants(&text(&path)) {
            let _ = writeln!(table, "| `{name}` | `{value}` | {reason} |");
        }
    }
    table
}

/// Name, value and documentation of each public constant.
fn constants(source: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut reason: Vec<&str> = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(doc) = line.trim().strip_prefix("/// ") {
            reason.push(doc);
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            let mut constant = constant.to_owned();
            while !constant.ends_with(';') {
                let Some(more) = lines.next() else { break };
                constant.push_str(more.trim());
            }
            if let Some((left, value)) = constant.trim_end_matches(';').split_once(" = ") {
                let name = left.split(':').next().unwrap_or(left);
                found.push((
                    name.to_owned(),
                    value.replace('|', "\\|"),
                    reason.join(" ").replace('|', "\\|"),
                ));
            }
            reason.clear();
        } else {
            reason.clear();
        }
    }
    found
}
