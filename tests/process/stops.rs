//! Members are asked to stop (SIGTERM) while they do various things.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use quorate_api::v1;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::txn_op::Op;
use quorate_machine::limits::{MEMTABLE_BYTES_MAX, TXN_OPS_MAX};
use quorate_processes::cluster::Cluster;
use quorate_processes::wait::{PATIENCE, until};
use quorate_raft::limits::RETENTION_BYTES;
use tonic::transport::Channel;

use crate::bulk::{self, VALUE_BYTES, large};
use crate::load::client;
use crate::scene;
use crate::story::Story;

/// The promise is one second (raft.md §7, 22); this allows for a machine that is busy with other tests.
const STOPPED_WITHIN: Duration = Duration::from_secs(3);
/// Keys of large values: 64 MiB, two seconds of a snapshot's way.
const KEYS: usize = 128;
/// Large values after which a follower that had none of them needs a snapshot (K7): those retained, and those of two
/// memtables that are not flushed yet.
const BEYOND_RETENTION: usize = 448;
const _: () =
    assert!((BEYOND_RETENTION * VALUE_BYTES) as u64 > RETENTION_BYTES + 2 * MEMTABLE_BYTES_MAX as u64);
/// Keys of a tree that takes the machine a while to look at, and is within what a transaction may see.
const TREE_KEYS: usize = 20_000;
/// Writes that look at all of it.
const SLOW_WRITES: usize = 150;
/// That so many wait shows that the machine does not keep up.
const QUEUED: u64 = 50;

/// K43, P9; raft.md §7, 22: a Pod has a grace period, and what is not over by then is killed.
#[tokio::test]
async fn whoever_is_asked_to_stop_ends_soon_and_in_order_whatever_it_is_doing() {
    let name = "whoever_is_asked_to_stop_ends_soon_and_in_order_whatever_it_is_doing";
    let (_, mut cluster, load) = scene::under_load(name).await;
    load.answered_through(&[0, 1, 2]).await;

    let follower = (cluster.leader().await + 1) % 3;
    stop(&mut cluster, &[follower], "a follower under load").await;
    load.answered_through(&[(follower + 1) % 3, (follower + 2) % 3]).await;
    let lines = cluster.members[follower].log_lines();
    cluster.start(follower);
    first_line(&cluster, follower, lines).await;
    stop(&mut cluster, &[follower], "a member that starts").await;
    cluster.start(follower);
    cluster.all_ready().await;

    let leader = cluster.leader().await;
    let term = cluster.operator.status(&cluster.members[leader]).await.unwrap().term;
    stop(&mut cluster, &[leader], "the leader under load").await;
    let next = cluster.leader().await;
    let status = cluster.operator.status(&cluster.members[next]).await.unwrap();
    assert_eq!(status.term, term + 1, "it hands over before it ends: one election, that nobody loses");
    cluster.start(leader);
    cluster.all_ready().await;

    let leader = cluster.leader().await;
    cluster.kill((leader + 1) % 3);
    cluster.kill((leader + 2) % 3);
    stop(&mut cluster, &[leader], "a leader whose writes wait for followers that are gone").await;
    (0..3).for_each(|number| cluster.start(number));
    cluster.all_ready().await;

    let leader = cluster.leader().await;
    cluster.kill((leader + 1) % 3);
    cluster.kill((leader + 2) % 3);
    until("the leader to step down", PATIENCE, async || match cluster.leader_now().await {
        Ok(leader) => Err(format!("db-{leader} leads")),
        Err(_) => Ok(()),
    })
    .await;
    stop(&mut cluster, &[leader], "a member that looks for a leader").await;
    (0..3).for_each(|number| cluster.start(number));
    cluster.all_ready().await;

    stop(&mut cluster, &[0, 1, 2], "everybody").await;
    (0..3).for_each(|number| cluster.start(number));
    cluster.all_ready().await;
    load.answered_through(&[0, 1, 2]).await;
    load.finish().await;
}

/// B2, K5, K7; raft.md §7, 22: whoever makes, sends, takes or builds a snapshot when it is asked to stop leaves it. What is
/// half done goes at the next start, and the follower gets its snapshot in the end.
#[tokio::test]
async fn a_stop_is_short_in_the_middle_of_a_snapshot_at_either_end() {
    let name = "a_stop_is_short_in_the_middle_of_a_snapshot_at_either_end";
    let (_, mut cluster, load) = scene::under_load(name).await;
    let follower = (cluster.leader().await + 1) % 3;
    // Each time anew: a snapshot that went through before it was noticed would leave the next step nothing to wait for.
    falls_behind(&mut cluster, follower).await;
    let leader = makes_a_snapshot(&cluster, follower).await;
    stop(&mut cluster, &[leader], "the leader while it makes a snapshot").await;
    cluster.start(leader);
    cluster.all_ready().await;

    let before = falls_behind(&mut cluster, follower).await;
    let leader = sends_a_snapshot(&cluster, follower, before).await;
    stop(&mut cluster, &[leader], "the leader while it sends a snapshot").await;
    cluster.start(leader);
    cluster.all_ready().await;

    let before = falls_behind(&mut cluster, follower).await;
    sends_a_snapshot(&cluster, follower, before).await;
    stop(&mut cluster, &[follower], "a follower while it takes a snapshot").await;
    cluster.start(follower);
    cluster.all_ready().await;

    // The state of the snapshot before is still there.
    let old = cluster.members[follower].files();
    falls_behind(&mut cluster, follower).await;
    until("a state to be built", PATIENCE, async || {
        let files = cluster.members[follower].files();
        let is_new = |name: &String| name.starts_with("state-") && !old.contains(name);
        if files.iter().any(is_new) { Ok(()) } else { Err(files.join(" ")) }
    })
    .await;
    stop(&mut cluster, &[follower], "a follower while it builds the state it took").await;
    cluster.start(follower);
    cluster.all_ready().await;
    load.answered_through(&[0, 1, 2]).await;
    load.finish().await;
}

