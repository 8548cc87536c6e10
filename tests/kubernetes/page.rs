//! A page of the docs, followed word for word: its commands as they stand, by a shell.
//!
//! What a reader puts in himself is put in: his namespace, and names for those of the page's example. A page without
//! namespaces means the current one, so that `kubectl` is told ours. Which command a test follows is in `quorate_tests::pages`.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use quorate_tests::pages::{OPERATIONS, RECOVERY, RUNBOOKS, command, filled};

use crate::bed::attempt;
use crate::namespace::Namespace;

/// One page in the hands of one test, whose cluster is `db`.
pub(crate) struct Page<'a> {
    name: &'static str,
    namespace: &'a Namespace,
    facts: Vec<(String, String)>,
    /// What was run last, said once however often one looks again.
    last: Mutex<String>,
}

impl<'a> Page<'a> {
    /// What to do about each alert.
    pub(crate) fn runbooks(namespace: &'a Namespace) -> Self {
        Self::of(RUNBOOKS, namespace).with("shop", &namespace.name)
    }

    /// What one does to a cluster; it is `greeting` there.
    pub(crate) fn operations(namespace: &'a Namespace) -> Self {
        Self::of(OPERATIONS, namespace).with("greeting", "db")
    }

    /// What one does about a lost majority; the cluster is `greeting` there.
    pub(crate) fn recovery(namespace: &'a Namespace) -> Self {
        Self::of(RECOVERY, namespace).with("greeting", "db")
    }

    fn of(name: &'static str, namespace: &'a Namespace) -> Self {
        Self { name, namespace, facts: Vec::new(), last: Mutex::default() }
    }

    /// What stands here for a word of the page.
    pub(crate) fn with(mut self, word: &str, fact: &str) -> Self {
        self.facts.retain(|(known, _)| known != word);
        self.facts.push((word.to_owned(), fact.to_owned()));
        self
    }

    /// Runs the command that these words name, and returns what it printed.
    ///
    /// # Errors
    /// It failed, or there is no such command in the page any more.
    pub(crate) async fn run(&self, words: &str) -> Result<String> {
        let line = self.here(&filled(&command(self.name, words)?, &self.facts));
        let output = attempt("bash", &["-o", "pipefail", "-c", &line], None).await?;
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{line}` of docs/{}: {printed}{error}", self.name);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            self.namespace.say(&format!("$ {line}"));
            *last = line;
        }
        Ok(printed)
    }

    fn here(&self, line: &str) -> String {
        let here = format!("kubectl -n {} ", self.namespace.name);
        let mut parts = line.split("kubectl ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |line, part| {
            line + if part.starts_with("-n ") { "kubectl " } else { here.as_str() } + part
        })
    }
}
