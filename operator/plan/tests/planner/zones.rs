//! Redundancy zones and upgrades by new members: who stands by is in its place, and counts where places count and not where
//! votes do (docs/decisions/0010).

use quorate_crds::UpdateStrategy;
use quorate_plan::raft_view::AutopilotSettings;
use quorate_plan::{Ensure, Ordinal, Plan, Step};

use crate::world::World;

/// Longer than the dead threshold of a default resource.
const DEAD_SECS: u64 = 601;

fn zoned(replicas: i32) -> World {
    let mut world = World::cluster("db");
    world.cluster.spec.autopilot.redundancy_zones = true;
    world = world.replicas(replicas);
    world.run_until_ready();
    world
}

fn voters(world: &World) -> Vec<String> {
    let all = world.group.servers.iter().filter(|(_, member)| member.is_voter);
    let mut names: Vec<String> =
        all.map(|(id, _)| id.rsplit_once('-').expect("a Raft ID").0.to_owned()).collect();
    names.sort();
    names
}

fn labelled(world: &World) -> Vec<String> {
    world.pods.values().filter(|pod| pod.voter_label).map(|pod| pod.name.clone()).collect()
}

/// Rounds until this holds; in each a majority of the voters is up.
fn until(world: &mut World, mut holds: impl FnMut(&World, &Plan) -> bool) {
    for _ in 0..400 {
        let plan = world.round();
        assert!(world.majority_up_without(None), "I2: no majority is up any more\n{plan}");
        if holds(world, &plan) {
            return;
        }
    }
    panic!("never came to be; the last plan:\n{}", world.plan());
}

/// A24, K50: six members over three zones are Ready with one voter in each; the budget counts the voters and nobody else.
#[test]
fn six_members_over_three_zones_are_ready_with_a_voter_in_each() {
    let mut world = zoned(6);
    assert_eq!(voters(&world), ["db-0", "db-1", "db-2"]);
    assert_eq!(labelled(&world), ["db-0", "db-1", "db-2"]);
    assert_eq!(world.children.budget_min_available, Some(2));
    let (_, _, message) = world.condition("Ready");
    assert_eq!(message, "all 3 voters are healthy, 3 stand by, tolerates 1 failure");
    let status = world.status();
    assert_eq!((status.voters.as_deref(), status.failure_tolerance), (Some("3/3"), Some(1)));
    // I7: settled, it is left alone.
    for _ in 0..5 {
        let plan = world.round();
        assert!(plan.step.is_none() && plan.ensures.is_empty(), "{plan}");
    }
}

/// A24: a voter fails, its stand-by votes; who is missing is said until it is back, and then it stands by.
#[test]
fn the_stand_by_of_a_failed_voter_votes_and_the_missing_one_is_named() {
    let mut world = zoned(6);
    world.cut.insert(Ordinal(1));
    until(&mut world, |world, _| voters(world) == ["db-0", "db-2", "db-4"] && world.now % 30 == 0);
    let (ready, reason, message) = world.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "MemberUnhealthy"), "{message}");
    assert!(message.starts_with("db-1 "), "{message}");
    assert!(world.status().summary.is_some_and(|summary| summary.contains("unhealthy: db-1")));
    assert_eq!(labelled(&world), ["db-0", "db-2", "db-4"]);
    world.cut.clear();
    until(&mut world, |world, _| world.is_ready());
    assert_eq!(voters(&world), ["db-0", "db-2", "db-4"]);
}

/// Rule 13: whoever stands by leaves before anybody who votes.
#[test]
fn scaling_in_takes_stand_bys_first() {
    let mut world = zoned(6);
    world.scale(3);
    until(&mut world, |world, _| world.is_ready() && world.group.servers.len() == 3);
    assert_eq!(voters(&world), ["db-0", "db-1", "db-2"]);
    assert!(world.changes.iter().all(|change| !change.starts_with("demote")), "{:?}", world.changes);
    world.scale(4);
    until(&mut world, |world, _| world.is_ready() && world.group.servers.len() == 4);
    assert_eq!(voters(&world), ["db-0", "db-1", "db-2"]);
}