/// What a follower says when a snapshot begins to come in.
const TAKES: &str = "receiving a snapshot";

/// The follower is away until only a snapshot brings it up to date; how many it had begun to take before.
async fn falls_behind(cluster: &mut Cluster, follower: usize) -> usize {
    cluster.kill(follower);
    bulk::write(&cluster.members[cluster.leader().await], BEYOND_RETENTION, KEYS).await;
    let before = cluster.members[follower].log_count(TAKES);
    cluster.start(follower);
    before
}

/// Waits until a snapshot for the follower is being made; by whom.
async fn makes_a_snapshot(cluster: &Cluster, follower: usize) -> usize {
    until("a snapshot to be made", PATIENCE, async || {
        let makes = |number: &usize| {
            cluster.members[*number].files().iter().any(|name| name.starts_with("snapshot-"))
        };
        (0..3).filter(|number| *number != follower).find(makes).ok_or_else(|| "none is made".to_owned())
    })
    .await
}

/// Waits until the follower takes one more snapshot; who leads then.
async fn sends_a_snapshot(cluster: &Cluster, follower: usize, before: usize) -> usize {
    let taker = &cluster.members[follower];
    until("a snapshot to come in", PATIENCE, async || {
        if taker.log_count(TAKES) > before { Ok(()) } else { Err(taker.log_tail(1)) }
    })
    .await;
    cluster.leader().await
}

/// K17; raft.md §7, 22: the upload is under way, or every member builds its state from the archive, or looks at the staged
/// file when it starts. What was proposed is restored in the end, everywhere.
#[tokio::test]
async fn a_stop_is_short_in_the_middle_of_a_restore() {
    let story = Story::of("a_stop_is_short_in_the_middle_of_a_restore");
    let mut cluster = story.cluster(3);
    cluster.form().await;
    let leader = cluster.leader().await;
    bulk::write(&cluster.members[leader], KEYS, KEYS).await;
    let archive = bulk::save(&cluster.members[leader]).await;
    let writer = client(&cluster.members[(leader + 1) % 3].client_address(), PATIENCE);
    writer.put("after", "the archive was saved").await.unwrap();

    let half = archive[..archive.len() / 2].to_vec();
    let unfinished = stream::iter(half).chain(stream::pending());
    let upload = tokio::spawn(cluster.operator.restore(&cluster.members[leader], unfinished));
    file(&cluster, leader, "staging-").await;
    stop(&mut cluster, &[leader], "the leader while an archive comes in").await;
    assert!(upload.await.unwrap().is_err(), "half an archive was restored");
    cluster.start(leader);
    cluster.all_ready().await;

    let leader = cluster.leader().await;
    let restored = tokio::spawn(cluster.operator.restore(&cluster.members[leader], stream::iter(archive)));
    file(&cluster, leader, "-restored.redb").await;
    stop(&mut cluster, &[0, 1, 2], "everybody while the state of an archive is built").await;
    // Its outcome is unknown; it was in the log, and so it is restored.
    drop(restored.await);
    let lines = cluster.members[0].log_lines();
    cluster.start(0);
    first_line(&cluster, 0, lines).await;
    stop(&mut cluster, &[0], "a member that starts and has an archive staged").await;
    (0..3).for_each(|number| cluster.start(number));
    cluster.all_ready().await;
    for member in &cluster.members {
        let reader = client(&member.client_address(), PATIENCE);
        assert_eq!(reader.get("after").await.unwrap(), None, "{}", member.name);
        let last = reader.get(large(KEYS - 1)).await.unwrap();
        assert_eq!(last.map(|entry| entry.value.len()), Some(VALUE_BYTES), "{}", member.name);
    }
}

/// Waits for a file with these letters in its name on the member's volume.
async fn file(cluster: &Cluster, number: usize, letters: &str) {
    until(&format!("a file {letters}"), PATIENCE, async || {
        let files = cluster.members[number].files();
        if files.iter().any(|name| name.contains(letters)) { Ok(()) } else { Err(files.join(" ")) }
    })
    .await;
}

