//! Autopilot beside a real core: its settings, its leaderships, what members say of themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_autopilot::{InvalidSettings, SettingsChange};
use quorate_machine::{ApiIndex, Command, SettingsMode, Tagged};
use quorate_sidecar::autopilot::{Conclusion, SetError, SetOutcome};
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use quorate_sidecar::driver::Consistency;

use crate::{PATIENCE, cluster, soon};

fn trailing(entries: u64) -> SettingsChange {
    SettingsChange { max_trailing_logs: Some(entries), ..SettingsChange::default() }
}

/// A20: settings survive a change of leader and a restart of all; a change that is not expected or not sane changes nothing.
#[tokio::test]
async fn settings_survive_leaders_and_restarts() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let set = async |cluster: &Cluster, member: usize, change: SettingsChange, expected| {
        cluster.member(member).autopilot().set_configuration(|_| change.clone(), expected, soon()).await
    };
    let change = SettingsChange {
        server_stabilization_time: Some(Duration::from_secs(3)),
        redundancy_zone_tag: Some("zone".to_owned()),
        ..trailing(77)
    };
    let done = set(&cluster, (leader + 1) % 3, change, Some(ApiIndex::MISSING)).await.unwrap();
    let SetOutcome::Set(index) = done else { panic!("{done:?}") };
    let stale = set(&cluster, leader, trailing(1), Some(ApiIndex::MISSING)).await.unwrap();
    assert_eq!(stale, SetOutcome::Mismatch(index));
    let absurd = SettingsChange { min_quorum: Some(2), ..trailing(1) };
    let refused = set(&cluster, leader, absurd, None).await.unwrap_err();
    assert_eq!(refused, SetError::Invalid(InvalidSettings::MinQuorumTooSmall { min_quorum: 2 }));

    cluster.handle(leader).transfer_leadership(None, soon()).await.unwrap();
    let check = async |cluster: &Cluster| {
        for member in 0..3 {
            let autopilot = cluster.member(member).autopilot();
            let found = autopilot.configuration(Consistency::Linearizable, soon()).await.unwrap();
            let settings = found.settings;
            assert_eq!((settings.max_trailing_logs, settings.min_quorum), (77, 3));
            assert_eq!(settings.server_stabilization_time, Duration::from_secs(3));
            assert_eq!(settings.redundancy_zone_tag, "zone");
            assert_eq!((found.create_index, found.modify_index), (index, index));
        }
    };
    check(&cluster).await;
    for member in 0..3 {
        cluster.abort_member(member).await;
    }
    for member in 0..3 {
        cluster.start_again(member).await.unwrap();
    }
    check(&cluster).await;
    cluster.stop().await;
}

