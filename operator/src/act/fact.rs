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
        }
    });
    v1::ReportFactsRequest {
        declared_replicas: u32::try_from(observed.cluster.spec.replicas).unwrap_or(0),
        members: members.collect(),
        // Until rollouts are planned here, nobody knows that no Pod is outdated: nothing is raised (K24).
        has_outdated_members: None,
    }
}

fn slot_is_of(slot: &Slot, raft_id: &str) -> bool {
    slot.pod.as_ref().and_then(|pod| pod.raft_id.as_deref()) == Some(raft_id)
}

#[cfg(test)]
mod tests {
    use quorate_plan::observed::{Node, Now, Ordinal, Pod};
    use quorate_plan::raft_view::{RaftView, ServerView};

    use super::*;

    fn server(raft_id: &str) -> ServerView {
        ServerView { raft_id: raft_id.to_owned(), incarnation: "aa".to_owned(), ..ServerView::default() }
    }

    fn observed() -> Observed {
        let pod = Pod {
            name: "db-0".to_owned(),
            raft_id: Some("db-0-3f2a91c4".to_owned()),
            node: Some("n1".to_owned()),
            ..Pod::default()
        };
        let node = Node { zone: Some("z1".to_owned()), ..Node::default() };
        let slot = Slot { pod: Some(pod), node: Some(node), ..Slot::default() };
        let servers = vec![server("db-0-3f2a91c4"), server("db-1-c01d77aa")];
        Observed {
            slots: [(Ordinal(0), slot)].into(),
            raft: Some(RaftView { servers, ..RaftView::default() }),
            ..Observed::default()
        }
    }

    /// K15: `left` is said of exactly the (Raft ID, incarnation) it holds for, and of nobody by default.
    #[test]
    fn only_the_server_that_leaves_is_told_to_have_left() {
        let fact = |incarnation: &str| Fact {
            raft_id: "db-1-c01d77aa".to_owned(),
            incarnation: incarnation.to_owned(),
            kind: FactKind::Left,
            observed: Now(0),
        };
        let left = |facts: &[Fact]| -> Vec<bool> {
            report(&observed(), facts).members.iter().map(|member| member.has_left).collect()
        };
        assert_eq!(left(&[fact("aa")]), [false, true]);
        assert_eq!(left(&[fact("bb")]), [false, false]);
    }

    /// K31: node and zone travel with the facts; a server without a Pod is told with neither.
    #[test]
    fn a_server_is_told_with_its_pods_node_and_zone() {
        let report = report(&observed(), &[]);
        let [first, second] = &report.members[..] else { panic!("two servers") };
        assert_eq!((first.name.as_str(), first.node.as_str(), first.zone.as_str()), ("db-0", "n1", "z1"));
        assert_eq!((second.name.as_str(), second.node.as_str(), second.zone.as_str()), ("", "", ""));
    }
}
