//! The operator cannot work on one cluster, because somebody broke something of it.
//!
//! The user reads the error and the way out in `kubectl describe`; other clusters do not notice.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cluster::{PATIENCE, condition};
use crate::namespace::namespace;

/// An error is in status and in an event; another cluster forms meanwhile; mended, it is gone (operator.md §8.39).
#[tokio::test]
async fn an_operator_that_fails_at_one_cluster_says_so_and_serves_the_others() -> Result<()> {
    namespace("fails", async |namespace| {
        let cluster = namespace.cluster("db").replicas(1).apply().await?;
        cluster.wait_ready(1).await?;
        let path = "jsonpath={.data.ca\\.key}";
        let key = namespace.kubectl(&["get", "secret", "db-ca", "-o", path]).await?;
        let set = |value: &str| format!("{{\"data\":{{\"ca.key\":\"{value}\"}}}}");
        namespace.kubectl(&["patch", "secret", "db-ca", "--type=merge", "-p", &set("YnJva2Vu")]).await?;
        // A certificate that has to be made anew needs the authority.
        namespace.kubectl(&["delete", "secret", "db-0-tls"]).await?;
        let said = cluster
            .wait_status("what is wrong with the authority", PATIENCE, |status| {
                status
                    .blocked
                    .iter()
                    .any(|entry| entry.reason == "RoundFailed" && entry.message.contains("db-ca"))
            })
            .await?;
        ensure!(condition(&said, "Ready").is_some_and(|ready| ready.status != "True"), "Ready all the same");
        let other = namespace.cluster("other").replicas(1).apply().await?;
        other
            .wait_status("Ready beside it", Duration::from_secs(60), |status| {
                condition(status, "Ready").is_some_and(|ready| ready.status == "True")
            })
            .await?;
        let events =
            ["get", "events.v1.events.k8s.io", "--field-selector", "reason=RoundFailed", "-o", "name"];
        ensure!(!namespace.kubectl(&events).await?.is_empty(), "no event tells of it");
        namespace.kubectl(&["patch", "secret", "db-ca", "--type=merge", "-p", &set(&key)]).await?;
        cluster.wait_ready(1).await?;
        Ok(())
    })
    .await
}
