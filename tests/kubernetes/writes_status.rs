//! Two parties write one status all the time: the operator its top level, the leader's sidecar `status.raft`.
//!
//! Nothing of one is lost to the other, and neither needs force against it. The writers are of this test, so that they can
//! count; field managers, fields and the kind of request are those of `operator/src/act/status.rs` and
//! `sidecar/publish/src/status.rs`, but without force.

use anyhow::{Context, Result, ensure};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use quorate_crds::{
    MemberStatus, OPERATOR_FIELD_MANAGER, RaftCluster, RaftClusterSpec, RaftClusterStatus, RaftStatus,
    SIDECAR_FIELD_MANAGER,
};
use serde_json::json;

/// How often each writes (operator.md §8.12).
const ROUNDS: i64 = 1_000;

/// A cluster that no operator works on, and both its writers (K31; operator.md §8.12).
pub(crate) async fn two_writers_lose_nothing(client: &Client, namespace: &str) -> Result<()> {
    let clusters: Api<RaftCluster> = Api::namespaced(client.clone(), namespace);
    let metadata = ObjectMeta { name: Some("counted".to_owned()), ..ObjectMeta::default() };
    let cluster = RaftCluster { metadata, spec: RaftClusterSpec::default(), status: None };
    clusters.create(&PostParams::default(), &cluster).await?;
    tokio::try_join!(
        write(&clusters, OPERATOR_FIELD_MANAGER, top_level),
        write(&clusters, SIDECAR_FIELD_MANAGER, leaders_part)
    )?;
    let status = clusters.get("counted").await?.status.context("a status")?;
    ensure!(numbers(&status) == (ROUNDS, ROUNDS), "not what was written last: {status:?}");
    Ok(())
}

/// One writer. Each answer shows the whole: neither number may ever be lower than it was seen before.
async fn write(clusters: &Api<RaftCluster>, manager: &str, part: fn(i64) -> RaftClusterStatus) -> Result<()> {
    let mut seen = (0, 0);
    for round in 1..=ROUNDS {
        let body = json!({
            "apiVersion": RaftCluster::api_version(&()),
            "kind": RaftCluster::kind(&()),
            "status": part(round),
        });
        let parameters = PatchParams::apply(manager);
        let answer = clusters.patch_status("counted", &parameters, &Patch::Apply(&body)).await;
        let status = answer.with_context(|| format!("{manager}, round {round}"))?.status;
        let now = numbers(&status.context("a status")?);
        ensure!(now.0 >= seen.0 && now.1 >= seen.1, "round {round} of {manager}: {now:?} after {seen:?}");
        seen = now;
    }
    Ok(())
}

/// The operator's.
fn top_level(round: i64) -> RaftClusterStatus {
    RaftClusterStatus {
        observed_generation: Some(round),
        leader: Some("counted-0".to_owned()),
        summary: Some(format!("round {round}")),
        voters: Some("3/3".to_owned()),
        ..RaftClusterStatus::default()
    }
}

/// The leader's: its members come and go.
fn leaders_part(round: i64) -> RaftClusterStatus {
    let member =
        |ordinal: i64| MemberStatus { name: format!("counted-{ordinal}"), ..MemberStatus::default() };
    let raft = RaftStatus {
        leader: Some("counted-0".to_owned()),
        members: (0..=round % 3).map(member).collect(),
        recovery_epoch: Some(0),
        term: Some(round),
        ..RaftStatus::default()
    };
    RaftClusterStatus { raft: Some(raft), ..RaftClusterStatus::default() }
}

/// The last rounds of both.
fn numbers(status: &RaftClusterStatus) -> (i64, i64) {
    let term = status.raft.as_ref().and_then(|raft| raft.term);
    (status.observed_generation.unwrap_or_default(), term.unwrap_or_default())
}
