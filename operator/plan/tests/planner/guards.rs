//! One test for each guard that no story shows: what holds a step back, and what happens without it.

use quorate_plan::children::Rendering;
use quorate_plan::observed::{Child, PodPhase};
use quorate_plan::raft_view::{Intent, quorum};
use quorate_plan::{Ensure, Ordinal, Plan, Step};

use crate::world::World;

/// Longer than any wait of rule E2.
const LONG_SECS: u64 = 35;

fn rule(plan: &Plan) -> Option<&'static str> {
    plan.step.as_ref().map(|planned| planned.why.rule)
}

fn edit(world: &mut World) {
    world.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    world.edited();
}

/// Rule 0, K35: a Pod that was made for another claim and never ran holds its slot up for ever.
#[test]
fn a_pod_that_was_made_for_another_claim_goes() {
    let mut world = World::settled("db", 3);
    let pod = world.pods.get_mut(&Ordinal(1)).expect("settled");
    pod.claim_uid = Some("ffffffff-0000-4000-8000-000000000000".to_owned());
    (pod.phase, pod.ready, pod.sidecar_ran) = (PodPhase::Pending, false, false);
    let plan = world.plan();
    assert_eq!(rule(&plan), Some("0"), "{plan}");
    world.run_until_ready();
}

/// Rule E1: a Pod that a kubelet ended is made anew, on the same claim and under the same Raft ID.
#[test]
fn a_pod_that_has_ended_is_made_anew() {
    let mut world = World::settled("db", 3);
    let (uid, id) = (world.pods[&Ordinal(1)].uid.clone(), world.raft_id(1));
    world.exit(1, 137, "Evicted");
    world.pods.get_mut(&Ordinal(1)).expect("settled").phase = PodPhase::Failed;
    world.run_until_ready();
    for _ in 0..20 {
        world.round();
    }
    assert_ne!(world.pods[&Ordinal(1)].uid, uid);
    assert_eq!(world.pods[&Ordinal(1)].raft_id, Some(id));
}

/// I7: a refusal is remembered for minutes by the operator that met it. Another one made the Pod since: what is ready lacks nothing,
/// and the two agree on status.
#[test]
fn a_refusal_says_nothing_of_a_pod_that_is_ready() {
    let mut world = World::settled("db", 3);
    world.refused.insert(Ordinal(1), "exceeded quota: pods".to_owned());
    let plan = world.plan();
    assert!(plan.blocked.is_empty(), "{plan}");
    world.pods.get_mut(&Ordinal(1)).expect("settled").ready = false;
    assert!(world.plan().blocked.iter().any(|entry| entry.rule == "E1"), "{}", world.plan());
}

/// Rule E2: where the current template fails as well, another Pod of it would change nothing.
#[test]
fn a_pod_is_not_replaced_by_a_template_that_fails_elsewhere() {
    let mut world = World::settled("db", 3);
    edit(&mut world);
    world.exit(1, 1, "Crash");
    world.exit(2, 1, "Crash");
    let current = Rendering::of(&world.look()).template_hash();
    world.pods.get_mut(&Ordinal(2)).expect("settled").template_hash = Some(current);
    (0..LONG_SECS).for_each(|_| world.tick());
    let plan = world.plan();
    assert_eq!(rule(&plan), None, "{plan}");
    assert!(plan.blocked.iter().any(|entry| entry.rule == "E2"), "{plan}");
}

/// Rule E2: who was just heard runs, whatever its kubelet says.
#[test]
fn a_pod_that_a_leader_hears_is_not_taken_for_one_that_does_not_start() {
    let mut world = World::settled("db", 3);
    edit(&mut world);
    world.exit(1, 1, "Crash");
    let id = world.raft_id(1);
    for _ in 0..LONG_SECS {
        world.tick();
        let now = world.now;
        world.group.servers.get_mut(&id).expect("a server").heard = Some(now);
    }
    assert_ne!(rule(&world.plan()), Some("E2"), "{}", world.plan());
}

/// I2: while one of three is cut off, nobody else goes for a new template.
#[test]
fn nobody_is_restarted_while_another_voter_is_away() {
    let mut world = World::settled("db", 3);
    world.cut.insert(Ordinal(2));
    (0..5).for_each(|_| world.tick());
    edit(&mut world);
    for _ in 0..40 {
        let plan = world.round();
        let goes = plan.step.as_ref().map(|planned| &planned.step);
        assert!(!matches!(goes, Some(Step::EvictPod { .. } | Step::DeletePod { .. })), "{plan}");
    }
}

