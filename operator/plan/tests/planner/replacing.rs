//! Members that have to go, where one rule meets another: what the simulation of the operator found (I8).

use quorate_crds::{RaftClusterStatus, RaftStatus};
use quorate_plan::observed::{Now, Obstacle, ObstacleKind};
use quorate_plan::record::MemberState;
use quorate_plan::{Ordinal, Plan, Step};

use crate::world::{Member, World};

const REPLACE: &str = "quorate.dev/replace";

fn ask(world: &mut World, ordinal: u32) -> String {
    let id = world.raft_id(ordinal);
    let annotations = world.cluster.metadata.annotations.get_or_insert_default();
    annotations.insert(REPLACE.to_owned(), format!("db-{ordinal}@{id}"));
    id
}

fn take_back(world: &mut World) {
    world.cluster.metadata.annotations = None;
}

/// Rounds until this holds.
fn until(world: &mut World, mut holds: impl FnMut(&World, &Plan) -> bool) {
    for _ in 0..400 {
        let plan = world.round();
        if holds(world, &plan) {
            return;
        }
    }
    panic!("never came to be; the last plan:\n{}", world.plan());
}

/// K49: the only voter leads, and nobody could take over from it before its replacement has joined.
#[test]
fn the_only_voter_is_replaced_when_a_person_asks() {
    let mut world = World::settled("db", 1);
    let old = ask(&mut world, 0);
    until(&mut world, |world, _| world.is_ready() && !world.group.servers.contains_key(&old));
    assert_eq!(world.group.servers.len(), 1);
}

/// K41: the same for one whose claim is being deleted.
#[test]
fn the_only_voter_is_replaced_when_its_claim_is_being_deleted() {
    let mut world = World::settled("db", 1);
    let old = world.raft_id(0);
    world.delete_claim_only(0);
    until(&mut world, |world, _| world.is_ready() && !world.group.servers.contains_key(&old));
    assert_eq!(world.group.servers.len(), 1);
}

/// P9, rules 15 and 19: leadership does not go back and forth between the one whose template is old and the one that is
/// to be replaced.
#[test]
fn a_rollout_hands_leadership_to_nobody_that_is_to_be_replaced() {
    let mut world = World::settled("db", 2);
    world.cluster.spec.sidecar.image = Some("quorate/sidecar:0.2.0".to_owned());
    world.edited();
    // The follower is through; the leader is next.
    let is_half_way = |world: &World, _: &Plan| {
        let pending = world.status().rollout.map(|rollout| rollout.pending).unwrap_or_default();
        pending.len() == 1 && world.pods.values().all(|pod| pod.ready && !pod.deleting)
    };
    until(&mut world, is_half_way);
    let leader = world.group.leader.clone().expect("somebody leads");
    let follower = u32::from(leader == world.raft_id(0));
    let old = ask(&mut world, follower);
    until(&mut world, |world, plan| {
        if let Some(Step::TransferLeadership { to, .. }) = plan.step.as_ref().map(|planned| &planned.step) {
            assert_ne!(*to, old, "leadership goes to the one that is to be replaced");
        }
        world.is_ready() && !world.group.servers.contains_key(&old)
    });
}

/// I8: one by a person's word, the other because its claim is being deleted, whichever leads and whichever was first.
#[test]
fn of_two_that_both_go_one_leads_while_the_other_is_replaced() {
    for (asked, is_asked_first) in [(0, true), (0, false), (1, true), (1, false)] {
        let mut world = World::settled("db", 2);
        let deleted = 1 - asked;
        let gone = [world.raft_id(asked), world.raft_id(deleted)];
        if is_asked_first {
            ask(&mut world, asked);
        } else {
            world.delete_claim_only(deleted);
        }
        until(&mut world, |world, _| world.claims.len() == 3);
        if is_asked_first {
            world.delete_claim_only(deleted);
        } else {
            ask(&mut world, asked);
        }
        let mut transfers = 0;
        until(&mut world, |world, plan| {
            let step = plan.step.as_ref().map(|planned| &planned.step);
            transfers += u32::from(matches!(step, Some(Step::TransferLeadership { .. })));
            assert!(transfers <= 4, "leadership goes to and fro");
            world.is_ready() && !gone.iter().any(|id| world.group.servers.contains_key(id))
        });
    }
}

/// I8: one of three is to leave because two are asked for, and before it has left another one will not come back. The first cannot
/// leave before the other is replaced, so that one does not wait for it.
#[test]
fn one_that_will_not_come_back_is_replaced_before_one_that_cannot_leave_without_it() {
    let mut world = World::settled("db", 3);
    world.scale(2);
    until(&mut world, |world, _| world.claims[&Ordinal(2)].record.state == Some(MemberState::Leaving));
    let gone = world.raft_id(1);
    world.delete_claim_only(1);
    world.exit(1, 65, "CorruptData");
    until(&mut world, |world, _| world.is_ready());
    assert!(!world.group.servers.contains_key(&gone));
    assert_eq!(world.group.servers.len(), 2);
}

