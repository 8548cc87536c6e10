//! Every small state, not a sample: up to three slots, each in every combination of claim, Pod, health and vote,
//! one to four replicas, with and without a view, a change in flight, each possible leader (I1-I4, I6, I9).
//!
//! Most of these states are unreachable. The invariants hold all the same: whatever led there, the next step does
//! no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_crds::{Founder, RaftClusterStatus};
use quorate_plan::children::Rendering;
use quorate_plan::children::names::ordinal_of_pod;
use quorate_plan::observed::{Certificate, Child, Claim, ContainerState, Observed, Pod, PodPhase, Slot};
use quorate_plan::plan::Check;
use quorate_plan::raft_view::{MemberAnswer, RaftView, ServerView, quorum};
use quorate_plan::record::{ClaimRecord, LeavesBecause, MemberState, raft_id};
use quorate_plan::{Ensure, Now, Ordinal, Plan, Step, plan};

use crate::world::{START, World};

/// What a slot may look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Small {
    /// None = no claim.
    pub(crate) claim: Option<MemberState>,
    pub(crate) claim_deleting: bool,
    pub(crate) pod: bool,
    /// That Pod is of an older rendering.
    pub(crate) outdated: bool,
    pub(crate) server: Server,
}

/// What the configuration holds of a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Server {
    Absent,
    NonVoter,
    HealthyVoter,
    UnhealthyVoter,
}

const STATES: [Option<MemberState>; 5] = [
    None,
    Some(MemberState::Joining),
    Some(MemberState::Member),
    Some(MemberState::Leaving),
    Some(MemberState::Retired),
];

const SERVERS: [Server; 4] = [Server::Absent, Server::NonVoter, Server::HealthyVoter, Server::UnhealthyVoter];

pub(crate) fn smalls() -> Vec<Small> {
    let mut all = Vec::new();
    for claim in STATES {
        for claim_deleting in [false, true] {
            for (pod, outdated) in [(false, false), (true, false), (true, true)] {
                for server in SERVERS {
                    if claim.is_some() || !claim_deleting {
                        all.push(Small { claim, claim_deleting, pod, outdated, server });
                    }
                }
            }
        }
    }
    all
}

/// Builds the observation of a small state.
pub(crate) fn observe(slots: &[Small], replicas: i32, leader: Option<usize>, in_flight: bool) -> Observed {
    let world = World::cluster("db").replicas(replicas);
    let mut observed = world.look();
    observed.is_first_round = false;
    observed.cluster.status = Some(RaftClusterStatus {
        cluster_id: Some("5f".repeat(16)),
        founder: Some(Founder { bootstrapped: true, ..Founder::default() }),
        ..RaftClusterStatus::default()
    });
    let mut servers = Vec::new();
    for (number, small) in (0_u32..).zip(slots) {
        let ordinal = Ordinal(number);
        let uid = format!("{number:08x}-0000-4000-8000-000000000000");
        let id = raft_id(&format!("db-{number}"), &uid);
        let certificate =
            Certificate { owner: Child::Ours, raft_id: Some(id.clone()), ..Certificate::default() };
        observed.children.certificates.insert(ordinal, certificate);
        let current = Rendering::of(&observed).template_hash();
        observed.slots.insert(ordinal, slot(number, *small, &uid, &id, &current));
        if let Some(server) = server(&id, small.server) {
            servers.push(server);
        }
    }
    observed.raft = leader.and_then(|leader| {
        let leader =
            servers.get(leader).filter(|server| server.is_voter && server.is_healthy)?.raft_id.clone();
        let voters = servers.iter().filter(|server| server.is_voter).count();
        let healthy = servers.iter().filter(|server| server.is_voter && server.is_healthy).count();
        // A leader that answers has a majority: without one there is no view to plan with.
        (healthy >= quorum(voters)).then(|| RaftView {
            leader,
            term: 3,
            configuration_index: 41,
            change_in_flight: in_flight,
            committed: servers.iter().map(|server| server.raft_id.clone()).collect(),
            servers: servers.clone(),
            ..RaftView::default()
        })
    });
    let leader = observed.raft.as_ref().map(|view| view.leader.clone());
    for answer in observed.slots.values_mut().filter_map(|slot| slot.answer.as_mut()) {
        answer.leader.clone_from(&leader);
    }
    observed
}