/// The next conclusion of a leader that is as wanted.
async fn concluded(
    cluster: &Cluster,
    member: usize,
    is_wanted: impl Fn(&Conclusion) -> bool,
) -> Arc<Conclusion> {
    let autopilot = cluster.member(member).autopilot();
    let mut conclusions = autopilot.watch();
    let found = async {
        loop {
            if let Some(found) = autopilot.conclusion().filter(|found| is_wanted(found)) {
                return found;
            }
            conclusions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap()
}

/// autopilot.md §6b, A28: each member says where it is and what it runs, and a leader that never heard one still knows it.
#[tokio::test]
async fn members_say_where_they_are_and_the_cluster_remembers_it() {
    let directory = tempfile::tempdir().unwrap();
    let zone = |number| format!("z{number}");
    let options = ClusterOptions { zone, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(3, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let (down, next) = ((leader + 1) % 3, (leader + 2) % 3);
    let ids = [0, 1, 2].map(|number| cluster.handle(number).view().identity.server.clone());
    let heard = concluded(&cluster, leader, |found| {
        found.reports.len() == 3 && found.reports.values().all(|report| report.received.is_some())
    })
    .await;
    for (number, id) in ids.iter().enumerate() {
        let (report, server) = (&heard.reports[id], heard.state.server(id).unwrap());
        assert_eq!(report.zone, Some(format!("z{number}")));
        assert_eq!(report.build.as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(report.term, heard.state.term);
        assert_eq!((&server.zone, &server.build), (&report.zone, &report.build));
    }
    let remembered = async {
        loop {
            let look = |state: &quorate_sidecar::driver::State| Ok(state.meta().servers.clone());
            let servers = cluster.handle(next).read(Consistency::Stale, soon(), look).await.unwrap().value;
            if servers.len() == 3 {
                return servers;
            }
            tokio::task::yield_now().await;
        }
    };
    let remembered = tokio::time::timeout(PATIENCE, remembered).await.unwrap();
    assert_eq!(remembered.iter().map(|server| server.zone.as_str()).collect::<Vec<_>>(), ["z0", "z1", "z2"]);

    cluster.abort_member(down).await;
    let target = Some(ids[next].raft_id.clone());
    cluster.handle(leader).transfer_leadership(target, soon()).await.unwrap();
    let found = concluded(&cluster, next, |found| found.reports[&ids[leader]].received.is_some()).await;
    let report = &found.reports[&ids[down]];
    assert_eq!(report.received, None, "it never said anything to this leader");
    assert_eq!((report.zone.clone(), report.build.is_some()), (Some(format!("z{down}")), true));
    assert_eq!(found.state.server(&ids[down]).unwrap().zone, report.zone);
    cluster.stop().await;
}

/// A4, K55, A22: a leadership begins with nothing of an earlier one, not even of its own member, and nothing of it stays.
#[tokio::test]
async fn a_leadership_keeps_nothing_of_another_one() {
    let (mut cluster, _directory) = cluster(3).await;
    let first = cluster.leader(PATIENCE).await.unwrap();
    let id = |cluster: &Cluster, number: usize| cluster.handle(number).view().identity.server.raft_id.clone();
    let all_healthy = |found: &Conclusion| found.state.is_healthy && found.state.servers.len() == 3;
    let before = concluded(&cluster, first, all_healthy).await;
    let other = (first + 1) % 3;
    cluster.handle(first).transfer_leadership(Some(id(&cluster, other)), soon()).await.unwrap();
    concluded(&cluster, other, all_healthy).await;
    assert!(cluster.member(first).autopilot().conclusion().is_none());
    let back = Instant::now();
    cluster.handle(other).transfer_leadership(Some(id(&cluster, first)), soon()).await.unwrap();
    let after = concluded(&cluster, first, |_| true).await;
    assert!(after.state.term > before.state.term);
    assert!(cluster.member(other).autopilot().conclusion().is_none());
    for server in &after.state.servers {
        let known_for = after.state.at.since(server.health.stable_since);
        assert!(known_for <= back.elapsed(), "{known_for:?} of history is older than this leadership");
    }
    cluster.stop().await;
}

/// autopilot.md §1.2: switched off it goes on looking, says so, and does nothing.
#[tokio::test]
async fn with_reconciliation_off_nobody_is_promoted() {
    let (mut cluster, _directory) = cluster(3).await;
    let change = SettingsChange {
        server_stabilization_time: Some(Duration::from_millis(1)),
        ..SettingsChange::default()
    };
    let set =
        cluster.member(0).autopilot().set_configuration(|_| change.clone(), None, soon()).await.unwrap();
    assert!(matches!(set, SetOutcome::Set(_)), "{set:?}");
    let joiner = cluster.start_member().await.unwrap();
    for member in 0..4 {
        cluster.member(member).autopilot().reconcile(false);
    }
    let leader = cluster.leader(PATIENCE).await.unwrap();
    // A round that had begun before is over.
    concluded(&cluster, leader, |found| !found.is_reconciling).await;
    cluster.add_non_voter(joiner, soon()).await.unwrap();
    let id = cluster.handle(joiner).view().identity.server.clone();
    let is_ready = |found: &Conclusion| {
        found.state.server(&id).is_some_and(|server| server.health.is_healthy && server.health.sample.is_ok())
    };
    // It would get its vote in any of these rounds.
    for _ in 0..3 {
        let found = concluded(&cluster, leader, is_ready).await;
        assert_eq!(found.state.voters.len(), 3);
        let at = found.state.at;
        concluded(&cluster, leader, |found| found.state.at > at).await;
    }
    cluster.member(leader).autopilot().reconcile(true);
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    cluster.stop().await;
}

/// K27, A23: nobody declares members here, so a dead one stays, and says so with the way out; which is then open.
#[tokio::test]
async fn outside_kubernetes_the_dead_stay_until_min_quorum_is_set_and_it_is_said() {
    let (mut cluster, _directory) = cluster(4).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    // No person may set so short a threshold (A20); the machine itself takes any.
    let set = async |cluster: &Cluster, change: SettingsChange| {
        let command = Command::SetAutopilot { change, mode: SettingsMode::Merge, expected: None };
        cluster.handle(leader).propose(&Tagged { tag: None, command }, soon()).await.unwrap();
    };
    let dead_server_last_contact_threshold = Some(Duration::from_secs(2));
    set(&cluster, SettingsChange { dead_server_last_contact_threshold, ..SettingsChange::default() }).await;
    let down = (leader + 1) % 4;
    let id = cluster.handle(down).view().identity.server.clone();
    cluster.abort_member(down).await;
    let held = concluded(&cluster, leader, |found| !found.state.blocked.is_empty()).await;
    assert_eq!(
        held.state.blocked[0].message(id.raft_id.as_str()),
        format!(
            "{} is dead and stays for now: 3 would be left, and while min_quorum is not set all 4 that are there are wanted; \
             remove it by hand, add a member as its replacement, or set min_quorum to 3",
            id.raft_id
        )
    );
    set(&cluster, SettingsChange { min_quorum: Some(3), ..SettingsChange::default() }).await;
    let is_out = |found: &Conclusion| found.state.server(&id).is_none();
    concluded(&cluster, leader, is_out).await;
    cluster.stop().await;
}