/// A33, rules 14 and 19: stand-bys first, then voters, the leader last; a vote that moves meanwhile does no harm.
#[test]
fn a_rollout_reaches_stand_bys_and_voters() {
    let mut world = zoned(6);
    let old: Vec<_> = world.pods.values().map(|pod| pod.uid.clone()).collect();
    world.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    world.edited();
    let mut order = Vec::new();
    until(&mut world, |world, plan| {
        if let Some(Step::EvictPod { pod } | Step::DeletePod { pod }) =
            plan.step.as_ref().map(|planned| &planned.step)
        {
            order.push(pod.clone());
        }
        world.is_ready()
    });
    assert!(world.pods.values().all(|pod| !old.contains(&pod.uid)), "somebody runs the old template");
    assert_eq!(order.len(), 6, "each once: {order:?}");
    assert_eq!(order.last().map(String::as_str), Some("db-0"), "the leader is last: {order:?}");
    assert!(
        ["db-3", "db-4", "db-5"].iter().all(|name| order[..3].contains(&(*name).to_owned())),
        "{order:?}"
    );
    assert_eq!(voters(&world).len(), 3);
}

/// Rule 19: a voter does not go while a stand-by is away: its zone would have nobody.
#[test]
fn a_rollout_of_voters_waits_for_stand_bys() {
    let mut world = zoned(6);
    world.cut.insert(Ordinal(4));
    (0..15).for_each(|_| world.tick());
    world.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    world.edited();
    for _ in 0..60 {
        let plan = world.round();
        let goes = plan.step.as_ref().map(|planned| planned.step.to_string()).unwrap_or_default();
        assert!(!["db-0", "db-1", "db-2"].iter().any(|voter| goes.contains(voter)), "{plan}");
    }
}

/// With two voters a restart is an announced outage, whoever stands by (I2).
#[test]
fn two_zones_of_two_are_rolled_out_by_an_announced_outage() {
    let mut world = World::cluster("db");
    world.group.zones = 2;
    world.cluster.spec.autopilot.redundancy_zones = true;
    world = world.replicas(4);
    world.run_until_ready();
    assert_eq!(voters(&world), ["db-0", "db-1"]);
    assert_eq!(world.children.budget_min_available, None, "it would let nobody go, ever (K37)");
    world.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    world.edited();
    let old: Vec<_> = world.pods.values().map(|pod| pod.uid.clone()).collect();
    world.run_until_ready();
    for _ in 0..200 {
        world.round();
    }
    assert!(world.is_ready() && world.pods.values().all(|pod| !old.contains(&pod.uid)), "{}", world.plan());
}

/// Rule 15, K39: a stand-by that was silent for the whole threshold makes way for another; one an hour.
#[test]
fn silent_stand_bys_are_replaced_one_an_hour() {
    let mut world = zoned(6);
    world.cut.extend([Ordinal(4), Ordinal(5)]);
    for _ in 0..75 {
        world.round();
    }
    assert_eq!(world.condition("Degraded").0, "True", "over a minute (K50)");
    (0..DEAD_SECS).for_each(|_| world.tick());
    until(&mut world, |world, _| world.group.servers.keys().any(|id| id.starts_with("db-6")));
    for _ in 0..100 {
        world.round();
    }
    let ids: Vec<_> = world.group.servers.keys().cloned().collect();
    let stayed = ids.iter().filter(|id| id.starts_with("db-4") || id.starts_with("db-5")).count();
    assert_eq!((ids.len(), stayed), (6, 1), "{ids:?}");
    assert!(
        world.plan().blocked.iter().any(|entry| entry.message.contains("at most one is replaced an hour"))
    );
    world.now += 3_600;
    until(&mut world, |world, _| world.is_ready());
    assert_eq!(voters(&world), ["db-0", "db-1", "db-2"]);
}

