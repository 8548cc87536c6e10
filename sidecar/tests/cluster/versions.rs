//! Builds that speak other versions: the gate on real connections (K24).

use quorate_raft::{Version, Versions};
use quorate_sidecar::autopilot::Facts;
use quorate_sidecar::exit::Code;

use quorate_sidecar::dev::{Cluster, ClusterOptions};

use crate::{PATIENCE, cluster, read, soon, write};

const OLD: Versions = Versions { min: Version(1), max: Version(1) };
const NEW: Versions = Versions { min: Version(1), max: Version(2) };

/// K24: a rolling update. While one member speaks only the old version nothing is raised, whatever the operator says;
/// then the leader raises it once, everybody sees it, and the way back is closed with clear words and not with a crash.
#[tokio::test]
async fn the_version_is_raised_after_a_rolling_update_and_closes_the_way_back() {
    let (mut cluster, _directory) = cluster(3).await;
    write(cluster.handle(0), "before", "x").await.unwrap();
    for number in 0..2 {
        cluster.stop_member(number).await;
        cluster.set_versions(number, NEW);
        cluster.start_again(number).await.unwrap();
    }
    let say_none_is_outdated = |cluster: &Cluster, leader: usize| {
        cluster.member(leader).autopilot().report(Facts::new(3, []).outdated(Some(false)));
    };
    let leader = cluster.leader(PATIENCE).await.unwrap();
    say_none_is_outdated(&cluster, leader);
    write(cluster.handle(leader), "between", "x").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    for number in 0..3 {
        assert_eq!(cluster.handle(number).view().status.version, Some(Version(1)));
    }

    cluster.stop_member(2).await;
    cluster.set_versions(2, NEW);
    cluster.start_again(2).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    say_none_is_outdated(&cluster, leader);
    let at_2 = |view: &quorate_sidecar::driver::View| view.status.version == Some(Version(2));
    cluster.wait_until("the version is raised", PATIENCE, at_2).await.unwrap();
    write(cluster.handle(2), "after", "x").await.unwrap();

    let leader = cluster.leader(PATIENCE).await.unwrap();
    let follower = (leader + 1) % 3;
    let stopped = cluster.handle(follower).view().identity.server.clone();
    cluster.stop_member(follower).await;
    // A connection that ended says nothing any more.
    let mut view = cluster.handle(leader).watch_view();
    let spoken = |view: &quorate_sidecar::driver::View| {
        view.status.peers.iter().find(|peer| peer.id == stopped).and_then(|peer| peer.versions)
    };
    let forgotten = view.wait_for(|view| spoken(view).is_none());
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap().unwrap();
    cluster.set_versions(follower, OLD);
    let failure = cluster.start_now(follower).await.unwrap_err();
    assert_eq!(failure.code, Code::Unavailable, "it must not be taken for damage: {failure}");
    assert!(
        failure.message.contains("cluster is at version 2, this build reads versions 1 to 1"),
        "{failure}"
    );
    cluster.set_versions(follower, NEW);
    cluster.start_again(follower).await.unwrap();
    assert_eq!(read(cluster.handle(follower), "after").await.as_deref(), Some("x"));

    // A newcomer of the old build is not added.
    let joiner = cluster.start_member().await.unwrap();
    let refused = cluster.add_non_voter(joiner, soon()).await.unwrap_err();
    assert!(refused.message.contains("speaks versions 1 to 1"), "{refused}");
    cluster.stop().await;
}

/// K24: what the leader's own build could write waits for the cluster. Here the cluster is at a version before the first:
/// every command is a new one in it.
#[tokio::test]
async fn a_command_waits_for_the_version_it_belongs_to() {
    let directory = tempfile::tempdir().unwrap();
    let versions = Versions { min: Version(0), max: Version(0) };
    let options = ClusterOptions { versions, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(1, directory.path(), options).await.unwrap();
    cluster.leader(PATIENCE).await.unwrap();
    let refused = write(cluster.handle(0), "too-early", "x").await.unwrap_err();
    assert_eq!(refused.effect, quorate_sidecar::driver::Effect::NotApplied);
    assert!(
        refused.message.starts_with("this command needs version 1 of the cluster, which is at 0"),
        "{refused}"
    );
    cluster.stop().await;
}
