//! What the leader is told of its members (K15).

use quorate_api::v1;
use quorate_plan::observed::{Observed, Slot};
use quorate_plan::plan::{FactKind, Plan};

/// Every server of the view with what Kubernetes knows of it, and the planner's facts.
pub(super) fn report(observed: &Observed, plan: &Plan) -> v1::ReportFactsRequest {
    let facts = &plan.facts;
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
        has_outdated_members: Some(has_outdated(observed, plan)),
    }
}

/// Whether a process of an older rendering may still run (K24): one that is going counts until it is gone.
fn has_outdated(observed: &Observed, plan: &Plan) -> bool {
    let is_pending = plan.status.rollout.as_ref().is_none_or(|rollout| !rollout.pending.is_empty());
    let is_going = observed.slots.values().any(|slot| slot.pod.as_ref().is_some_and(|pod| pod.deleting));
    is_pending || is_going
}

fn slot_is_of(slot: &Slot, raft_id: &str) -> bool {
    slot.pod.as_ref().and_then(|pod| pod.raft_id.as_deref()) == Some(raft_id)
}

#[cfg(test)]
mod tests {
    use quorate_crds::{RaftClusterStatus, Rollout};
    use quorate_plan::observed::{Node, Now, Ordinal, Pod};
    use quorate_plan::plan::Fact;
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
            let plan = Plan { facts: facts.to_vec(), ..Plan::default() };
            report(&observed(), &plan).members.iter().map(|member| member.has_left).collect()
        };
        assert_eq!(left(&[fact("aa")]), [false, true]);
        assert_eq!(left(&[fact("bb")]), [false, false]);
    }

    /// K24: nothing is raised while a process of an older rendering may run, one that is being stopped included, nor before
    /// anything is known.
    #[test]
    fn a_pod_of_an_older_rendering_is_told_until_it_is_gone() {
        let told = |pending: Option<&[&str]>, deleting: bool| {
            let mut observed = observed();
            observed
                .slots
                .values_mut()
                .filter_map(|slot| slot.pod.as_mut())
                .for_each(|pod| pod.deleting = deleting);
            let rollout = pending.map(|pending| Rollout {
                pending: pending.iter().map(|name| (*name).to_owned()).collect(),
                ..Rollout::default()
            });
            let status = RaftClusterStatus { rollout, ..RaftClusterStatus::default() };
            report(&observed, &Plan { status, ..Plan::default() }).has_outdated_members
        };
        assert_eq!(told(Some(&[]), false), Some(false));
        assert_eq!(told(Some(&["db-1"]), false), Some(true));
        assert_eq!(told(Some(&[]), true), Some(true));
        assert_eq!(told(None, false), Some(true));
    }

    /// K31: node and zone travel with the facts; a server without a Pod is told with neither.
    #[test]
    fn a_server_is_told_with_its_pods_node_and_zone() {
        let report = report(&observed(), &Plan::default());
        let [first, second] = &report.members[..] else { panic!("two servers") };
        assert_eq!((first.name.as_str(), first.node.as_str(), first.zone.as_str()), ("db-0", "n1", "z1"));
        assert_eq!((second.name.as_str(), second.node.as_str(), second.zone.as_str()), ("", "", ""));
    }
}
