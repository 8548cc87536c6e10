//! A bounded pipeline: more load than the followers' disks take must not make commits wait ever longer (B13, K25).

use std::time::Duration;

use quorate_raft::{Now, Ticket, limits};

use crate::cluster::{Cluster, End};

/// What one write takes at a follower, whatever is in it: a message in flight costs the next one so much.
const WRITE: Duration = Duration::from_millis(5);
const LOAD_SECONDS: u64 = 6;

/// B13: every millisecond a proposal, five times what the followers write one by one. What does not fit the pipeline
/// gathers at the leader and goes in one message: a commit takes at most as long as a full pipeline, and after six
/// seconds of it no longer than after two. (In virtual time: latency is counted, not measured.)
#[test]
fn commits_under_more_load_than_the_disks_take_wait_for_one_full_pipeline_at_most() {
    let mut cluster = Cluster::new(13, &["a", "b", "c"]);
    // In order, so that nothing but the pipeline delays a commit.
    cluster.latency = 1..2;
    let leader = cluster.must_lead();
    for (name, member) in &mut cluster.members {
        if *name != leader {
            member.write_delay = WRITE;
        }
    }
    let mut waiting: Vec<(Ticket, Now)> = Vec::new();
    let mut seconds = Vec::new();
    for _ in 0..LOAD_SECONDS {
        let mut latencies = Vec::new();
        for _ in 0..1_000 {
            waiting.push((cluster.propose(leader, "x"), cluster.now));
            cluster.run_ms(1);
            waiting.retain(|(ticket, since)| {
                let Some(end) = cluster.ends.get(ticket) else { return true };
                assert!(matches!(end, End::Applied(_)), "{end:?}");
                latencies.push(cluster.now.since(*since));
                false
            });
        }
        latencies.sort();
        seconds.push(latencies[latencies.len() * 99 / 100]);
    }
    assert_eq!(cluster.leader(), Some(leader), "load is no reason to elect anybody");
    let pipeline = u32::try_from(limits::APPENDS_IN_FLIGHT_MAX).unwrap();
    // The message that waits for a place, the one under way on either side, and the network.
    let bound = WRITE * (pipeline + 3);
    assert!(seconds.iter().all(|p99| *p99 <= bound), "over {bound:?}: {seconds:?}");
    let (early, late) = (seconds[1], seconds[seconds.len() - 1]);
    assert!(late <= early + WRITE, "commits wait ever longer: {seconds:?}");
}