/// K15: a replacement whose old one stays never gets a vote. With more replicas asked for meanwhile it is no member too
/// many, and would wait for ever.
#[test]
fn a_replacement_that_nobody_needs_any_more_leaves_and_another_member_joins() {
    let mut world = World::settled("db", 2);
    ask(&mut world, 1);
    until(&mut world, |world, _| world.group.servers.len() == 3);
    take_back(&mut world);
    world.scale(3);
    world.run_until_ready();
    assert!(world.group.servers.values().all(|member| member.is_voter));
    assert_eq!(world.group.servers.len(), 3);
}

/// K41, I10: a claim that is deleted before its member was added stays while its Pod runs; both go, and another joins.
#[test]
fn a_claim_deleted_before_its_member_was_added_goes_with_its_pod() {
    let mut world = World::settled("db", 1);
    world.scale(3);
    until(&mut world, |world, _| world.pods.contains_key(&Ordinal(1)));
    let id = world.raft_id(1);
    world.delete_claim_only(1);
    world.run_until_ready();
    assert!(!world.group.servers.contains_key(&id));
    assert_eq!(world.group.servers.len(), 3);
}

/// K49: a machine is said to be switched off. Kubernetes takes its Pod away, and the next one finds no node: where its volume is
/// says as much, and its member's vote goes to another at once, not when it counts as dead.
#[test]
fn a_member_whose_volume_is_on_a_node_out_of_service_is_replaced_though_its_pod_is_on_none() {
    let mut world = World::settled("db", 3);
    let id = world.raft_id(1);
    world.cut.extend([Ordinal(1)]);
    world.pods.get_mut(&Ordinal(1)).expect("settled").node = None;
    world.claims.get_mut(&Ordinal(1)).expect("settled").is_out_of_service = true;
    let begun = world.now;
    until(&mut world, |world, _| !world.group.servers.contains_key(&id));
    assert!(world.now - begun < 300, "it took {} s", world.now - begun);
    world.run_until_ready();
    assert_eq!(world.group.servers.len(), 3);
}

/// K49: a newcomer whose volume no node can ever mount is no member yet; it starts over.
#[test]
fn a_newcomer_whose_volume_no_node_can_mount_starts_over() {
    let mut world = World::settled("db", 1);
    world.scale(3);
    until(&mut world, |world, _| world.claims.contains_key(&Ordinal(1)));
    let id = world.raft_id(1);
    let since = Now(world.now);
    let obstacle =
        Obstacle { kind: ObstacleKind::Unschedulable, message: "0 nodes are available".to_owned(), since };
    world.obstacles.insert(Ordinal(1), obstacle);
    world.claims.get_mut(&Ordinal(1)).expect("just made").is_stranded = true;
    let begun = world.now;
    until(&mut world, |world, _| world.claims.len() == 3);
    assert!(world.now - begun >= 300, "a volume is given up after {} s", world.now - begun);
    world.run_until_ready();
    assert!(!world.group.servers.contains_key(&id));
    assert_eq!(world.group.servers.len(), 3);
}

/// Two of three are lost for good, and a person says that this one is the cluster (K18).
fn recover(world: &mut World, survivor: u32, lost: [u32; 2]) {
    let ids = lost.map(|ordinal| world.raft_id(ordinal));
    recover_saying(world, survivor, lost.map(Ordinal), &format!(" lost={}", ids.join(",")));
}

/// The same, with these words after the term.
fn recover_saying(world: &mut World, survivor: u32, lost: [Ordinal; 2], words: &str) {
    let raft = RaftStatus { term: i64::try_from(world.group.term).ok(), ..RaftStatus::default() };
    world.cluster.status = Some(RaftClusterStatus { raft: Some(raft), ..world.status() });
    world.cut.extend(lost);
    for _ in 0..5 {
        world.round();
    }
    let text = format!("db-{survivor}@{}{words}", world.group.term);
    world.cluster.metadata.annotations = Some([("quorate.dev/recover".to_owned(), text)].into());
    until(world, |world, _| world.group.recovery_epoch == 1 && world.group.leader.is_some());
}

/// K18, K49: the machines of two of three are said to be switched off, and their Pods are on no node any more: where their volumes
/// are proves the loss, before the recovery and while it stops them. Nobody has to name them.
#[test]
fn a_majority_whose_volumes_are_on_nodes_out_of_service_is_recovered_without_names() {
    let mut world = World::settled("db", 3);
    let lost = [Ordinal(0), Ordinal(2)];
    for ordinal in lost {
        world.pods.get_mut(&ordinal).expect("settled").node = None;
        world.claims.get_mut(&ordinal).expect("settled").is_out_of_service = true;
    }
    recover_saying(&mut world, 1, lost, "");
    take_back(&mut world);
    world.cut.clear();
    world.run_until_ready();
    assert_eq!(world.group.servers.len(), 3);
}

