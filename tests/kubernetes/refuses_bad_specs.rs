//! A user makes a mistake in a spec, or someone tries what must not be.
//!
//! `kubectl apply` is refused on the spot with a message that names the field and the way out; nothing has to run for
//! that but the API server. The mistakes are the files of `specs/`, whose README says how one is written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_yaml::Value;

use crate::bed::{attempt, repository};
use crate::namespace::{Namespace, namespace};
use crate::wait::{Look, until};

/// How many mistakes there must be at least (issue 3, acceptance 8).
const FILES_MIN: usize = 20;
/// The operator writes a paused resource's status once.
const CONFLICTS_END_WITHIN: Duration = Duration::from_secs(30);

/// Every file of `specs/` is refused with the message it expects (P10; operator.md §8.7, §8.11).
#[tokio::test]
async fn every_bad_spec_is_refused_with_the_way_out() -> Result<()> {
    namespace("bad-specs", async |namespace| {
        let files = files()?;
        ensure!(files.len() >= FILES_MIN, "only {} files of bad specs", files.len());
        let mut wrong = Vec::new();
        for file in &files {
            if let Err(error) = is_refused(namespace, file).await {
                wrong.push(format!("{}: {error:#}", file.display()));
            }
            namespace.kubectl(&["delete", "raftclusters", "--all", "--wait=false"]).await?;
        }
        ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
        namespace.say(&format!("{} bad specs were refused", files.len()));
        Ok(())
    })
    .await
}

fn files() -> Result<Vec<PathBuf>> {
    let folder = repository().join("tests/kubernetes/specs");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Applies the documents of a file in order; all but the last are accepted, and the last is refused as the file says.
async fn is_refused(namespace: &Namespace, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let fragment =
        text.lines().next().and_then(|line| line.strip_prefix("# refused: ")).context("no fragment")?;
    let is_status = text.lines().nth(1).is_some_and(|line| line.starts_with("# status:"));
    let mut documents = Vec::new();
    for document in text.split("\n---\n") {
        documents.push(named_apart(serde_yaml::from_str(document)?, file)?);
    }
    let last = documents.pop().context("no document")?;
    let here = ["-n", namespace.name.as_str()];
    for (at, document) in documents.iter().enumerate() {
        let refusal = write(&[&here[..], verb(at, is_status)].concat(), document).await?;
        ensure!(refusal.is_none(), "document {at} was not accepted: {}", refusal.unwrap_or_default());
    }
    let words = [&here[..], verb(documents.len(), is_status)].concat();
    let message = write(&words, &last).await?.context("it was accepted")?;
    // The API server wraps nothing, but YAML does: compare words.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(words(&message).contains(&words(fragment)), "the message does not say {fragment:?}: {message}");
    Ok(())
}

/// Writes a document; what was said if it was refused. The operator's first status may come between kubectl's reading
/// and its writing: that is no answer to the document, so it is written again.
async fn write(words: &[&str], document: &str) -> Result<Option<String>> {
    until("a write without a conflict", CONFLICTS_END_WITHIN, async || {
        let output = attempt("kubectl", words, Some(document)).await?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(match output.status.success() {
            true => Look::Found(None),
            false if message.contains("the object has been modified") => Look::NotYet(message),
            false => Look::Found(Some(message)),
        })
    })
    .await
}

/// How the document at this place is written: created, then edited.
fn verb(at: usize, is_status: bool) -> &'static [&'static str] {
    match (at, is_status) {
        (0, _) => &["create", "-f", "-"],
        (_, false) => &["replace", "-f", "-"],
        (_, true) => &["replace", "--subresource=status", "-f", "-"],
    }
}

/// The document, paused: the operator must not write what the file is about to write. Where the name is not the
/// mistake, it gets the file's own, because deletion of the last file's resource may still be under way.
fn named_apart(mut document: Value, file: &Path) -> Result<String> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).context("a file name")?;
    let metadata = document.get_mut("metadata").and_then(Value::as_mapping_mut).context("no metadata")?;
    if metadata.get("name").and_then(Value::as_str) == Some("hostile") {
        metadata
            .insert("name".into(), stem.chars().take(40).collect::<String>().trim_end_matches('-').into());
    }
    if !metadata.contains_key("annotations") {
        let mut annotations = serde_yaml::Mapping::new();
        annotations.insert("quorate.dev/paused".into(), "a test".into());
        metadata.insert("annotations".into(), annotations.into());
    }
    Ok(serde_yaml::to_string(&document)?)
}
