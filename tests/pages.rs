//! The commands in the pages for people who run clusters, and what shows that each is right.
//!
//! ```text
//!   docs/PAGE.md ── commands ──► each is named once in COMMANDS ──► the test on the bed that runs it as it stands
//!                                                              └──► or why none does
//! ```
//! A command is a line that begins with `$ ` in a console block, or inline code that begins with `kubectl `; what a line break
//! cuts in two is put together. A page and the tests that follow it cannot drift: a command that the table does not know, a
//! row without a command, and a row whose test does not name it, each fail here.
//! Not here: running them, which takes a Kubernetes (`kubernetes/page.rs`).

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use self::Shown::{By, Not};

/// Whether a command is run as it stands.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// By this file of `tests/kubernetes/`.
    By(&'static str),
    /// By none on the bed, and why.
    Not(&'static str),
}

/// What shows one command: its page, words that it alone has there (or all of it), and what runs it.
type Row = (&'static str, &'static str, Shown);

/// The page of alerts.
pub const RUNBOOKS: &str = "runbooks.md";
/// The page of what one does to a cluster.
pub const OPERATIONS: &str = "operations.md";
/// The page of lost majorities.
pub const RECOVERY: &str = "recovery.md";

const A_NAME: Shown = Not("names a verb; others below are whole commands with it");
const BY_OTHER_MEANS: Shown =
    Not("members run by other means than Kubernetes: sidecar/tests/binary.rs runs both programs");

/// Every command of the pages.
const COMMANDS: [Row; 43] = [
    (RUNBOOKS, "kubectl describe raftcluster", A_NAME),
    (RUNBOOKS, "get raftcluster db -o wide", By("follows_the_runbooks")),
    (RUNBOOKS, "get pods -l quorate.dev/cluster=db -o wide", By("follows_the_runbooks")),
    (RUNBOOKS, "describe pod db-1", By("follows_the_runbooks")),
    (RUNBOOKS, "kubectl -n shop describe raftcluster db", By("follows_the_runbooks")),
    (RUNBOOKS, "logs db-0 -c quorate-sidecar", By("follows_the_runbooks")),
    (RUNBOOKS, "wait --for=condition=Available", By("follows_the_runbooks")),
    (RUNBOOKS, "kubectl -n shop get raftcluster db", By("follows_the_runbooks")),
    (RUNBOOKS, "sed -n '/Members:/,$p'", By("follows_the_runbooks")),
    (RUNBOOKS, "get pod db-1 -o wide && kubectl get node", By("follows_the_runbooks")),
    (RUNBOOKS, "out-of-service=nodeshutdown:NoExecute", By("follows_the_runbooks")),
    (RUNBOOKS, "node.kubernetes.io/out-of-service-", By("follows_the_runbooks")),
    (RUNBOOKS, "logs db-1 -c quorate-sidecar --previous", By("follows_the_runbooks")),
    (RUNBOOKS, "quorate.dev/replace=db-1@<raft ID>", By("survives_mistakes")),
    (RUNBOOKS, "top pod", Not("the bed has no metrics server")),
    (RUNBOOKS, "grep ^quorate_space_low", By("follows_the_runbooks")),
    (RUNBOOKS, "describe pvc raft-db-0", By("follows_the_runbooks")),
    (RUNBOOKS, "patch raftcluster db", By("follows_the_runbooks")),
    (RUNBOOKS, "openssl x509 -noout -enddate", By("fails_alone")),
    (RUNBOOKS, "grep -i -e certificate -e secret", By("fails_alone")),
    (RUNBOOKS, "delete secret db-0-tls", By("fails_alone")),
    (RUNBOOKS, "range .status.blocked", By("rolls_out")),
    (RUNBOOKS, ".status.rollout.pending", By("rolls_out")),
    (RUNBOOKS, "delete pod <leader>", By("rolls_out")),
    (RUNBOOKS, "get pods,lease", By("kills_the_operator")),
    (RUNBOOKS, "--prefix --tail=50", By("kills_the_operator")),
    (OPERATIONS, "kubectl describe raftcluster", A_NAME),
    (OPERATIONS, "quorate.dev/paused=true", By("loses_a_volume")),
    (OPERATIONS, "quorate.dev/paused-", By("loses_a_volume")),
    (OPERATIONS, "\"hibernate\":true", By("hibernates")),
    (
        OPERATIONS,
        "curl --cacert",
        Not("is_used_from_outside makes this call by itself: no image here has curl"),
    ),
    (OPERATIONS, "quorate.dev/rotate-ca", By("rotates_certificates")),
    (OPERATIONS, "quorate.dev/fence", By("fences_a_member")),
    (OPERATIONS, "kubectl delete pod greeting-1", By("loses_the_leader_pod")),
    (OPERATIONS, "kubectl drain", Not("which node is for a person to say: chaos drains each")),
    (OPERATIONS, "kubectl delete pvc raft-greeting-1", By("replaces_a_member")),
    (OPERATIONS, "quorate.dev/replace", By("grows_volumes")),
    (OPERATIONS, "raft-greeting-1 --wait=false", By("loses_a_volume")),
    (RECOVERY, "status.raft.term", By("recovers_a_lost_quorum")),
    (RECOVERY, "quorate.dev/recover=\"greeting-1@7\"", By("recovers_a_lost_quorum")),
    (
        RECOVERY,
        "lost=greeting-0-3f2a91c4",
        Not("who is lost is told in operator/plan/tests/planner/replacing.rs and sim-operator"),
    ),
    (RECOVERY, "kubectl describe", A_NAME),
    (RECOVERY, "quorate-sidecar", BY_OTHER_MEANS),
];

/// The command of a page that these words name: those that it alone has, or all of it.
///
/// # Errors
/// The page cannot be read; no command has these words, or several have; or no row says that it is run.
pub fn command(page: &str, words: &str) -> Result<String> {
    let is_run = |row: &Row| row.0 == page && row.1 == words && matches!(row.2, By(_));
    ensure!(COMMANDS.iter().any(is_run), "{words:?} of docs/{page} is not among the commands that are run");
    let commands = commands(&read(page)?);
    let mut named = named(&commands, words);
    match (named.next(), named.next()) {
        (Some(command), None) => Ok(command.clone()),
        (None, _) => bail!("docs/{page} has no command with {words:?}"),
        (Some(one), Some(other)) => bail!("docs/{page} has several with {words:?}: `{one}` and `{other}`"),
    }
}

/// The text with each word in the place of another, as a reader puts his own names into a page. Words are whole: `db` is
/// not in `db2`, but in `raft-db-0`. Where several begin at one place the longest counts, and what was put is not looked at again.
pub fn filled(text: &str, facts: &[(String, String)]) -> String {
    let is_inside = |before: Option<char>, after: Option<char>| {
        before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric)
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let fits = |word: &str| {
            let tail = rest.strip_prefix(word);
            let before = text[..text.len() - rest.len()].chars().next_back();
            tail.is_some_and(|tail| {
                !is_inside(before, word.chars().next())
                    && !is_inside(word.chars().next_back(), tail.chars().next())
            })
        };
        let fact = facts.iter().filter(|(word, _)| fits(word)).max_by_key(|(word, _)| word.len());
        let (read, put) = match fact {
            Some((word, fact)) => (word.len(), fact.as_str()),
            None => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        out.push_str(put);
        rest = &rest[read..];
    }
    out
}

fn read(page: &str) -> Result<String> {
    let path = tests().join("../docs").join(page);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The folder of this package.
fn tests() -> PathBuf {
    // As cargo says it now: clones share one build cache.
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// Those that the words name: the one that is these words, or else those that have them.
fn named<'a>(commands: &'a [String], words: &'a str) -> impl Iterator<Item = &'a String> {
    let is_whole = commands.iter().any(|command| command == words);
    commands.iter().filter(move |command| if is_whole { *command == words } else { command.contains(words) })
}

/// The commands of a page, each once.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fences = text.split("\n```");
    // Outside, inside, outside, ...: a page begins outside.
    while let Some(prose) = fences.next() {
        found.extend(inline(prose));
        found
            .extend(fences.next().into_iter().filter(|block| block.starts_with("console")).flat_map(console));
    }
    let mut each: Vec<String> = Vec::new();
    for command in found {
        if !each.contains(&command) {
            each.push(command);
        }
    }
    each
}

/// What a prompt is before; a line that ends with a backslash goes on in the next.
fn console(block: &str) -> Vec<String> {
    let whole = block.replace("\\\n", " ");
    whole.lines().filter_map(|line| line.strip_prefix("$ ")).map(in_one_line).collect()
}

fn inline(prose: &str) -> Vec<String> {
    // The language of a block is no prose, but its line has no code either.
    let code = prose.split('`').skip(1).step_by(2);
    code.filter(|code| code.starts_with("kubectl ")).map(in_one_line).collect()
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 5, item 12: who adds a command to a page says what shows that it is right.
    #[test]
    fn every_command_of_the_pages_is_run_or_has_a_reason() {
        let mut wrong = Vec::new();
        for page in [RUNBOOKS, OPERATIONS, RECOVERY] {
            let commands = commands(&read(page).unwrap());
            assert!(commands.len() > 5, "{page} has only {commands:?}");
            let rows = || COMMANDS.iter().filter(|(of, _, _)| *of == page);
            for command in &commands {
                let of_it = rows().filter(|(_, words, _)| named(&commands, words).any(|it| it == command));
                match of_it.count() {
                    0 => wrong.push(format!("{page}: no test follows `{command}`")),
                    1 => {}
                    _ => wrong.push(format!("{page}: several rows are of `{command}`")),
                }
            }
            for (_, words, shown) in rows() {
                match (shown, named(&commands, words).count()) {
                    (_, 0) => wrong.push(format!("{page}: no command has {words:?} any more")),
                    (By(test), 1) if is_named_in(test, words) => {}
                    (By(test), 1) => wrong.push(format!("{test} does not run {words:?} of {page}")),
                    (By(_), _) => wrong.push(format!("{page}: {words:?} is in several commands")),
                    (Not(why), _) => assert!(!why.is_empty()),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn is_named_in(test: &str, words: &str) -> bool {
        let path = super::tests().join(format!("kubernetes/{test}.rs"));
        std::fs::read_to_string(path).unwrap().contains(&format!("{words:?}"))
    }

    #[test]
    fn commands_are_found_in_prose_and_behind_prompts() {
        let page = "Run `kubectl get\npods`, not `make`.\n```console\n$ one \\\n  --two\nout\n$ three\n```\n`kubectl x`\n```yaml\n$ no\n```\n";
        assert_eq!(commands(page), ["kubectl get pods", "one --two", "three", "kubectl x"]);
    }

    #[test]
    fn whole_words_are_filled_in_and_the_longest_counts() {
        let facts = [("db", "a"), ("db-1", "b"), ("shop", "db")]
            .map(|(word, fact)| (word.to_owned(), fact.to_owned()));
        assert_eq!(filled("-n shop raft-db-1 db-0 db2 adb <db>", &facts), "-n db raft-b a-0 db2 adb <a>");
    }
}
