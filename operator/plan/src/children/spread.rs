//! How members spread over zones and nodes (`spec.topology`).

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use quorate_crds::{Spread, Topology, Unsatisfiable};

use super::metadata::selector;

const ZONE: &str = "topology.kubernetes.io/zone";
const NODE: &str = "kubernetes.io/hostname";

/// Our constraints after the user's own; the user's win for a key they name.
pub(super) fn constraints(
    cluster: &str,
    topology: Topology,
    own: Vec<TopologySpreadConstraint>,
) -> Vec<TopologySpreadConstraint> {
    let policy = match topology.when_unsatisfiable {
        Unsatisfiable::ScheduleAnyway => "ScheduleAnyway",
        Unsatisfiable::DoNotSchedule => "DoNotSchedule",
    };
    let ours: &[(&str, &str)] = match topology.spread {
        // Within a zone two members may have to share a node: that is a wish only.
        Spread::Zone => &[(ZONE, policy), (NODE, "ScheduleAnyway")],
        Spread::Node => &[(NODE, policy)],
    };
    let mut all = own;
    for (key, policy) in ours {
        if all.iter().any(|constraint| constraint.topology_key == *key) {
            continue;
        }
        all.push(TopologySpreadConstraint {
            topology_key: (*key).to_owned(),
            when_unsatisfiable: (*policy).to_owned(),
            max_skew: 1,
            label_selector: Some(selector(cluster)),
            ..TopologySpreadConstraint::default()
        });
    }
    all
}