fn slot(number: u32, small: Small, uid: &str, id: &str, current: &str) -> Slot {
    let claim = small.claim.map(|state| Claim {
        name: format!("raft-db-{number}"),
        uid: uid.to_owned(),
        resource_version: "7".to_owned(),
        bound: true,
        deleting: small.claim_deleting,
        record: ClaimRecord {
            cluster_id: Some("5f".repeat(16)),
            raft_id: Some(id.to_owned()),
            incarnation: Some("0a".repeat(16)),
            state: Some(state),
            leaves_because: (state == MemberState::Leaving).then_some(LeavesBecause::ScaleIn),
            ..ClaimRecord::default()
        },
        ..Claim::default()
    });
    let pod = small.pod.then(|| Pod {
        name: format!("db-{number}"),
        uid: format!("pod-{number}"),
        resource_version: "8".to_owned(),
        phase: PodPhase::Running,
        ready: true,
        controller_uid: Some("c0ffee00-0000-4000-8000-000000000001".to_owned()),
        claim_uid: Some(uid.to_owned()),
        raft_id: Some(id.to_owned()),
        template_hash: Some(if small.outdated { "old" } else { current }.to_owned()),
        voter_label: small.server == Server::HealthyVoter && small.claim == Some(MemberState::Member),
        sidecar: ContainerState::Running { since: Now(START) },
        sidecar_ran: true,
        ..Pod::default()
    });
    let is_up = small.pod && matches!(small.server, Server::HealthyVoter | Server::NonVoter);
    let answer = is_up.then(|| MemberAnswer {
        raft_id: id.to_owned(),
        incarnation: "0a".repeat(16),
        cluster_id: Some("5f".repeat(16)),
        ..MemberAnswer::default()
    });
    Slot { claim, pod, answer, ..Slot::default() }
}

fn server(id: &str, server: Server) -> Option<ServerView> {
    let (is_voter, is_healthy) = match server {
        Server::Absent => return None,
        Server::NonVoter => (false, true),
        Server::HealthyVoter => (true, true),
        Server::UnhealthyVoter => (true, false),
    };
    Some(ServerView {
        raft_id: id.to_owned(),
        incarnation: "0a".repeat(16),
        is_voter,
        is_healthy,
        unhealthy_because: if is_healthy { String::new() } else { "not heard for 40 s".to_owned() },
        // A generous threshold leaves one healthy that was not heard for a while: so rule 10 need not wait.
        last_contact: Some(Duration::from_secs(if is_healthy { 12 } else { 40 })),
        ..ServerView::default()
    })
}

/// What must hold of any plan, whatever it was made from.
pub(crate) fn check(observed: &Observed, plan: &Plan) {
    let Some(planned) = &plan.step else {
        return waits_have_reasons(observed, plan);
    };
    let view = observed.raft.as_ref();
    let holds = |id: &str| view.is_some_and(|view| view.holds(id));
    match &planned.step {
        Step::Remove { raft_id, .. } => {
            let view = view.expect("I3: a membership step needs this round's view");
            assert!(!view.change_in_flight, "I3: a second change");
            has_index(planned.checks.as_slice(), view);
            let left: Vec<_> = view.voters().filter(|server| server.raft_id != *raft_id).collect();
            let healthy = left.iter().filter(|server| server.is_healthy).count();
            let takes_a_vote = view.server(raft_id).is_some_and(|server| server.is_voter);
            assert!(
                !takes_a_vote || (healthy >= quorum(left.len()) && !left.is_empty()),
                "I2: {raft_id} goes"
            );
            assert_ne!(view.leader, *raft_id, "a leader hands over before it is removed");
        }
        Step::AddNonVoter { .. } | Step::TransferLeadership { .. } => {
            let view = view.expect("I3: a membership step needs this round's view");
            assert!(!view.change_in_flight, "I3: a second change");
            has_index(planned.checks.as_slice(), view);
        }
        Step::Recover { .. } => panic!("K18: nobody asked for a recovery"),
        Step::EvictPod { pod } => {
            let view = view.expect("no Pod is taken down without a view");
            has_index(planned.checks.as_slice(), view);
            let stays = |check: &Check| matches!(check, Check::ClaimStays { .. });
            assert!(planned.checks.iter().any(stays), "K33: the claim is looked at live");
            let slot =
                observed.slots.values().find(|slot| slot.pod.as_ref().is_some_and(|it| it.name == *pod));
            assert!(
                !slot.and_then(|slot| slot.claim.as_ref()).is_some_and(|claim| claim.deleting),
                "K41: {pod} would not come back"
            );
            let id = raft_id_of(observed, pod);
            let voters = view.voter_count();
            let healthy = view.voters().filter(|server| server.raft_id != id && server.is_healthy).count();
            let is_voter = view.server(&id).is_some_and(|server| server.is_voter);
            assert!(!is_voter || voters <= 2 || healthy >= quorum(voters), "I2: {id} is restarted");
            assert!(
                !is_voter || voters == 1 || view.leader != id,
                "a leader hands over before it is restarted"
            );
        }
        Step::DeletePod { pod } => {
            assert!(
                planned.checks.iter().any(|check| matches!(check, Check::Pod { .. })),
                "a delete names its Pod"
            );
            let id = raft_id_of(observed, pod);
            // Every Pod of these states runs, so it may go only for good (I4).
            assert!(view.is_some(), "no Pod is taken down without a view");
            assert!(!holds(&id), "I4: Pod {pod} goes while {id} is in the configuration");
        }
        Step::DeleteClaim { claim } => {
            let slot =
                observed.slots.values().find(|slot| slot.claim.as_ref().is_some_and(|it| it.name == *claim));
            let record = slot.and_then(|slot| Some(slot.claim.as_ref()?.record.clone())).unwrap_or_default();
            assert!(!holds(&record.raft_id.unwrap_or_default()), "I4: claim {claim} goes before its ID");
            assert_eq!(record.leaves_because, Some(LeavesBecause::ScaleIn), "only scale-in deletes a claim");
        }
        Step::Bootstrap { .. } => panic!("I6: a cluster that began is begun again"),
    }
    assert!(!planned.why.rule.is_empty());
    assert!(!planned.why.member.is_empty());
    assert!(!planned.why.text.is_empty());
}

