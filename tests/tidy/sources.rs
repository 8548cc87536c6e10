//! Source files stay readable: no file outgrows its noun, and nothing is left "for later" without an issue.

use crate::{files, shown, text};

/// Above this a file holds more than one noun. Tables, generated files and tests may be longer.
const LINES_MAX: usize = 600;

/// The longest files today are well below; a new one above it should be split along its second noun.
#[test]
fn no_source_file_outgrows_its_noun() {
    let long: Vec<String> = files(".rs")
        .iter()
        .filter(|path| !shown(path).contains("/tests/"))
        .map(|path| (shown(path), text(path).lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split these along their second noun:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_for_later_without_saying_where_it_is_tracked() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let left: Vec<String> = files(".rs")
        .iter()
        .flat_map(|path| {
            let marked = |line: &&str| marks.iter().any(|mark| line.contains(mark));
            text(path)
                .lines()
                .filter(marked)
                .map(|line| format!("{}: {}", shown(path), line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(left.is_empty(), "do it, or write it down as a limit in docs/limits.md:\n{}", left.join("\n"));
}
