//! Roads between members are closed, both ways and one way, and opened again.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use crate::cluster::{Cluster, shown};
use crate::ground;
use crate::load::Load;
use crate::operator::leads;
use crate::story::Story;
use crate::wait::{PATIENCE, until};

/// How often roads are closed.
const ROUNDS: usize = 9;
/// How long roads stay closed at most after all that can go on without them goes on: up to three election timeouts.
const CLOSED_MAX: Duration = Duration::from_secs(3);
/// How long roads are open at most between two rounds.
const OPEN_MAX: Duration = Duration::from_millis(500);

/// Which roads are closed.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The leader is alone.
    Leader,
    /// A follower is alone.
    Follower,
    /// Nobody hears the leader.
    LeaderIsMute,
    /// The leader hears nobody.
    LeaderIsDeaf,
    /// Nobody hears a follower.
    FollowerIsMute,
    /// A follower hears nobody.
    FollowerIsDeaf,
    /// The leader and one follower do not reach each other; both reach the third.
    OnePair,
    /// Everybody is alone.
    Everybody,
}

const CUTS: [Cut; 8] = [
    Cut::Leader,
    Cut::Follower,
    Cut::LeaderIsMute,
    Cut::LeaderIsDeaf,
    Cut::FollowerIsMute,
    Cut::FollowerIsDeaf,
    Cut::OnePair,
    Cut::Everybody,
];

/// P1, P2, K11; raft.md §7, 4: what clients saw through every member, also through those that were cut off and led or
/// believed so, could have come from one copy. Needs real connections: what a member sees of a partition is what its
/// sockets, keepalives and dials make of it.
#[tokio::test]
async fn whichever_roads_are_closed_what_clients_see_stays_linearizable() {
    let name = "whichever_roads_are_closed_what_clients_see_stays_linearizable";
    if ground::is_missing(name) {
        return;
    }
    let story = Story::of(name);
    let mut draws = story.draws(0);
    let mut cluster = Cluster::with_roads(&story, 3).await;
    cluster.form().await;
    let load = Load::on(&cluster);
    for round in 0..ROUNDS {
        let cut = CUTS.get(round).or_else(|| CUTS.choose(&mut draws)).copied().unwrap();
        sleep(draws.random_range(Duration::ZERO..OPEN_MAX)).await;
        let leader = cluster.leader().await;
        let follower = (leader + draws.random_range(1..3)) % 3;
        let third = 3 - leader - follower;
        story.tell(format!("round {round}: {cut:?}; db-{leader} leads, db-{follower} is the follower"));
        let roads = cluster.roads();
        let whole = match cut {
            Cut::Leader => {
                roads.isolate(leader);
                vec![follower, third]
            }
            Cut::Follower => {
                roads.isolate(follower);
                vec![leader, third]
            }
            Cut::LeaderIsMute => {
                roads.set(leader, follower, false);
                roads.set(leader, third, false);
                vec![follower, third]
            }
            Cut::LeaderIsDeaf => {
                roads.set(follower, leader, false);
                roads.set(third, leader, false);
                vec![follower, third]
            }
            Cut::FollowerIsMute => {
                roads.set(follower, leader, false);
                roads.set(follower, third, false);
                vec![leader, third]
            }
            Cut::FollowerIsDeaf => {
                roads.set(leader, follower, false);
                roads.set(third, follower, false);
                vec![leader, third]
            }
            Cut::OnePair => {
                roads.set(leader, follower, false);
                roads.set(follower, leader, false);
                // Whoever leads then, the third member reaches it.
                vec![third]
            }
            Cut::Everybody => {
                (0..3).for_each(|member| roads.isolate(member));
                Vec::new()
            }
        };
        load.answered_through(&whole).await;
        sleep(draws.random_range(Duration::ZERO..CLOSED_MAX)).await;
        cluster.roads().heal();
        story.tell("all roads are open");
        load.answered_through(&[0, 1, 2]).await;
    }
    cluster.all_ready().await;
    cluster.assert_alive();
    load.finish().await;
}

/// K10, P3; raft.md §7, 14: a member that was alone for several election timeouts, and asked for votes in vain all the
/// time, comes back with the term it left with. Whoever leads goes on, in the same term.
#[tokio::test]
async fn a_member_that_was_cut_off_comes_back_without_an_election() {
    let name = "a_member_that_was_cut_off_comes_back_without_an_election";
    if ground::is_missing(name) {
        return;
    }
    let story = Story::of(name);
    let mut cluster = Cluster::with_roads(&story, 3).await;
    cluster.form().await;
    let load = Load::on(&cluster);
    for is_leader in [false, true] {
        let old = cluster.leader().await;
        let alone = if is_leader { old } else { (old + 1) % 3 };
        cluster.roads().isolate(alone);
        story.tell(format!("db-{alone} is alone; db-{old} led"));
        let leader = until("a leader among the others", PATIENCE, async || {
            let leader = cluster.leader_now().await?;
            if leader == alone { Err(shown(&cluster.statuses().await)) } else { Ok(leader) }
        })
        .await;
        let others = [(alone + 1) % 3, (alone + 2) % 3];
        let before = cluster.operator.status(&cluster.members[leader]).await.unwrap();
        until("the lonely member to look for a leader", PATIENCE, async || {
            let status = cluster.operator.status(&cluster.members[alone]).await?;
            let is_lost = status.leader_raft_id.is_empty() && !leads(&status);
            if is_lost { Ok(()) } else { Err(shown(&[(alone, status)])) }
        })
        .await;
        let lost = tokio::time::Instant::now();
        while lost.elapsed() < CLOSED_MAX {
            load.answered_through(&others).await;
        }
        cluster.roads().heal();
        story.tell("all roads are open");
        load.answered_through(&[alone]).await;
        cluster.all_ready().await;
        let after = cluster.operator.status(&cluster.members[leader]).await.unwrap();
        assert!(leads(&after), "db-{leader} was unseated: {}", shown(&[(leader, after)]));
        assert_eq!(after.term, before.term, "there was an election after db-{alone} came back");
    }
    cluster.assert_alive();
    load.finish().await;
}
