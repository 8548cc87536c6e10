//! Writes and reads through any member, also while leadership moves.

use std::collections::BTreeSet;

use quorate_machine::{ApiIndex, Command, Outcome, Tagged};
use quorate_sidecar::driver::Effect;
use tokio::sync::watch;

use crate::{PATIENCE, cluster, read, soon, write};

/// K11, K25: an application talks to its own member only, whoever leads.
#[tokio::test]
async fn what_is_written_through_any_member_is_read_through_every_other() {
    let (mut cluster, _directory) = cluster(3).await;
    for writer in 0..3 {
        let (key, value) = (format!("from-{writer}"), format!("value-{writer}"));
        write(cluster.handle(writer), &key, &value).await.unwrap();
        for reader in 0..3 {
            assert_eq!(read(cluster.handle(reader), &key).await.as_deref(), Some(value.as_str()));
        }
    }
    cluster.stop().await;
}

/// S18, B10: planned hand-overs under writes; what was acknowledged is there, whoever acknowledged it.
#[tokio::test]
async fn transfers_of_leadership_under_writes_lose_no_acknowledged_write() {
    let (mut cluster, _directory) = cluster(3).await;
    let (stop, stopped) = watch::channel(false);
    let writers: Vec<_> = (0..3)
        .map(|member| {
            let (handle, stopped) = (cluster.handle(member).clone(), stopped.clone());
            tokio::spawn(async move {
                let mut acknowledged = BTreeSet::new();
                for number in 0.. {
                    if *stopped.borrow() {
                        break;
                    }
                    let key = format!("w-{member}-{number}");
                    match write(&handle, &key, "x").await {
                        Ok(_) => drop(acknowledged.insert(key)),
                        Err(error) => assert_eq!(error.effect, Effect::Unknown, "{error}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    for _ in 0..5 {
        let leader = cluster.leader(PATIENCE).await.unwrap();
        let target = cluster.handle((leader + 1) % 3).view().identity.server.raft_id.clone();
        // A transfer may lose the race against its deadline; the writes are what counts here.
        let _ = cluster.handle(leader).transfer_leadership(Some(target), soon()).await;
        write(cluster.handle(leader), "after-transfer", "x").await.unwrap();
    }
    stop.send_replace(true);
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(acknowledged.len() > 5, "only {} writes were acknowledged", acknowledged.len());
    for key in acknowledged {
        assert_eq!(read(cluster.handle(0), &key).await.as_deref(), Some("x"), "{key}");
    }
    cluster.stop().await;
}

/// P1: a leader that vanishes without a word costs an election and no acknowledged write.
#[tokio::test]
async fn a_leader_that_vanishes_takes_no_acknowledged_write_with_it() {
    let (mut cluster, _directory) = cluster(3).await;
    for number in 0..20 {
        write(cluster.handle(number % 3), &format!("k{number}"), "x").await.unwrap();
    }
    let leader = cluster.leader(PATIENCE).await.unwrap();
    cluster.abort_member(leader).await;
    let survivor = (leader + 1) % 3;
    // Handed to a leader that is gone, it is sent again under the same number (K20).
    write(cluster.handle(survivor), "after", "x").await.unwrap();
    for number in 0..20 {
        let key = format!("k{number}");
        assert_eq!(read(cluster.handle(survivor), &key).await.as_deref(), Some("x"), "{key}");
    }
    cluster.stop().await;
}

/// K20: what an application writes untagged through a follower is applied once, and its outcome known, though leaders
/// vanish under it. A create-if-missing that were applied twice would answer that the key exists.
#[tokio::test]
async fn a_forwarded_write_is_applied_once_though_its_leader_vanishes() {
    let (mut cluster, _directory) = cluster(3).await;
    for round in 0..3 {
        let leader = cluster.leader(PATIENCE).await.unwrap();
        let handle = cluster.handle((leader + 1) % 3).clone();
        let (started, mut has_started) = watch::channel(false);
        let writer = tokio::spawn(async move {
            for number in 0..200 {
                let key = format!("once-{round}-{number}");
                let command = Command::CompareAndSet {
                    key: key.clone().into(),
                    value: "x".into(),
                    flags: 0,
                    expected: ApiIndex::MISSING,
                };
                let applied = handle.propose(&Tagged { tag: None, command }, soon()).await.unwrap();
                assert!(matches!(applied.outcome, Outcome::Written { .. }), "{key}: {:?}", applied.outcome);
                started.send_replace(number > 20);
            }
        });
        has_started.wait_for(|started| *started).await.unwrap();
        cluster.abort_member(leader).await;
        writer.await.unwrap();
        cluster.start_again(leader).await.unwrap();
    }
    cluster.stop().await;
}
