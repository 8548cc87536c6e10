//! Everything is restarted elsewhere: every name leads to another address.

use std::time::Duration;

use quorate_processes::cluster::Cluster;
use quorate_processes::ports::port;

use crate::scene;

/// raft.md §7, 16.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

/// K16, K42, O7; raft.md §7, 16: as when a whole cluster was down and its Pods come back, each with a new IP. No member
/// is where another one remembers it, and the configuration, which names them, is only to be had from them.
#[tokio::test]
async fn all_members_restarted_with_new_addresses_find_each_other_and_elect_a_leader() {
    // Applications are in the same Pod: for them the address stays.
    let name = "all_members_restarted_with_new_addresses_find_each_other_and_elect_a_leader";
    let Some((story, mut cluster, mut roads, load)) = scene::with_roads(name).await else { return };
    load.answered_through(&[0, 1, 2]).await;
    for move_number in 0..2 {
        (0..3).for_each(|number| cluster.kill(number));
        (0..3).for_each(|number| move_away(&mut cluster, number));
        roads.build(&cluster.ports()).await;
        (0..3).for_each(|number| cluster.start(number));
        let started = tokio::time::Instant::now();
        let leader = cluster.leader_within(LEADER_WITHIN).await;
        let took = started.elapsed().as_secs_f32();
        story.say(&format!("move {move_number}: db-{leader} leads {took:.2} s after the start"));
        cluster.all_ready().await;
        load.answered_through(&[0, 1, 2]).await;
    }
    cluster.assert_alive();
    load.finish().await;
}

/// K42, O7: as when Pods are replaced one after another, and all names lead to other addresses each time. Those that
/// stayed up remember where a member was, and have to ask its name again.
#[tokio::test]
async fn a_member_that_comes_back_elsewhere_is_found_by_those_that_stayed() {
    let name = "a_member_that_comes_back_elsewhere_is_found_by_those_that_stayed";
    let Some((_, mut cluster, mut roads, load)) = scene::with_roads(name).await else { return };
    for number in 0..3 {
        cluster.kill(number);
        move_away(&mut cluster, number);
        roads.build(&cluster.ports()).await;
        cluster.start(number);
        cluster.all_ready().await;
        load.answered_through(&[0, 1, 2]).await;
    }
    cluster.assert_alive();
    load.finish().await;
}

/// Gives a member that is down other ports, and another address for the operator.
fn move_away(cluster: &mut Cluster, number: usize) {
    let member = &mut cluster.members[number];
    member.ports.peer = port();
    member.ports.ops = port();
    let [.., last] = member.pod_ip.octets();
    member.pod_ip = [127, 0, 0, last + 1].into();
}
