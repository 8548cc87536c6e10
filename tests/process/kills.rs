//! Members are killed under load, at any moment, one or all of them, and started again.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use crate::scene;

/// How often something is killed.
const ROUNDS: usize = 10;
/// The longest time until the next kill, and until what was killed is started again.
const PAUSE_MAX: Duration = Duration::from_millis(700);

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victims {
    Leader,
    Follower,
    LeaderAndFollower,
    Followers,
    Everybody,
}

const VICTIMS: [Victims; 5] =
    [Victims::Leader, Victims::Follower, Victims::LeaderAndFollower, Victims::Followers, Victims::Everybody];

/// P1, P2, K6, K20; raft.md §7, 3 and 4: no simulated disk or socket can show what `kill -9` at any moment leaves of
/// a real process. Each kind of victims comes once at least; a round may begin before the one before is recovered from.
#[tokio::test]
async fn whoever_is_killed_at_whatever_moment_nothing_acknowledged_is_lost_and_no_read_is_stale() {
    let name = "whoever_is_killed_at_whatever_moment_nothing_acknowledged_is_lost_and_no_read_is_stale";
    let (story, mut cluster, load) = scene::under_load(name).await;
    let mut draws = story.draws(0);
    for round in 0..ROUNDS {
        let kind = VICTIMS.get(round).or_else(|| VICTIMS.choose(&mut draws)).copied().unwrap();
        sleep(draws.random_range(Duration::ZERO..PAUSE_MAX)).await;
        let leader = cluster.leader().await;
        let other = (leader + draws.random_range(1..3)) % 3;
        let victims = match kind {
            Victims::Leader => vec![leader],
            Victims::Follower => vec![other],
            Victims::LeaderAndFollower => vec![leader, other],
            Victims::Followers => vec![(leader + 1) % 3, (leader + 2) % 3],
            Victims::Everybody => vec![0, 1, 2],
        };
        story.tell(format!("round {round}: {kind:?}"));
        cluster.assert_alive();
        for victim in &victims {
            cluster.kill(*victim);
        }
        for victim in victims {
            sleep(draws.random_range(Duration::ZERO..PAUSE_MAX)).await;
            cluster.start(victim);
        }
        if draws.random() {
            load.answered_through(&[0, 1, 2]).await;
        }
    }
    cluster.all_ready().await;
    load.answered_through(&[0, 1, 2]).await;
    cluster.assert_alive();
    load.finish().await;
}