fn raft_id_of(observed: &Observed, pod: &str) -> String {
    let slot = observed.slots.values().find(|slot| slot.pod.as_ref().is_some_and(|it| it.name == pod));
    slot.and_then(|slot| slot.pod.as_ref()?.raft_id.clone()).unwrap_or_default()
}

fn has_index(checks: &[Check], view: &RaftView) {
    let expected = Check::Configuration {
        index: view.configuration_index,
        leader: view.leader.clone(),
        term: view.term,
    };
    assert!(checks.contains(&expected), "I3: {checks:?} lack the index the step was decided on");
}

/// I9: what is not Ready says why, by rule and member.
fn waits_have_reasons(observed: &Observed, plan: &Plan) {
    let ready = plan.status.conditions.iter().find(|it| it.type_ == "Ready").expect("Ready is always set");
    assert!(!ready.reason.is_empty());
    assert!(!ready.message.is_empty(), "{} has no message", ready.reason);
    for entry in &plan.blocked {
        assert!(!entry.rule.is_empty());
        assert!(!entry.member.is_empty());
        assert!(!entry.message.is_empty());
    }
    if ready.status == "True" {
        let view = observed.raft.as_ref().expect("Ready needs a view");
        assert_eq!(view.voter_count(), usize::try_from(observed.cluster.spec.replicas).unwrap_or(0));
        assert_eq!(view.healthy_voter_count(), view.voter_count());
    }
}

/// A claim is created only in a slot that has neither claim nor Pod, a Pod only for a claim that stays (K35).
pub(crate) fn creations(observed: &Observed, plan: &Plan) {
    let mut seen = BTreeSet::new();
    for ensure in &plan.ensures {
        match ensure {
            Ensure::CreateClaim(claim) => {
                let name = claim.metadata.name.clone().unwrap_or_default();
                let is_taken =
                    observed.slots.values().any(|slot| slot.claim.as_ref().is_some_and(|it| it.name == name));
                assert!(!is_taken, "{name} exists");
                assert!(seen.insert(name), "two claims at once");
            }
            Ensure::CreatePod(pod) => {
                let name = pod.metadata.name.clone().unwrap_or_default();
                let ordinal = ordinal_of_pod("db", &name).expect("a Pod of this cluster");
                let slot = observed.slots.get(&ordinal).expect("a Pod is made for a slot that has a claim");
                assert!(slot.pod.is_none(), "{name} exists");
                let claim = slot.claim.as_ref().expect("a Pod is made for a slot that has a claim");
                assert!(claim.record.is_live(), "{name} is made for a {:?} claim", claim.record.state);
                assert!(!claim.deleting, "{name} would keep a claim that is being deleted for ever");
            }
            _ => {}
        }
    }
    assert!(seen.len() <= 1, "one unfinished member at a time");
}

/// I1-I4, I6, I9 over every pair of slots, beside a third that is a healthy member.
#[test]
fn every_small_state_gives_a_plan_that_does_no_harm() {
    let smalls = smalls();
    let third = Small {
        claim: Some(MemberState::Member),
        claim_deleting: false,
        pod: true,
        outdated: false,
        server: Server::HealthyVoter,
    };
    let (mut states, mut steps) = (0_u32, 0_u32);
    for first in &smalls {
        for second in &smalls {
            for replicas in 1..=4 {
                for leader in [None, Some(0), Some(1), Some(2)] {
                    for in_flight in [false, true] {
                        let observed = observe(&[*first, *second, third], replicas, leader, in_flight);
                        let plan = plan(&observed, Now(START));
                        check(&observed, &plan);
                        creations(&observed, &plan);
                        states += 1;
                        steps += u32::from(plan.step.is_some());
                    }
                }
            }
        }
    }
    // The states are not all quiet ones.
    assert!(steps > states / 50, "{steps} steps in {states} states");
}
