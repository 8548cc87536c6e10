//! Roads between members are closed, both ways and one way, and opened again.

use std::time::Duration;

use quorate_processes::cluster::shown;
use quorate_processes::operator::leads;
use quorate_processes::wait::{PATIENCE, until};
use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use crate::load::{client, read};
use crate::scene;

/// How often roads are closed.
const ROUNDS: usize = 10;
/// How long roads stay closed at most after all that can go on without them goes on: up to three election timeouts.
const CLOSED_MAX: Duration = Duration::from_secs(3);
/// How long roads are open at most between two rounds.
const OPEN_MAX: Duration = Duration::from_millis(500);

/// The first key of the test's own; the load's are below.
const OWN_KEY: usize = 1_000_000;
/// A read that is not answered by then will not be.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

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
    /// The leader's connections end, and dials to and from it are refused: others take it for dead, it does not.
    LeaderLooksDead,
    /// Everybody is alone.
    Everybody,
}

const CUTS: [Cut; 9] = [
    Cut::Leader,
    Cut::Follower,
    Cut::LeaderIsMute,
    Cut::LeaderIsDeaf,
    Cut::FollowerIsMute,
    Cut::FollowerIsDeaf,
    Cut::OnePair,
    Cut::LeaderLooksDead,
    Cut::Everybody,
];

/// P1, P2, K11; raft.md §7, 4: what clients saw through every member, also through those that were cut off and led or
/// believed so, could have come from one copy. Needs real connections: what a member sees of a partition is what its
/// sockets, keepalives and dials make of it.
#[tokio::test]
async fn whichever_roads_are_closed_what_clients_see_stays_linearizable() {
    let name = "whichever_roads_are_closed_what_clients_see_stays_linearizable";
    let Some((story, mut cluster, mut roads, load)) = scene::with_roads(name).await else { return };
    let mut draws = story.draws(0);
    for round in 0..ROUNDS {
        let cut = CUTS.get(round).or_else(|| CUTS.choose(&mut draws)).copied().unwrap();
        sleep(draws.random_range(Duration::ZERO..OPEN_MAX)).await;
        let leader = cluster.leader().await;
        let follower = (leader + draws.random_range(1..3)) % 3;
        let third = 3 - leader - follower;
        story.tell(format!("round {round}: {cut:?}; db-{leader} leads, db-{follower} is the follower"));
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
            Cut::LeaderLooksDead => {
                roads.refuse(leader).await;
                vec![follower, third]
            }
            Cut::Everybody => {
                (0..3).for_each(|member| roads.isolate(member));
                Vec::new()
            }
        };
        load.answered_through(&whole).await;
        sleep(draws.random_range(Duration::ZERO..CLOSED_MAX)).await;
        roads.heal().await;
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
    let Some((story, mut cluster, mut roads, load)) = scene::with_roads(name).await else { return };
    for is_leader in [false, true] {
        let old = cluster.leader().await;
        let alone = if is_leader { old } else { (old + 1) % 3 };
        roads.isolate(alone);
        story.tell(format!("db-{alone} is alone; db-{old} led"));
        until("a leader among the others", PATIENCE, async || {
            let leader = cluster.leader_now().await?;
            if leader == alone { Err(shown(&cluster.statuses().await)) } else { Ok(()) }
        })
        .await;
        let others = [(alone + 1) % 3, (alone + 2) % 3];
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
        let leader = cluster.leader().await;
        let before = cluster.operator.status(&cluster.members[leader]).await.unwrap();
        roads.heal().await;
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

/// K11, K12, P2; raft.md §7, 8: others take over within moments from a leader whose connections ended and whose host
/// refuses new ones. It is alive, and believes for another second that it leads: all that keeps a read through it from
/// being of the past is that it asks the others first.
#[tokio::test]
async fn a_leader_that_is_taken_for_dead_answers_no_read_of_the_past() {
    let name = "a_leader_that_is_taken_for_dead_answers_no_read_of_the_past";
    let Some((story, mut cluster, mut roads, load)) = scene::with_roads(name).await else { return };
    let mut asked_in_time = 0;
    for key in OWN_KEY..OWN_KEY + 4 {
        let old = cluster.leader().await;
        let deposed = client(&cluster.members[old].client_address(), READ_TIMEOUT);
        load.put(&client(&cluster.members[old].client_address(), PATIENCE), old, key).await;
        // Connected, and as quick as it has to be later.
        until("a read in time", PATIENCE, async || {
            read(&deposed, load.record(), old, key).await.map_err(|error| error.to_string())
        })
        .await;
        roads.refuse(old).await;
        story.tell(format!("db-{old} leads, and looks dead"));
        let new = until("another leader", PATIENCE, async || {
            let leader = cluster.leader_now().await?;
            if leader == old { Err(shown(&cluster.statuses().await)) } else { Ok(leader) }
        })
        .await;
        load.put(&client(&cluster.members[new].client_address(), PATIENCE), new, key).await;
        story.tell(format!("db-{new} leads, and key {key} was written anew"));
        // No answer is as good as the right one; a wrong one shows in the record.
        while leads(&cluster.operator.status(&cluster.members[old]).await.unwrap()) {
            let asked = (0..8).map(|_| read(&deposed, load.record(), old, key));
            futures::future::join_all(asked).await;
            asked_in_time += 1;
        }
        roads.heal().await;
        load.answered_through(&[0, 1, 2]).await;
    }
    story.say(&format!("asked {asked_in_time} times while it believed to lead"));
    assert!(asked_in_time > 0, "it never believed to lead once another did: nothing was shown");
    cluster.all_ready().await;
    cluster.assert_alive();
    load.finish().await;
}
