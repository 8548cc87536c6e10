//! A user who never saw Raft asks `kubectl get` and `kubectl describe` how the cluster is.
//!
//! They read it in one line or in full, in the order of what matters. When a start is stuck, they read why. What they
//! see is in `golden/`, names and ages normalised; REWRITE=1 rewrites it, and a person reads the difference.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bed::{kubectl, repository};
use crate::cluster::{Cluster, container, in_short};
use crate::namespace::{namespace, namespace_alone};
use crate::wait::{Look, until};

/// How long Kubernetes may take to find an obstacle, and the operator to quote it.
const OBSTACLE_WITHIN: Duration = Duration::from_mins(2);

/// Healthy, it reads well (operator.md §3.3, §8.15, §8.16).
#[tokio::test]
async fn get_and_describe_read_well() -> Result<()> {
    namespace("truth", async |namespace| {
        let cluster = namespace.cluster("db").replicas(3).apply().await?;
        cluster.wait_ready(3).await?;
        until("the settled status", OBSTACLE_WITHIN, async || {
            let status = cluster.status().await?;
            let settled = status.conditions.iter().any(|c| c.type_ == "Progressing" && c.status == "False");
            Ok(if settled { Look::Found(()) } else { Look::NotYet(in_short(&status)) })
        })
        .await?;
        let get = namespace.kubectl(&["get", "raftcluster", "db"]).await?;
        let wide = namespace.kubectl(&["get", "raftcluster", "db", "-o", "wide"]).await?;
        let describe = namespace.kubectl(&["describe", "raftcluster", "db"]).await?;
        let (object, events) = describe.split_once("\nEvents:").unwrap_or((&describe, ""));
        golden("get.txt", &normal_table(&format!("{get}\n\n{wide}"), &namespace.name))?;
        golden("describe.txt", &normal(object, &namespace.name))?;
        for reason in ["Bootstrapped", "LeaderElected", "Ready"] {
            ensure!(events.contains(reason), "no event {reason}:{events}");
        }
        Ok(())
    })
    .await
}

/// A claim that is never bound is quoted (K51).
#[tokio::test]
async fn a_missing_storage_class_is_named() -> Result<()> {
    namespace("no-class", async |namespace| {
        let cluster = namespace.cluster("db").storage_class("no-such-class").apply().await?;
        is_blocked(&cluster, "VolumePending", "no-such-class").await
    })
    .await
}

/// Without any default class the status says so and what to do; once there is one, the cluster forms (K51).
#[tokio::test]
async fn a_kubernetes_without_a_default_storage_class_is_explained() -> Result<()> {
    namespace_alone("no-default", async |namespace| {
        mark_default(false).await?;
        let seen: Result<Cluster<'_>> = async {
            let cluster = namespace.cluster("db").replicas(1).apply().await?;
            is_blocked(&cluster, "VolumePending", "the cluster has no default class").await?;
            Ok(cluster)
        }
        .await;
        // Other tests need it, whatever was seen.
        mark_default(true).await?;
        let cluster = seen?;
        cluster.wait_ready(1).await?;
        Ok(())
    })
    .await
}

/// Makes the bed's only storage class the default one, or not.
async fn mark_default(is_default: bool) -> Result<()> {
    let annotation = format!("storageclass.kubernetes.io/is-default-class={is_default}");
    kubectl(&["annotate", "--overwrite", "storageclass", "local-path", &annotation]).await?;
    Ok(())
}

/// A Pod that fits no node is quoted (K51).
#[tokio::test]
async fn an_unschedulable_member_says_why() -> Result<()> {
    namespace("no-node", async |namespace| {
        let template = json!({"spec": {
            "nodeSelector": {"disk": "none-has-this"},
            "containers": [container("localhost/quorate-example:dev")],
        }});
        let cluster = namespace.cluster("db").with_template(&template)?.apply().await?;
        is_blocked(&cluster, "Unschedulable", "nodes are available").await
    })
    .await
}

/// An image that cannot be pulled is quoted (K51).
#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named() -> Result<()> {
    namespace("no-image", async |namespace| {
        let template = json!({"spec": {"containers": [container("localhost/no-such-image:1")]}});
        let cluster = namespace.cluster("db").with_template(&template)?.apply().await?;
        is_blocked(&cluster, "ImagePull", "localhost/no-such-image:1").await
    })
    .await
}

async fn is_blocked(cluster: &Cluster<'_>, reason: &str, quoted: &str) -> Result<()> {
    let what = format!("{reason} with {quoted:?}");
    let status = cluster
        .wait_status(&what, OBSTACLE_WITHIN, |status| {
            status.blocked.iter().any(|entry| entry.reason == reason && entry.message.contains(quoted))
        })
        .await?;
    for entry in &status.blocked {
        cluster.namespace.say(&format!("{}: {}", entry.reason, entry.message));
    }
    ensure!(!status.blocked.iter().any(|entry| entry.message.is_empty()), "a blocked entry says nothing");
    Ok(())
}

/// Compares with a golden file, or rewrites it.
fn golden(file: &str, text: &str) -> Result<()> {
    let path = repository().join("tests/kubernetes/golden").join(file);
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("REWRITE").is_some() {
        return Ok(std::fs::write(path, text)?);
    }
    let expected = std::fs::read_to_string(&path)?;
    ensure!(
        text == expected,
        "{file} reads differently (REWRITE=1 rewrites it). Now:\n{text}\nexpected:\n{expected}"
    );
    Ok(())
}

/// The text with everything that differs between runs replaced by a word for what it is.
fn normal(text: &str, namespace: &str) -> String {
    let mut lines = Vec::new();
    for line in text.replace(namespace, "NAMESPACE").lines() {
        let mut before = "";
        let mut words = Vec::new();
        for word in line.split(' ') {
            words.push(normal_word(before, word));
            if !word.is_empty() {
                before = word;
            }
        }
        lines.push(words.join(" ").trim_end().to_owned());
    }
    lines.join("\n")
}

/// A table without its ages, and without the padding that depends on them.
fn normal_table(text: &str, namespace: &str) -> String {
    let is_age =
        |word: &str| word.len() > 1 && word.ends_with('s') && word.starts_with(|c: char| c.is_ascii_digit());
    let lines = normal(text, namespace);
    let cells = |line: &str| -> String {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(|cell| if is_age(cell) { "AGE" } else { cell }).collect::<Vec<_>>().join("   ")
    };
    lines.lines().map(cells).collect::<Vec<_>>().join("\n")
}

fn normal_word(before: &str, word: &str) -> String {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let number = word.trim_end_matches([')', ',']);
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match before {
        "Node:" if !word.is_empty() => return "NODE".to_owned(),
        "Zone:" if !word.is_empty() => return "ZONE".to_owned(),
        "Version:" | "Term:" | "term" | "(term" if is_number => return word.replace(number, "N"),
        _ => {}
    }
    match word.len() {
        32 if is_hex(word) => return "HEX".to_owned(),
        10 if is_hex(word) && before == "Hash:" => return "HASH".to_owned(),
        36 if word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) => return "UID".to_owned(),
        20 if word.ends_with('Z') && word.contains('T') => return "TIME".to_owned(),
        _ => {}
    }
    if let Some((member, _)) = word.rsplit_once('-').filter(|(_, id)| id.len() == 8 && is_hex(id)) {
        return format!("{member}-RAFTID");
    }
    word.to_owned()
}