/// S18; raft.md §7, 22: leadership is on its way to a member that does not move.
#[tokio::test]
async fn a_stop_is_short_in_the_middle_of_a_transfer_at_either_end() {
    let name = "a_stop_is_short_in_the_middle_of_a_transfer_at_either_end";
    let (_, mut cluster, load) = scene::under_load(name).await;
    for is_leader in [true, false] {
        let target = (cluster.leader().await + 1) % 3;
        cluster.members[target].pause().await;
        let leader = until("a transfer to be under way", PATIENCE, async || {
            let leader = cluster.leader_now().await?;
            let ask = || cluster.operator.transfer(&cluster.members[leader], &cluster.members[target]);
            // One of the two begins it, and the other one is refused.
            let refused = tokio::select! { ended = ask() => ended, ended = ask() => ended };
            let why = refused.err().unwrap_or_else(|| "it is over".to_owned());
            if why.contains("being transferred") { Ok(leader) } else { Err(why) }
        })
        .await;
        if is_leader {
            stop(&mut cluster, &[leader], "the leader during a transfer").await;
            cluster.members[target].resume();
            cluster.start(leader);
        } else {
            cluster.members[target].resume();
            stop(&mut cluster, &[target], "the target of a transfer").await;
            cluster.start(target);
        }
        cluster.all_ready().await;
    }
    load.answered_through(&[0, 1, 2]).await;
    load.finish().await;
}

/// K25; raft.md §7, 22: so many committed writes wait for the machine that it has no time for them: each of them looks at
/// every key of a tree. They are in the log, and the next start applies them.
#[tokio::test]
async fn a_stop_is_short_with_a_full_apply_queue() {
    let story = Story::of("a_stop_is_short_with_a_full_apply_queue");
    let mut cluster = story.cluster(3);
    cluster.form().await;
    let leader = cluster.leader().await;
    let address = format!("http://{}", cluster.members[leader].client_address());
    let kv = KvClient::connect(address).await.unwrap();
    let leaf =
        |number: usize| Op::Set(v1::TxnSet { key: format!("t/{number}").into(), ..v1::TxnSet::default() });
    let leaves: Vec<Op> = (0..TREE_KEYS).map(leaf).collect();
    let planted = leaves.chunks(TXN_OPS_MAX).map(|ops| txn(kv.clone(), ops.to_vec()));
    let planted: Vec<_> = stream::iter(planted).buffer_unordered(8).collect().await;
    assert!(planted.iter().all(|planted| planted.as_ref().is_ok_and(|response| response.succeeded)));
    let key = |key: &'static str| v1::TxnKey { key: Bytes::from_static(key.as_bytes()) };
    // It fails in the end, so that nothing is sent back.
    let slow = vec![leaf(TREE_KEYS), Op::GetPrefix(key("t/")), Op::CheckNotExists(key("t/0"))];
    let waiting: Vec<_> = (0..SLOW_WRITES).map(|_| tokio::spawn(txn(kv.clone(), slow.clone()))).collect();
    for (number, doing) in [(leader, "the leader"), ((leader + 1) % 3, "a follower")] {
        let queued = until("writes to wait for the machine", PATIENCE, async || {
            let status = cluster.operator.status(&cluster.members[number]).await?;
            let queued = status.commit_index - status.applied_index;
            if queued >= QUEUED { Ok(queued) } else { Err(format!("{queued} wait")) }
        })
        .await;
        stop(&mut cluster, &[number], &format!("{doing} while {queued} writes wait to be applied")).await;
    }
    // Who was told nothing asks again.
    futures::future::join_all(waiting).await;
    cluster.start(leader);
    cluster.start((leader + 1) % 3);
    cluster.all_ready().await;
    for member in &cluster.members {
        let reader = client(&member.client_address(), PATIENCE);
        assert!(reader.get("t/0").await.unwrap().is_some(), "{}", member.name);
    }
}

async fn txn(mut kv: KvClient<Channel>, ops: Vec<Op>) -> Result<v1::TxnResponse, tonic::Status> {
    let ops = ops.into_iter().map(|op| v1::TxnOp { op: Some(op) }).collect();
    Ok(kv.txn(v1::TxnRequest { ops, ..v1::TxnRequest::default() }).await?.into_inner())
}

/// Waits until the member, whose log had so many lines, has written one more.
async fn first_line(cluster: &Cluster, number: usize, lines: usize) {
    until("its first line", PATIENCE, async || {
        if cluster.members[number].log_lines() > lines { Ok(()) } else { Err("nothing yet".to_owned()) }
    })
    .await;
}

/// Asks members to stop, and measures until the last is gone.
async fn stop(cluster: &mut Cluster, numbers: &[usize], doing: &str) {
    let asked = Instant::now();
    for number in numbers {
        cluster.members[*number].signal("TERM");
    }
    for number in numbers {
        let status = cluster.members[*number].ended().await;
        assert_eq!(status.code(), Some(0), "db-{number}, {doing}, ended with {status}");
    }
    let took = asked.elapsed();
    cluster.story.say(&format!("{doing}: stopped in {} ms", took.as_millis()));
    assert!(took < STOPPED_WITHIN, "{doing}: stopping took {took:?}");
}
