//! What the leader is told of its members (K15).

use quorate_api::v1;
use quorate_plan::observed::{Observed, Slot};
use quorate_plan::plan::{Fact, FactKind};

/// Every server of the view with what Kubernetes knows of it, and the planner's facts.
pub(super) fn report(observed: &Observed, facts: &[Fact]) -> v1::ReportFactsRequest {
    let servers = observed.raft.iter().flat_map(|view| &view.servers);
    let members = servers.map(|server| {
        let has = |kind: FactKind| {
            facts.iter().any(|fact| {
                fact.kind == kind && fact.raft_id == server.raft_id && fact.incarnation == server.incarnation
            })
        };
        let slot = observed.slots.values().find(|slot| slot_is_of(slot, &server.raft_id));
        let node = slot.and_then(|slot| slot.node.as_ref());
        let pod = slot.and_then(|slot| slot.pod.as_ref());
        v1::MemberFact {
            id: Some(v1::ServerId {
                raft_id: server.raft_id.clone(),
                incarnation: server.incarnation.clone(),
            }),
            has_left: has(FactKind::Left),
            name: pod.map(|pod| pod.name.clone()).unwrap_or_default(),
            node: pod.and_then(|pod| pod.node.clone()).unwrap_or_default(),
            zone: node.and_then(|node| node.zone.clone()).unwrap_or_default(),
            ..v1::MemberFact::default()
        }
    });
    v1::ReportFactsRequest {
        declared_replicas: u32::try_from(observed.cluster.spec.replicas).unwrap_or(0),
        members: members.collect(),
    }
}

fn slot_is_of(slot: &Slot, raft_id: &str) -> bool {
    slot.pod.as_ref().and_then(|pod| pod.raft_id.as_deref()) == Some(raft_id)
}
