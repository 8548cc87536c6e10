//! The five conditions of K50, state by state, each with observedGeneration.

use quorate_plan::Ordinal;
use quorate_plan::observed::{Obstacle, ObstacleKind};
use quorate_plan::{Now, Plan};

use crate::world::World;

/// `Ready Available Progressing Degraded Stalled` as letters: T, F, U.
fn letters(plan: &Plan) -> String {
    ["Ready", "Available", "Progressing", "Degraded", "Stalled"]
        .iter()
        .map(|type_| {
            let condition =
                plan.status.conditions.iter().find(|it| it.type_ == *type_).expect("all five are set");
            assert!(!condition.reason.is_empty(), "{type_} has a reason");
            assert!(!condition.message.is_empty(), "{type_} has a message");
            condition.status.chars().next().unwrap_or('?')
        })
        .collect()
}

fn reason(plan: &Plan, type_: &str) -> String {
    plan.status.conditions.iter().find(|it| it.type_ == type_).map(|it| it.reason.clone()).unwrap_or_default()
}

fn cut(mut world: World, ordinals: &[u32], seconds: u64) -> World {
    world.cut.extend(ordinals.iter().map(|ordinal| Ordinal(*ordinal)));
    for _ in 0..seconds {
        world.round();
    }
    world
}

/// K50: each state of a cluster's life reads as the table says.
#[test]
fn each_state_has_its_conditions() {
    let mut stuck = World::cluster("db").replicas(3);
    let obstacle = |kind, since| Obstacle { kind, message: "0/3 nodes are available".to_owned(), since };
    stuck.obstacles.insert(Ordinal(0), obstacle(ObstacleKind::Unschedulable, Now(stuck.now)));
    for _ in 0..90 {
        stuck.round();
    }
    let mut paused = World::settled("db", 3);
    paused.cluster.metadata.annotations = Some([("quorate.dev/paused".to_owned(), "true".to_owned())].into());
    let mut edited = World::settled("db", 3);
    edited.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    edited.edited();
    let mut gone = World::settled("db", 3);
    gone.claims.clear();
    gone.pods.clear();
    gone.group.leader = None;
    let mut growing = World::settled("db", 3);
    growing.scale(5);
    growing.round();
    let table: Vec<(&str, World, &str, &str, &str)> = vec![
        ("just created", World::cluster("db"), "FFTFF", "Ready", "Bootstrapping"),
        ("one member, settled", World::settled("db", 1), "TTFFF", "Ready", "QuorumHealthy"),
        ("three members, settled", World::settled("db", 3), "TTFFF", "Available", "LeaderConfirmed"),
        ("growing", growing, "FTTFF", "Progressing", "StartingMember"),
        (
            "one of three cut off for 5 s",
            cut(World::settled("db", 3), &[1], 5),
            "FTFFF",
            "Ready",
            "MemberUnhealthy",
        ),
        (
            "one of three cut off for 2 min",
            cut(World::settled("db", 3), &[1], 120),
            "FTFTF",
            "Degraded",
            "MemberUnhealthy",
        ),
        // Their nodes are silent: whether they run is not known, so this is Unknown and not QuorumLost.
        (
            "two of three cut off",
            cut(World::settled("db", 3), &[1, 2], 5),
            "UUFUF",
            "Available",
            "MembersUnreachable",
        ),
        ("all volumes gone", gone, "FFFTT", "Available", "AllMembersLost"),
        ("paused", paused, "FTFFF", "Ready", "Paused"),
        ("template edited", edited, "FTTFF", "Ready", "RollingOut"),
        ("unschedulable for 90 s", stuck, "FFTTT", "Stalled", "Unschedulable"),
    ];
    for (state, world, expected, type_, why) in table {
        let plan = world.plan();
        assert_eq!(letters(&plan), expected, "{state}:\n{plan}");
        assert_eq!(reason(&plan, type_), why, "{state}:\n{plan}");
        for condition in &plan.status.conditions {
            assert_eq!(condition.observed_generation, world.cluster.metadata.generation, "{state}");
        }
    }
}

/// K32: the loss of the quorum is said only when it was seen twice, and its return is one event.
#[test]
fn a_lost_quorum_is_said_once_it_was_seen_twice_and_so_is_its_return() {
    let mut world = World::settled("db", 3);
    let mut events = Vec::new();
    for ordinal in [1, 2] {
        world.obstacles.insert(
            Ordinal(ordinal),
            Obstacle { kind: ObstacleKind::CrashLoop, message: "back-off".to_owned(), since: Now(world.now) },
        );
        world.delete_pod(ordinal);
    }
    for _ in 0..20 {
        events.extend(world.round().events);
    }
    assert_eq!(world.condition("Available").1, "QuorumLost");
    assert_eq!(world.status().health.as_deref(), Some("Unavailable"));
    assert_eq!(world.status().leader.as_deref(), Some("<none>"));
    assert_eq!(world.status().failure_tolerance, None);
    world.obstacles.clear();
    for _ in 0..20 {
        events.extend(world.round().events);
    }
    let count = |reason: &str| events.iter().filter(|event| event.reason == reason).count();
    assert_eq!((count("QuorumLost"), count("QuorumRestored")), (1, 1), "{events:#?}");
    assert_eq!(world.condition("Available").0, "True");
}

/// K50, operator.md, "What must be true", 14: a condition's time is that of its last flip.
#[test]
fn a_time_changes_only_with_its_status() {
    let mut world = World::settled("db", 3);
    let before = world.status().conditions;
    world.scale(5);
    world.run_until_ready();
    for condition in world.status().conditions {
        let old = before.iter().find(|it| it.type_ == condition.type_).expect("all five are always there");
        if ["Available", "Stalled", "Degraded"].contains(&condition.type_.as_str()) {
            assert_eq!(
                old.last_transition_time, condition.last_transition_time,
                "{} did not flip",
                condition.type_
            );
        }
        if condition.type_ == "Ready" {
            assert_ne!(old.last_transition_time, condition.last_transition_time, "Ready fell and rose");
        }
    }
}

/// operator.md, "What must be true", 37: an even number is allowed, and said.
#[test]
fn an_even_number_of_voters_is_said_with_its_tolerance() {
    let world = World::settled("db", 4);
    let (status, _, message) = world.condition("Ready");
    assert_eq!(status, "True");
    assert_eq!(
        message,
        "all 4 voters are healthy, tolerates 1 failure, the same as 3 voters would: an odd number is better"
    );
}

/// K51: a stuck start quotes the first obstacle and says what to do.
#[test]
fn a_stuck_start_says_why() {
    let mut world = World::cluster("db").replicas(3);
    world.storage.default_class = Some(false);
    world.obstacles.insert(
        Ordinal(0),
        Obstacle {
            kind: ObstacleKind::Unschedulable,
            message: "unbound claims".to_owned(),
            since: Now(world.now),
        },
    );
    for _ in 0..5 {
        world.round();
    }
    let (status, reason, message) = world.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "VolumePending"));
    assert_eq!(world.condition("Ready").1, "VolumePending", "the first thing people look at says it too");
    assert!(message.contains("the cluster has no default class"), "{message}");
    assert!(message.contains("mark a StorageClass as default"), "{message}");

    let mut world = World::cluster("db").replicas(3);
    world.refused.insert(Ordinal(0), "exceeded quota: pods".to_owned());
    world.round();
    world.round();
    let (status, reason, message) = world.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "CreationRefused"));
    assert!(message.contains("exceeded quota: pods"), "{message}");
}
