//! I8: from every point at which the operator may die, and from reads that are a little old, rounds reach Ready.
//!
//! The runs are enumerated, not sampled: the operator dies once after each single call of the whole journey.

use quorate_plan::{Observed, plan};

use crate::world::{Calls, World};

/// The journey of acceptance 3: out, in, and both again.
const SIZES: [i32; 5] = [1, 3, 5, 3, 1];

/// More rounds than any healthy journey needs.
const ROUNDS_MAX: usize = 400;

fn arrive(world: &World, size: i32) {
    let size = usize::try_from(size).expect("sizes are small");
    assert_eq!(world.group.servers.len(), size, "servers {:?}", world.group.servers.keys());
    assert!(world.group.servers.values().all(|member| member.is_voter));
    assert_eq!(world.pods.len(), size);
    assert_eq!(world.claims.len(), size, "whenScaled is Delete: no claim is left over");
    assert_eq!(world.bootstraps, 1);
}

/// operator.md, "What must be true", 21: membership = Pods = claims at the end of each leg.
#[test]
fn one_three_five_three_one_arrives_at_each_size() {
    let mut world = World::cluster("db");
    for size in SIZES {
        world.scale(size);
        world.run_until_ready();
        arrive(&world, size);
    }
}

/// I8: dying after any single call changes nothing about where the cluster arrives.
#[test]
fn the_operator_may_die_after_every_single_call() {
    let total = journey(usize::MAX);
    assert!(total > 100, "the journey makes {total} calls: too few to mean anything");
    for death in 0..total {
        journey(death);
    }
}

/// Runs the whole journey; the operator dies once, after so many calls. Gives the number of calls made.
fn journey(death: usize) -> usize {
    let mut world = World::cluster("db");
    let mut made = 0;
    for size in SIZES {
        world.scale(size);
        let mut rounds = 0;
        while !world.is_ready() {
            let plan = world.plan();
            let mut calls = if made < death && death != usize::MAX {
                Calls::at_most(death - made)
            } else {
                Calls::unlimited()
            };
            world.act(&plan, &mut calls);
            made += calls.made;
            if made == death {
                // A new process knows nothing of the old one's rounds.
                world.first_round = true;
                world.quorum_missing_before = false;
                made += 1;
            }
            world.tick();
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "died after call {death}, size {size} was not reached:\n{plan}");
        }
        arrive(&world, size);
    }
    made
}

/// I8: an operator that dies after each call still gets somewhere, because each call leaves less to do.
#[test]
fn an_operator_that_manages_one_call_per_life_arrives() {
    let mut world = World::cluster("db").replicas(3);
    for round in 0.. {
        if world.is_ready() {
            break;
        }
        let plan = world.plan();
        // The status write comes first in each life and would be all it ever does: two calls.
        world.act(&plan, &mut Calls::at_most(2));
        world.first_round = false;
        world.tick();
        assert!(round < ROUNDS_MAX, "not Ready:\n{plan}");
    }
    arrive(&world, 3);
}

/// I8, K33: what is read of Kubernetes may be a few rounds old; absence is looked up live before it is acted on.
#[test]
fn reads_that_are_rounds_old_delay_and_harm_nothing() {
    for lag in 1..4 {
        let mut world = World::cluster("db");
        let mut seen: Vec<Observed> = Vec::new();
        for size in SIZES {
            world.scale(size);
            let mut rounds = 0;
            while !world.is_ready() {
                seen.push(world.look());
                let before = &seen[seen.len().saturating_sub(1 + lag)];
                let old = world.look_with_stale_kubernetes(before);
                let plan = plan(&old, world.time());
                world.act_on(&plan, &mut Calls::unlimited(), old.cluster.metadata.resource_version.as_ref());
                world.tick();
                rounds += 1;
                assert!(rounds < ROUNDS_MAX, "lag {lag}, size {size}:\n{plan}");
            }
            // A status computed from old reads may say Ready a little early; the end is what counts.
            for _ in 0..10 {
                world.round();
            }
            world.run_until_ready();
            arrive(&world, size);
        }
    }
}

/// operator.md, "What must be true", 23: an edit in mid-procedure strands nothing (I10).
#[test]
fn an_edit_at_any_moment_strands_nothing() {
    for moment in 0..60 {
        for (first, then) in [(5, 3), (5, 1), (1, 3), (3, 5)] {
            let mut world = World::settled("db", 3);
            world.scale(first);
            for _ in 0..moment {
                world.round();
            }
            world.scale(then);
            world.run_until_ready();
            arrive(&world, then);
        }
    }
}
