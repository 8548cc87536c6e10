//! Processes are stopped for a while and go on as if no time had passed.

use std::time::Duration;

use quorate_processes::cluster::shown;
use quorate_processes::operator::leads;
use quorate_processes::wait::{PATIENCE, until};

use crate::load::{client, read};
use crate::scene;

/// How often the leader is paused: what it does first when it goes on differs.
const ROUNDS: usize = 3;
/// Reads and writes that wait at the paused leader.
const WAITING: usize = 8;
/// The first key of the test's own; the load's are below.
const OWN_KEY: usize = 1_000_000;

/// P2, K11, S5; raft.md §7, 8: an old leader that was stopped, and wakes up with requests waiting, believes that it
/// leads. All was written anew meanwhile under another leader: what it answers must not be of the past.
#[tokio::test]
async fn a_leader_that_slept_through_an_election_answers_no_stale_read_and_loses_no_write() {
    let name = "a_leader_that_slept_through_an_election_answers_no_stale_read_and_loses_no_write";
    let (story, mut cluster, load) = scene::under_load(name).await;
    for round in 0..ROUNDS {
        let key = OWN_KEY + round;
        let old = cluster.leader().await;
        let sleeper = client(&cluster.members[old].client_address(), PATIENCE);
        // Connected, registered, and the key is there.
        load.put(&sleeper, old, key).await;
        read(&sleeper, load.record(), old, key).await.unwrap();
        cluster.members[old].pause().await;
        story.tell(format!("round {round}: {} leads and is paused", cluster.members[old].name));
        let others = [(old + 1) % 3, (old + 2) % 3];
        let new = until("another leader", PATIENCE, async || {
            let leader = cluster.leader_now().await?;
            if leader == old { Err(shown(&cluster.statuses().await)) } else { Ok(leader) }
        })
        .await;
        load.put(&client(&cluster.members[new].client_address(), PATIENCE), new, key).await;
        story.tell(format!("{} leads, and key {key} was written anew", cluster.members[new].name));
        let waiting = (0..WAITING).map(async |number| {
            if number % 4 == 3 {
                load.put(&sleeper, old, key).await;
            } else {
                read(&sleeper, load.record(), old, key).await.unwrap();
            }
        });
        let wakes = async {
            let port = cluster.members[old].ports.client;
            until("requests to wait at the paused leader", PATIENCE, async || has_unread(port)).await;
            cluster.members[old].resume();
            story.tell("the old leader goes on");
        };
        // A stale read shows in the record.
        tokio::join!(futures::future::join_all(waiting), wakes);
        load.answered_through(&others).await;
        load.answered_through(&[old]).await;
    }
    cluster.all_ready().await;
    cluster.assert_alive();
    load.finish().await;
}

/// K10; raft.md §7, 14 and 29: a follower that was stopped for several election timeouts finds that it heard no leader
/// for long. It must not unseat the one that is there: same leader, same term.
#[tokio::test]
async fn a_follower_that_slept_disturbs_nobody_and_catches_up() {
    let name = "a_follower_that_slept_disturbs_nobody_and_catches_up";
    let (story, cluster, load) = scene::under_load(name).await;
    let leader = cluster.leader().await;
    let sleeper = (leader + 1) % 3;
    cluster.members[sleeper].pause().await;
    story.tell(format!("{} follows and is paused", cluster.members[sleeper].name));
    // So many entries that it is behind, and so long that its leader is forgotten.
    let asleep = tokio::time::Instant::now();
    while asleep.elapsed() < Duration::from_secs(3) {
        load.answered_through(&[leader, 3 - leader - sleeper]).await;
    }
    let leader = cluster.leader().await;
    let before = cluster.operator.status(&cluster.members[leader]).await.unwrap();
    cluster.members[sleeper].resume();
    story.tell("it goes on");
    load.answered_through(&[sleeper]).await;
    until("the follower to have caught up", PATIENCE, async || {
        let leader = cluster.operator.status(&cluster.members[leader]).await?;
        let status = cluster.operator.status(&cluster.members[sleeper]).await?;
        if status.last_index + 50 > leader.last_index { Ok(()) } else { Err(shown(&[(sleeper, status)])) }
    })
    .await;
    let after = cluster.operator.status(&cluster.members[leader]).await.unwrap();
    assert!(leads(&after), "{} was unseated: {after:?}", cluster.members[leader].name);
    assert_eq!(after.term, before.term, "there was an election");
    cluster.all_ready().await;
    load.finish().await;
}

/// Whether a connection to this port of 127.0.0.1 has bytes that the process did not read.
fn has_unread(port: u16) -> Result<(), String> {
    let table = std::fs::read_to_string("/proc/net/tcp").map_err(|error| error.to_string())?;
    let local = format!("0100007F:{port:04X}");
    let is_unread = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        // sl, local, remote, state, tx_queue:rx_queue; state 01 is a connection.
        words.get(1) == Some(&local.as_str())
            && words.get(3) == Some(&"01")
            && words.get(4).is_some_and(|queues| !queues.ends_with(":00000000"))
    };
    if table.lines().any(is_unread) { Ok(()) } else { Err("nothing waits".to_owned()) }
}
