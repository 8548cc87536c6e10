//! Random states of up to seven slots: I2 and I7 (and whatever else `exhaustive` checks of one plan).

use proptest::prelude::*;
use quorate_plan::record::MemberState;
use quorate_plan::{Now, plan};

use crate::exhaustive::{Server, Small, check, creations, observe};
use crate::world::{Calls, START, World};

fn small() -> impl Strategy<Value = Small> {
    let states = prop_oneof![
        1 => Just(None),
        2 => Just(Some(MemberState::Joining)),
        6 => Just(Some(MemberState::Member)),
        2 => Just(Some(MemberState::Leaving)),
        1 => Just(Some(MemberState::Retired)),
    ];
    let servers = prop_oneof![
        2 => Just(Server::Absent),
        1 => Just(Server::NonVoter),
        6 => Just(Server::HealthyVoter),
        2 => Just(Server::UnhealthyVoter),
    ];
    (states, prop::bool::weighted(0.1), prop::bool::weighted(0.8), prop::bool::ANY, servers).prop_map(
        |(claim, deleting, pod, outdated, server)| Small {
            claim,
            claim_deleting: deleting && claim.is_some(),
            pod,
            outdated,
            server,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// I2: whatever the state, what remains after a step that takes a voter has a healthy majority.
    #[test]
    fn no_step_takes_the_majority_away(
        slots in prop::collection::vec(small(), 1..8),
        replicas in 1..10_i32,
        leader in prop::option::of(0..7_usize),
        in_flight in prop::bool::weighted(0.2),
    ) {
        let observed = observe(&slots, replicas, leader, in_flight);
        let decided = plan(&observed, Now(START));
        check(&observed, &decided);
        creations(&observed, &decided);
    }

    /// I7: the same observation gives the same plan, to the letter.
    #[test]
    fn the_same_observation_gives_the_same_plan(
        slots in prop::collection::vec(small(), 1..8),
        replicas in 1..10_i32,
        leader in prop::option::of(0..7_usize),
    ) {
        let observed = observe(&slots, replicas, leader, false);
        prop_assert_eq!(plan(&observed, Now(START)), plan(&observed.clone(), Now(START)));
    }
}

/// I7: a settled cluster asks for no write at all, now or an hour later.
#[test]
fn a_settled_cluster_gives_no_writes() {
    for replicas in [1, 2, 3, 5] {
        let mut world = World::settled("db", replicas);
        for _ in 0..5 {
            world.round();
        }
        for later in [0, 1, 3_600] {
            world.now += later;
            for member in world.group.servers.values_mut() {
                member.heard = Some(world.now);
            }
            let plan = world.plan();
            assert!(plan.ensures.is_empty(), "{replicas} replicas, {later} s later:\n{plan}");
            assert!(plan.step.is_none());
            assert!(plan.events.is_empty(), "{:?}", plan.events);
            assert_eq!(Some(&plan.status), world.cluster.status.as_ref(), "status would be written");
        }
    }
}

/// K32: a leader that answers and cannot write to the API server is named, whether it once could or never did;
/// membership goes on.
#[test]
fn a_leader_that_cannot_publish_is_named() {
    let voter = Small {
        claim: Some(MemberState::Member),
        pod: true,
        outdated: false,
        server: Server::HealthyVoter,
        claim_deleting: false,
    };
    let mut observed = observe(&[voter, voter, voter], 3, Some(0), false);
    let is_named =
        |plan: &quorate_plan::Plan| plan.blocked.iter().any(|entry| entry.reason == "PublishingBlocked");
    observed.unpublished = std::time::Duration::from_secs(29);
    assert!(!is_named(&plan(&observed, Now(START))));
    observed.unpublished = std::time::Duration::from_secs(30);
    let said = plan(&observed, Now(START));
    assert!(is_named(&said), "{said}");
    observed.raft = None;
    assert!(!is_named(&plan(&observed, Now(START))), "without a leader nobody owes a renewal");
}

/// K40: a new named port reaches the leader's Service and its slice, also when the operator dies between the two.
#[test]
fn a_new_named_port_reaches_service_and_slice() {
    for death in 1..6 {
        let mut world = World::settled("db", 1);
        for port in [8080, 9090] {
            let template = format!(
                r#"{{"spec": {{"containers": [{{"name": "app", "image": "app:1", "ports": [{{"name": "http", "containerPort": {port}}}]}}]}}}}"#
            );
            world.cluster.spec.template = Some(serde_json::from_str(&template).expect("a Pod template"));
            world.edited();
            let plan = world.plan();
            world.act(&plan, &mut Calls::at_most(death));
            for _ in 0..3 {
                world.round();
            }
            assert_eq!(world.children.leader_ports, [("http".to_owned(), port)]);
            assert_eq!(world.slice_ports, [port]);
            assert!(world.plan().ensures.is_empty(), "{}", world.plan());
        }
    }
}
