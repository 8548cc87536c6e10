//! A user's cluster does not start, and they ask `kubectl describe` why.
//!
//! They read what holds it back, in Kubernetes' own words, and what to do.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::cluster::{Cluster, container};
use crate::namespace::namespace;

/// How long Kubernetes may take to find an obstacle, and the operator to quote it.
const OBSTACLE_WITHIN: Duration = Duration::from_mins(2);

/// A claim that is never bound is quoted (K51).
#[tokio::test]
async fn a_missing_storage_class_is_named() -> Result<()> {
    namespace("no-class", async |namespace| {
        let cluster = namespace.cluster("db").storage_class("no-such-class").apply().await?;
        is_blocked(&cluster, "VolumePending", "no-such-class").await
    })
    .await
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
