//! What a round reads of the small world.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_plan::observed::{Node, Observed, Slot};
use quorate_plan::raft_view::{MemberAnswer, RaftView, ServerView, quorum};
use quorate_plan::{Now, Ordinal};

use super::World;

pub(super) fn at(world: &World) -> Observed {
    let ordinals: BTreeSet<Ordinal> =
        world.claims.keys().chain(world.pods.keys()).chain(world.refused.keys()).copied().collect();
    let mut children = world.children.clone();
    children.certificates.clone_from(&world.certificates);
    for certificate in children.certificates.values_mut() {
        // What trusts the authorities of before is to be written anew.
        certificate.renewal_due |= certificate.content != children.authority.resource_version;
    }
    Observed {
        cluster: world.cluster.clone(),
        slots: ordinals.into_iter().map(|ordinal| (ordinal, slot(world, ordinal))).collect(),
        raft: view(world),
        quorum_missing_before: world.quorum_missing_before,
        leader_heard: None,
        unpublished: Duration::ZERO,
        failure: world.failure.clone(),
        children,
        is_first_round: world.first_round,
        storage: world.storage.clone(),
        operator: world.operator(),
    }
}

fn slot(world: &World, ordinal: Ordinal) -> Slot {
    let mut pod = world.pods.get(&ordinal).cloned();
    if let Some(pod) = &mut pod {
        pod.obstacle = world.obstacles.get(&ordinal).cloned();
        pod.ready &= !world.unready.contains(&ordinal);
    }
    let node = pod.as_ref().and_then(|pod| pod.node.clone()).map(|name| {
        let known = world.nodes.get(&ordinal).cloned().unwrap_or_default();
        Node { name, ready: !world.cut.contains(&ordinal), ..known }
    });
    Slot {
        claim: world.claims.get(&ordinal).cloned(),
        pod,
        node,
        answer: answer(world, ordinal),
        refused: world.refused.get(&ordinal).cloned(),
        growth_refused: world.growth_refused.clone(),
    }
}

fn answer(world: &World, ordinal: Ordinal) -> Option<MemberAnswer> {
    if !world.runs(ordinal) || world.cut.contains(&ordinal) {
        return None;
    }
    let disk = world.disk(ordinal)?;
    let is_member = world.group.servers.contains_key(&disk.raft_id);
    Some(MemberAnswer {
        raft_id: disk.raft_id.clone(),
        incarnation: disk.incarnation.clone(),
        cluster_id: disk.cluster_id.clone(),
        is_removed: disk.cluster_id.is_some() && !is_member,
        leader: world.group.leader.clone().filter(|_| is_member),
        term: world.group.term,
        recovery_epoch: disk.recovery_epoch,
        voters: world
            .group
            .servers
            .iter()
            .filter(|(_, member)| is_member && member.is_voter)
            .map(|(id, _)| id.clone())
            .collect(),
        last: (world.group.term, 1_000 - trailing(world, &disk.raft_id).min(1_000)),
        versions: (1, 1),
        credentials: credentials(world, ordinal),
        trouble: String::new(),
    })
}

/// The kubelet has given the member what its Secret holds, or not yet.
fn credentials(world: &World, ordinal: Ordinal) -> String {
    let written = world.certificates.get(&ordinal).filter(|_| !world.slow_kubelets.contains(&ordinal));
    written.map_or_else(|| "of before".to_owned(), |certificate| certificate.content.clone())
}

fn trailing(world: &World, raft_id: &str) -> u64 {
    world.group.servers.get(raft_id).map_or(0, |member| member.trailing)
}

fn view(world: &World) -> Option<RaftView> {
    let group = &world.group;
    let leader = group.leader.clone().filter(|leader| world.is_up(leader))?;
    let servers: Vec<ServerView> = group
        .servers
        .iter()
        .map(|(id, member)| {
            let is_healthy = world.is_up(id) && member.trailing <= 250;
            let healthy_for = member.healthy_since.map_or(0, |since| world.now - since);
            ServerView {
                raft_id: id.clone(),
                incarnation: member.incarnation.clone(),
                address: member.address.clone(),
                is_voter: member.is_voter,
                intent: member.intent.clone(),
                is_healthy,
                unhealthy_because: if is_healthy { String::new() } else { "not heard".to_owned() },
                is_dead: world.is_dead(member),
                last_contact: member.heard.map(|at| Duration::from_secs(world.now - at)),
                match_index: 1_000 - member.trailing.min(1_000),
                trailing: member.trailing,
                snapshot_offset_bytes: None,
                healthy_for: Duration::from_secs(healthy_for),
                stands_by: !member.is_voter && world.stands_by(id),
                vote_held_because: String::new(),
                is_volume_lost: lost(world, id, &member.incarnation),
            }
        })
        .collect();
    let voters: Vec<_> = servers.iter().filter(|server| server.is_voter).collect();
    let healthy = voters.iter().filter(|server| server.is_healthy).count();
    let tolerance = healthy.saturating_sub(quorum(voters.len()));
    Some(RaftView {
        leader,
        recovery_epoch: group.recovery_epoch,
        term: group.term,
        configuration_index: group.index,
        change_in_flight: group.in_flight,
        committed: group.servers.keys().cloned().collect(),
        failure_tolerance: u32::try_from(tolerance).unwrap_or(0),
        settings: group.settings.clone(),
        short_of_space: false,
        servers,
    })
}

/// Its peers reach a directory of another incarnation (K1).
fn lost(world: &World, id: &str, incarnation: &str) -> bool {
    world.pods.iter().any(|(ordinal, pod)| {
        pod.raft_id.as_deref() == Some(id)
            && world.runs(*ordinal)
            && world.disk(*ordinal).is_some_and(|disk| disk.incarnation != incarnation)
    })
}

impl World {
    /// How old an observation may be: Kubernetes' part as it was, Raft's as it is.
    pub(crate) fn look_with_stale_kubernetes(&self, before: &Observed) -> Observed {
        let fresh = self.look();
        let mut stale = before.clone();
        stale.raft.clone_from(&fresh.raft);
        stale.operator.clone_from(&fresh.operator);
        for (ordinal, slot) in &mut stale.slots {
            slot.answer = fresh.slots.get(ordinal).and_then(|fresh| fresh.answer.clone());
        }
        stale
    }

    pub(crate) fn time(&self) -> Now {
        Now(self.now)
    }
}
