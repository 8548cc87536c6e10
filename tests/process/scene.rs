//! What most tests begin with: three members that are a cluster, and clients at each of them.

use quorate_processes::cluster::Cluster;

use crate::ground;
use crate::load::Load;
use crate::roads::Roads;
use crate::story::Story;

/// A cluster of three under load; the name is the test's.
pub(crate) async fn under_load(name: &'static str) -> (Story, Cluster, Load) {
    let story = Story::of(name);
    let mut cluster = story.cluster(3);
    cluster.form().await;
    let load = Load::on(&cluster, &story);
    (story, cluster, load)
}

/// The same with roads between the members; none where the mounts it takes cannot be had.
pub(crate) async fn with_roads(name: &'static str) -> Option<(Story, Cluster, Roads, Load)> {
    if ground::is_missing(name) {
        return None;
    }
    let story = Story::of(name);
    let mut cluster = story.cluster(3);
    let roads = Roads::between(&mut cluster).await;
    cluster.form().await;
    let load = Load::on(&cluster, &story);
    Some((story, cluster, roads, load))
}
