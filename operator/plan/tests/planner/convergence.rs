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

/// Rounds until Ready, while at most one voter is ever away.
fn roll(world: &mut World, mut round: impl FnMut(&mut World)) {
    let mut rounds = 0;
    while !world.is_ready() {
        round(world);
        world.tick();
        let away =
            world.group.servers.iter().filter(|(id, member)| member.is_voter && !world.is_up(id)).count();
        assert!(away <= 1, "{away} voters are away at once");
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "the rollout did not end:\n{}", world.plan());
    }
}

fn edit(world: &mut World, image: &str) {
    world.cluster.spec.sidecar.image = Some(image.to_owned());
    world.edited();
}

fn is_rolled_out(world: &World) {
    let image = world.cluster.spec.sidecar.image.clone().expect("edited");
    assert_eq!(world.status().rollout.expect("pinned").pending, Vec::<String>::new());
    let hashes: std::collections::BTreeSet<_> =
        world.pods.values().map(|pod| pod.template_hash.clone()).collect();
    assert_eq!(hashes.len(), 1, "one rendering, of {image}");
}

/// operator.md, "What must be true", 30 and 33: a rollout takes down one voter at a time and ends, after whichever call
/// the operator dies.
#[test]
fn a_rollout_survives_the_operator_after_every_call() {
    for replicas in [3, 5] {
        let settled = World::settled("db", replicas);
        let mut total = 0;
        for death in 0.. {
            let mut world = settled.clone();
            edit(&mut world, "quorate/sidecar:0.2.0");
            let mut made = 0;
            roll(&mut world, |world| {
                let plan = world.plan();
                let mut calls = if made < death { Calls::at_most(death - made) } else { Calls::unlimited() };
                world.act(&plan, &mut calls);
                made += calls.made;
                if made == death {
                    world.first_round = true;
                    made += 1;
                }
            });
            is_rolled_out(&world);
            total = total.max(death);
            if made < death {
                break;
            }
        }
        assert!(total > 10, "a rollout makes {total} calls: too few to mean anything");
    }
}

/// I8, I2: reads of Kubernetes that are rounds old never let a rollout take a second voter.
#[test]
fn a_rollout_by_old_reads_takes_one_voter_at_a_time() {
    for lag in 1..4 {
        let mut world = World::settled("db", 3);
        edit(&mut world, "quorate/sidecar:0.2.0");
        let mut seen: Vec<Observed> = Vec::new();
        let mut round = |world: &mut World| {
            seen.push(world.look());
            let old = world.look_with_stale_kubernetes(&seen[seen.len().saturating_sub(1 + lag)]);
            let plan = plan(&old, world.time());
            world.act_on(&plan, &mut Calls::unlimited(), old.cluster.metadata.resource_version.as_ref());
        };
        roll(&mut world, &mut round);
        for _ in 0..10 {
            round(&mut world);
            world.tick();
        }
        world.run_until_ready();
        is_rolled_out(&world);
    }
}

/// operator.md, "What must be true", 30; I10: a second edit, and a change of size, at any moment of a rollout.
#[test]
fn an_edit_at_any_moment_of_a_rollout_supersedes_it() {
    for moment in 0..30 {
        for size in [1, 3, 5] {
            let mut world = World::settled("db", 3);
            edit(&mut world, "quorate/sidecar:0.2.0");
            for _ in 0..moment {
                world.round();
            }
            edit(&mut world, "quorate/sidecar:0.3.0");
            world.scale(size);
            world.run_until_ready();
            arrive(&world, size);
            is_rolled_out(&world);
        }
    }
}

/// operator.md, "What must be true", 27 and 33: a dead voter is replaced, and one whose claim is being deleted, after
/// whichever call the operator dies; the majority is never given up for it.
#[test]
fn a_replacement_survives_the_operator_after_every_call() {
    let faults: [fn(&mut World); 3] = [
        |world| {
            world.cut.insert(quorate_plan::Ordinal(1));
            (0..700).for_each(|_| world.tick());
        },
        |world| world.delete_claim_only(1),
        |world| world.exit(1, 65, "CorruptData"),
    ];
    for fault in faults {
        let mut broken = World::settled("db", 3);
        fault(&mut broken);
        for death in 0.. {
            let mut world = broken.clone();
            let mut made = 0;
            for rounds in 0.. {
                let is_over = !world.group.servers.contains_key(&broken.raft_id(1)) && world.is_ready();
                if is_over {
                    break;
                }
                let plan = world.plan();
                let mut calls = if made < death { Calls::at_most(death - made) } else { Calls::unlimited() };
                world.act(&plan, &mut calls);
                made += calls.made;
                if made == death {
                    world.first_round = true;
                    made += 1;
                }
                world.tick();
                assert!(world.majority_up_without(None), "the majority was given up:\n{plan}");
                assert!(rounds < ROUNDS_MAX, "died after call {death}, never over:\n{plan}");
            }
            assert_eq!(world.group.servers.len(), 3);
            assert!(world.group.servers.values().all(|member| member.is_voter));
            if made < death {
                assert!(death > 10, "a replacement makes {death} calls: too few to mean anything");
                break;
            }
        }
    }
}