/// K49: a voter that a person wants to go hands its vote to its stand-by; in the end there are as many members as asked for.
#[test]
fn a_voter_to_be_replaced_hands_its_vote_to_its_stand_by() {
    let mut world = zoned(6);
    let id = world.raft_id(1);
    let annotations = world.cluster.metadata.annotations.get_or_insert_default();
    annotations.insert("quorate.dev/replace".to_owned(), format!("db-1@{id}"));
    until(&mut world, |world, _| world.is_ready() && !world.group.servers.contains_key(&id));
    assert_eq!(world.group.servers.len(), 6);
    assert_eq!(voters(&world).len(), 3);
}

/// The leader is told what the resource says; versions move votes only where nobody is made newer in place.
#[test]
fn the_settings_of_zones_and_versions_are_those_of_the_resource() {
    let told = |edit: &dyn Fn(&mut World)| -> AutopilotSettings {
        let mut world = World::settled("db", 3);
        edit(&mut world);
        let plan = world.plan();
        let found = plan.ensures.iter().find_map(|ensure| match ensure {
            Ensure::SetAutopilot(settings) => Some(settings.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| world.group.settings.clone())
    };
    let off = told(&|_| {});
    assert_eq!((off.redundancy_zone_tag.as_str(), off.upgrade_version_tag.as_str()), ("", ""));
    let zones = told(&|world| world.cluster.spec.autopilot.redundancy_zones = true);
    assert_eq!(zones.redundancy_zone_tag, "topology.kubernetes.io/zone");
    let versions = |strategy| {
        told(&move |world: &mut World| {
            world.cluster.spec.autopilot.upgrade_version_from = Some("example.com/version".to_owned());
            world.cluster.spec.update.strategy = strategy;
        })
    };
    for (strategy, is_disabled) in [
        (UpdateStrategy::Automatic, true),
        (UpdateStrategy::Supervised, true),
        (UpdateStrategy::OnDelete, false),
    ] {
        let settings = versions(strategy);
        assert_eq!(settings.upgrade_version_tag, "example.com/version");
        assert_eq!(settings.disable_upgrade_migration, is_disabled, "{strategy:?}");
    }
}

/// A29: an upgrade by new members. With `OnDelete` nobody is taken down for a template; new members whose votes are held
/// back hold up nobody; when the votes have moved, those of the old template leave.
#[test]
fn new_members_take_over_and_the_old_ones_leave() {
    let mut world = World::settled("db", 3);
    let old: Vec<_> = world.pods.values().map(|pod| pod.uid.clone()).collect();
    world.cluster.spec.update.strategy = UpdateStrategy::OnDelete;
    world.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    world.scale(6);
    // As autopilot does while it awaits new voters.
    world.group.holds_newcomers = true;
    until(&mut world, |world, _| world.group.servers.len() == 6);
    assert_eq!(voters(&world), ["db-0", "db-1", "db-2"]);
    assert!(
        world.pods.values().filter(|pod| old.contains(&pod.uid)).count() == 3,
        "an old Pod was taken down"
    );
    for _ in 0..20 {
        world.round();
    }
    let (ready, reason, message) = world.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "RolloutPaused"), "{message}");
    assert!(message.contains("db-0, db-1, db-2") && message.contains("OnDelete"), "{message}");

    // The votes have moved, and leadership with them.
    let is_new = |id: &str| ["db-3", "db-4", "db-5"].iter().any(|name| id.starts_with(name));
    let held: Vec<String> = world.group.servers.keys().filter(|id| !is_new(id)).cloned().collect();
    for (id, member) in &mut world.group.servers {
        member.is_voter = is_new(id);
    }
    world.group.leader = world.group.servers.keys().find(|id| is_new(id)).cloned();
    (world.group.held, world.group.holds_newcomers) = (held.into_iter().collect(), false);
    world.scale(3);
    until(&mut world, |world, _| world.is_ready());
    assert_eq!(voters(&world), ["db-3", "db-4", "db-5"]);
    assert_eq!(world.group.servers.len(), 3);
}