/// Rule 19: an application that does not start stops the rollout at the first member.
#[test]
fn a_rollout_waits_for_the_application_of_the_last_member() {
    let mut world = World::settled("db", 3);
    edit(&mut world);
    world.unready.extend([Ordinal(0), Ordinal(1), Ordinal(2)]);
    let old: Vec<_> = world.pods.values().map(|pod| pod.uid.clone()).collect();
    for _ in 0..120 {
        world.round();
    }
    let left = world.pods.values().filter(|pod| old.contains(&pod.uid)).count();
    assert_eq!(left, 2, "one member runs the template that does not start, and no other");
}

/// K39: the second broken member within an hour waits.
#[test]
fn a_second_broken_member_waits_for_an_hour() {
    let mut world = World::settled("db", 3);
    let (first, second) = (world.raft_id(1), world.raft_id(2));
    world.exit(1, 65, "CorruptData");
    (0..15).for_each(|_| world.tick());
    for _ in 0..400 {
        if world.is_ready() && !world.group.servers.contains_key(&first) {
            break;
        }
        world.round();
    }
    assert!(!world.group.servers.contains_key(&first));
    world.exit(2, 65, "CorruptData");
    for _ in 0..120 {
        world.round();
    }
    assert!(world.group.servers.contains_key(&second), "two members were replaced within an hour");
}

/// K37: what the budget counts is raised before a newcomer is labelled, and a voter is unlabelled before it is removed.
#[test]
fn the_budget_counts_a_voter_before_it_votes_and_until_it_leaves() {
    let mut world = World::cluster("db");
    for size in [1, 3, 5, 3, 1] {
        world.scale(size);
        for _ in 0..200 {
            let plan = world.plan();
            labels_follow_the_budget(&world, &plan);
            if let Some(Step::Remove { raft_id, .. }) = plan.step.as_ref().map(|planned| &planned.step) {
                let pod = world.pods.values().find(|pod| pod.raft_id.as_ref() == Some(raft_id));
                assert!(pod.is_none_or(|pod| !pod.voter_label), "{raft_id} is removed and still counted");
            }
            world.round();
        }
        assert!(world.is_ready(), "{}", world.plan());
    }
}

fn labels_follow_the_budget(world: &World, plan: &Plan) {
    let Some(kept) = world.children.budget_min_available else { return };
    let before: Vec<&str> =
        world.pods.values().filter(|pod| pod.voter_label).map(|pod| pod.name.as_str()).collect();
    for ensure in &plan.ensures {
        if let Ensure::LabelPod { pod, labels, .. } = ensure
            && labels.contains_key("quorate.dev/voter")
            && !before.contains(&pod.as_str())
        {
            let due = i32::try_from(quorum(before.len() + 1)).expect("small");
            assert!(kept >= due, "{pod} is counted while the budget keeps {kept}:\n{plan}");
        }
    }
}

/// K15: one replacement at a time, whatever there is to replace.
#[test]
fn one_replacement_joins_at_a_time() {
    let mut world = World::settled("db", 3);
    let asked = format!("db-1@{}", world.raft_id(1));
    world.cluster.metadata.annotations = Some([("quorate.dev/replace".to_owned(), asked)].into());
    world.delete_claim_only(2);
    for _ in 0..200 {
        world.round();
        let joining = world.claims.iter().filter(|(ordinal, claim)| {
            let id = world.raft_id(ordinal.0);
            let is_replacement = matches!(claim.record.intent, Intent::ReplacementFor { .. });
            is_replacement && world.group.servers.get(&id).is_none_or(|member| !member.is_voter)
        });
        let live = joining.filter(|(_, claim)| claim.record.is_wanted()).count();
        assert!(live <= 1, "{live} replacements at once");
    }
    assert!(world.is_ready(), "{}", world.plan());
}

/// K45: what something else made stops everything.
#[test]
fn what_something_else_made_is_left_alone() {
    let mut world = World::settled("db", 3);
    world.children.members_service = Child::Foreign;
    world.scale(5);
    let plan = world.plan();
    assert!(plan.step.is_none() && plan.ensures.is_empty(), "{plan}");
    world.round();
    assert_eq!(world.condition("Stalled").1, "NameConflict");
}

/// K45: a name that only a wish of the spec needs is anybody's until then.
#[test]
fn a_name_that_is_not_needed_is_anybodys() {
    let mut world = World::settled("db", 1);
    world.children.network_policy = Child::Foreign;
    world.children.published_authority.owner = Child::Foreign;
    let is_conflict = |world: &World| world.plan().to_string().contains("NameConflict");
    assert!(!is_conflict(&world), "{}", world.plan());
    world.cluster.spec.network_policy.create = true;
    assert!(is_conflict(&world), "{}", world.plan());
    world.cluster.spec.network_policy.create = false;
    world.cluster.spec.client_access.scope = quorate_crds::ClientScope::Cluster;
    assert!(is_conflict(&world), "{}", world.plan());
}
