//! Members are asked to stop (SIGTERM) while they do various things.

use std::time::{Duration, Instant};

use quorate_processes::cluster::Cluster;
use quorate_processes::wait::{PATIENCE, until};

use crate::scene;

/// The promise is one second (raft.md §7, 22); this allows for a machine that is busy with other tests.
const STOPPED_WITHIN: Duration = Duration::from_secs(3);

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
    let starting = &cluster.members[follower];
    until("its first line", PATIENCE, async || {
        if starting.log_lines() > lines { Ok(()) } else { Err("nothing yet".to_owned()) }
    })
    .await;
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