/// K18: once the cluster lives on, the survivor of a recovery is a member like any other, and may be lost as one.
#[test]
fn the_survivor_of_a_recovery_may_be_lost_later() {
    let mut world = World::settled("db", 3);
    let survivor = world.raft_id(1);
    recover(&mut world, 1, [0, 2]);
    take_back(&mut world);
    world.cut.clear();
    until(&mut world, |world, _| world.is_ready() && world.group.servers.len() == 3);
    world.delete_claim_and_pod(1);
    until(&mut world, |world, _| world.is_ready() && !world.group.servers.contains_key(&survivor));
    assert_eq!(world.group.servers.len(), 3);
}

/// K18: its directory is emptied later, under a Pod that was made before the recovery: the new one is of the old epoch. That is no
/// recovery to be gone on with, which would give up everybody who joined since.
#[test]
fn the_survivor_of_a_recovery_may_lose_its_directory_later() {
    let mut world = World::settled("db", 3);
    recover(&mut world, 1, [0, 2]);
    take_back(&mut world);
    world.cut.clear();
    until(&mut world, |world, _| world.is_ready() && world.group.servers.len() == 3);
    let survivor = world.raft_id(1);
    let joined: Vec<String> = world.group.servers.keys().filter(|id| **id != survivor).cloned().collect();
    world.empty_directory(1);
    let uid = world.claims[&Ordinal(1)].uid.clone();
    world.disks.get_mut(&uid).expect("settled").recovery_epoch = 0;
    for _ in 0..20 {
        world.round();
    }
    assert!(joined.iter().all(|id| world.group.servers.contains_key(id)), "{:?}", world.group.servers.keys());
    assert!(
        world.claims.values().filter(|claim| claim.record.is_live()).count() >= 3,
        "somebody was given up"
    );
    world.run_until_ready();
}

/// K18: the one that holds the most may be one that was to leave. It is the cluster then, and stays.
#[test]
fn a_member_that_was_leaving_may_be_the_survivor() {
    let mut world = World::settled("db", 3);
    world.scale(1);
    let leaving = |world: &World| {
        let mut claims = world.claims.iter();
        claims
            .find(|(_, claim)| claim.record.state == Some(MemberState::Leaving))
            .map(|(ordinal, _)| ordinal.0)
    };
    until(&mut world, |world, _| leaving(world).is_some());
    let survivor = leaving(&world).expect("just seen");
    let others: Vec<u32> = (0..3).filter(|ordinal| *ordinal != survivor).collect();
    world.scale(3);
    recover(&mut world, survivor, [others[0], others[1]]);
    take_back(&mut world);
    world.cut.clear();
    let id = world.raft_id(survivor);
    world.run_until_ready();
    assert!(world.group.servers.contains_key(&id), "{:?}", world.group.servers.keys());
    assert_eq!(world.group.servers.len(), 3);
}

/// I10, rules 13 and 17: who is marked to leave is not added in the same round: another operator, or the next round, would
/// delete its claim under its ID.
#[test]
fn a_member_that_is_marked_to_leave_is_not_added() {
    let mut world = World::settled("db", 1);
    world.scale(3);
    let adds = |plan: &Plan| {
        plan.step.as_ref().is_some_and(|planned| matches!(planned.step, Step::AddNonVoter { .. }))
    };
    for _ in 0..400 {
        if adds(&world.plan()) {
            break;
        }
        world.round();
    }
    assert!(adds(&world.plan()), "{}", world.plan());
    world.scale(1);
    assert!(!adds(&world.plan()), "{}", world.plan());
}

/// K18, K41: so may one whose claim is being deleted; it is replaced once the cluster lives on.
#[test]
fn a_member_whose_claim_is_being_deleted_may_be_the_survivor() {
    let mut world = World::settled("db", 3);
    world.delete_claim_only(1);
    let id = world.raft_id(1);
    recover(&mut world, 1, [0, 2]);
    take_back(&mut world);
    world.cut.clear();
    until(&mut world, |world, _| world.is_ready() && !world.group.servers.contains_key(&id));
    assert_eq!(world.group.servers.len(), 3);
}

/// K15, K34: a replacement was marked to leave because the word was taken back, and autopilot swapped the two on the word of
/// a moment before. The only voter is one that leaves: another has to join first.
#[test]
fn the_only_voter_that_is_to_leave_waits_for_another_to_join() {
    let mut world = World::settled("db", 1);
    let old = ask(&mut world, 0);
    until(&mut world, |world, _| world.group.servers.len() == 2);
    let newcomer = world.raft_id(1);
    take_back(&mut world);
    until(&mut world, |world, _| world.claims[&Ordinal(1)].record.state == Some(MemberState::Leaving));
    let server = world.group.servers.get(&newcomer).expect("not removed yet").clone();
    world.group.servers = [(newcomer.clone(), Member { is_voter: true, ..server })].into();
    world.group.leader = None;
    world.group.index += 1;
    until(&mut world, |world, _| world.is_ready() && !world.group.servers.contains_key(&newcomer));
    assert_eq!(world.group.servers.len(), 1);
    assert!(!world.group.servers.contains_key(&old));
}
