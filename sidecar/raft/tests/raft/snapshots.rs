//! Snapshots, compaction and restarts (S15, S23, S24, K3-K7, N3, O3, O6).

use std::time::Duration;

use quorate_raft::{
    AppendOutcome, Body, Epoch, Event, Index, IndexedConfiguration, Input, LogId, Now, Output,
    ReplicationState, Settings, SnapshotMeta, StartError, Term,
};

use crate::cluster::{Cluster, add, configuration, founded, id};
use crate::disk::{Disk, State};
use crate::solo::{Solo, alive, command, log_id};

fn no_retention() -> Settings {
    Settings { retention_bytes: 0, retention_bytes_max: 0, ..Settings::default() }
}

/// The state after `last`, as another member might have it.
fn state(last: LogId) -> State {
    let configuration = configuration(&["a", "b", "c"], &[]);
    State {
        applied: last,
        commands: Vec::new(),
        configuration: Some(IndexedConfiguration { index: Index(1), configuration }),
    }
}

fn received(solo: &mut Solo, term: u64, last: LogId) -> Vec<Body> {
    let state = state(last);
    let meta = SnapshotMeta { last, configuration: state.configuration.clone().unwrap() };
    solo.snapshot = Some(state);
    solo.sent.clear();
    solo.step(Input::SnapshotReceived { from: id("b"), term: Term(term), epoch: Epoch(1), meta });
    solo.said()
}

fn accepted(matched: u64) -> Body {
    Body::AppendResponse { epoch: Epoch(1), outcome: AppendOutcome::Accepted { matched: Index(matched) } }
}

fn diverged() -> Solo {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.entries.extend((2..=8).map(|index| command(2, index, "x")));
    disk.hard_state.term = Term(2);
    Solo::new(disk)
}

/// raft.md §7, 9; N3: a snapshot at or below the commit index changes nothing and is answered with what we hold.
#[test]
fn a_late_snapshot_rewinds_nothing() {
    let mut solo = diverged();
    solo.hear("b", 2, super::replication::append(log_id(2, 8), vec![], 8));
    let before = (solo.status().commit, solo.status().applied, solo.disk.entries.len());
    assert_eq!(received(&mut solo, 2, log_id(2, 4)), [accepted(8)]);
    assert_eq!((solo.status().commit, solo.status().applied, solo.disk.entries.len()), before);
    assert!(solo.others.contains(&Output::DiscardSnapshot { last: log_id(2, 4) }));
    // The same where the log has forgotten the snapshot's last entry.
    let mut solo = diverged();
    received(&mut solo, 4, log_id(3, 5));
    solo.hear("b", 4, super::replication::append(log_id(3, 5), vec![command(4, 6, "y")], 6));
    assert_eq!(received(&mut solo, 4, log_id(2, 4)), [accepted(6)]);
    let status = solo.status();
    assert_eq!((status.commit, status.applied, status.first), (Index(6), Index(6), Index(6)));
    assert!(solo.others.contains(&Output::DiscardSnapshot { last: log_id(2, 4) }));
}

/// N3, K5: if the log holds its last entry, the snapshot only commits; the tail stays.
#[test]
fn a_snapshot_inside_an_equal_log_keeps_the_tail() {
    let mut solo = diverged();
    assert_eq!(received(&mut solo, 2, log_id(2, 5)), [accepted(5)]);
    assert_eq!(solo.status().commit, Index(5));
    assert_eq!(solo.disk.last(), log_id(2, 8));
    assert_eq!(solo.applied.len(), 5, "it applies its own entries");
}

/// raft.md §7, 9; O3, S24: a snapshot that conflicts with the tail replaces the log in one write and one install.
#[test]
fn a_snapshot_that_conflicts_with_the_tail_replaces_the_whole_log() {
    let mut solo = diverged();
    solo.is_disk_stuck = true;
    assert!(received(&mut solo, 4, log_id(3, 5)).is_empty(), "not acknowledged before its commit point (K5)");
    let write = solo.writes.last().unwrap();
    assert_eq!((write.install.as_ref().map(|meta| meta.last), write.commit), (Some(log_id(3, 5)), Index(5)));
    solo.sync();
    solo.is_disk_stuck = false;
    solo.applied.clear();
    assert_eq!(solo.said(), [accepted(5)]);
    assert_eq!(
        (solo.status().commit, solo.status().last, solo.status().first),
        (Index(5), log_id(3, 5), Index(6))
    );
    let said = solo.hear("b", 4, super::replication::append(log_id(3, 5), vec![command(4, 6, "y")], 6));
    assert_eq!(said, [accepted(6)]);
    assert_eq!(solo.applied.iter().map(|entry| entry.index).collect::<Vec<_>>(), [Index(6)]);
}

/// K5, S21: entries after a snapshot wait until its state is in place.
#[test]
fn nothing_is_applied_while_a_snapshot_is_being_installed() {
    let mut solo = diverged();
    solo.applied.clear();
    solo.is_disk_stuck = true;
    received(&mut solo, 4, log_id(3, 9));
    solo.hear("b", 4, super::replication::append(log_id(3, 9), vec![command(4, 10, "y")], 10));
    assert!(solo.applied.is_empty());
    solo.sync();
    assert_eq!(solo.applied.len(), 1);
}

/// S15, O6: a follower behind the compacted log gets one snapshot and then the log.
#[test]
fn a_follower_behind_the_log_gets_one_snapshot_and_then_the_log() {
    for retention in [
        no_retention(),
        Settings { retention_bytes: 8 << 10, retention_bytes_max: 8 << 10, ..Settings::default() },
    ] {
        let mut cluster = Cluster::with(1, retention, &["a", "b", "c"], &[]);
        let leader = cluster.must_lead();
        let behind = if leader == "a" { "b" } else { "a" };
        cluster.crash(behind);
        for round in 0..300 {
            cluster.must_write(&format!("w{round}"));
        }
        cluster.run_ms(1_500);
        cluster.flush(leader);
        cluster.run_ms(100);
        assert!(cluster.status(leader).first > Index(100), "{}", cluster.status(leader).first);
        cluster.start(behind);
        cluster.until("it is level", Cluster::is_converged);
        let installs = |cluster: &Cluster| {
            cluster.members[behind]
                .events
                .iter()
                .filter(|event| matches!(event, Event::SnapshotInstalled { .. }))
                .count()
        };
        assert_eq!(installs(&cluster), 1);
        cluster.must_write("y");
        cluster.until("it is level", Cluster::is_converged);
        assert_eq!(installs(&cluster), 1);
        let peer = cluster.status(leader).peers.into_iter().find(|peer| peer.id == id(behind)).unwrap();
        assert_eq!(peer.replication, ReplicationState::Replicate);
    }
}

/// S15: a new member of a compacted group starts from a snapshot, configuration included.
#[test]
fn a_newcomer_to_a_compacted_group_learns_configuration_and_state_from_the_snapshot() {
    let mut cluster = Cluster::with(2, no_retention(), &["a", "b", "c"], &[]);
    for round in 0..50 {
        cluster.must_write(&format!("w{round}"));
    }
    let leader = cluster.must_lead();
    cluster.flush(leader);
    cluster.add("n", Disk::default());
    cluster.must_change(add("n"));
    cluster.until("it is level", Cluster::is_converged);
    assert_eq!(cluster.members["n"].state.commands.len(), 50);
    assert_eq!(cluster.status("n").membership, quorate_raft::Membership::NonVoter);
}

/// A transfer that fails is begun again only after a sign of life, not in a loop.
#[test]
fn a_failed_snapshot_transfer_is_repeated_after_a_pause() {
    let mut cluster = Cluster::with(3, no_retention(), &["a", "b", "c"], &[]);
    let leader = cluster.must_lead();
    let behind = if leader == "a" { "b" } else { "a" };
    cluster.isolate(behind);
    for round in 0..50 {
        cluster.must_write(&format!("w{round}"));
    }
    cluster.run_ms(1_500);
    cluster.flush(leader);
    cluster.run_for(Duration::from_secs(10));
    cluster.heal();
    cluster.until("it is level", Cluster::is_converged);
}

/// A leader whose log begins at 4, and `c`, which gets a snapshot because it holds nothing.
fn sending_to_c() -> (Solo, u64) {
    let mut disk = founded(&["a", "b", "c"], &[], true);
    disk.previous = log_id(1, 3);
    disk.entries = (4..=5).map(|index| command(1, index, "x")).collect();
    disk.state = state(log_id(1, 3));
    let mut solo = Solo::new(disk);
    solo.elect(&["b"]);
    let term = solo.status().term.0;
    for previous in [5, 6] {
        let outcome = AppendOutcome::Rejected { previous: Index(previous), hint: LogId::default() };
        solo.hear("c", term, Body::AppendResponse { epoch: Epoch(2), outcome });
    }
    assert!(sends_snapshot(&mut solo));
    (solo, term)
}

fn sends_snapshot(solo: &mut Solo) -> bool {
    solo.others.drain(..).any(|output| matches!(output, Output::SendSnapshot { .. }))
}

/// S15: the answer that a snapshot is installed can be lost. Sent again, the snapshot would be refused as known for
/// ever (simulator: a follower that held it never got another entry). So the follower is asked first.
#[test]
fn a_follower_is_asked_what_it_holds_before_it_gets_another_snapshot() {
    let last = log_id(1, 3);
    for (delivered, wait_ms) in [(None, 200), (Some(last), 11_000)] {
        let (mut solo, term) = sending_to_c();
        solo.step(Input::SnapshotSent { to: id("c"), epoch: Epoch(2), delivered });
        let mut said = Vec::new();
        for _ in 0..=wait_ms / 200 {
            solo.wait(200);
            solo.hear("b", term, alive(Epoch(1), 0, 1));
            said.extend(solo.hear("c", term, alive(Epoch(2), 0, 1)));
        }
        let asks = |body: &Body| matches!(body, Body::AppendRequest { previous, .. } if *previous == last);
        assert!(said.iter().any(asks), "{delivered:?}: {said:?}");
        assert!(!sends_snapshot(&mut solo), "{delivered:?}");
        // It holds nothing after all: then another one.
        let outcome = AppendOutcome::Rejected { previous: last.index, hint: LogId::default() };
        solo.hear("c", term, Body::AppendResponse { epoch: Epoch(2), outcome });
        assert!(sends_snapshot(&mut solo), "{delivered:?}");
    }
}

/// S23, K7: the log keeps what a live follower still needs, and drops it once that is gone for long.
#[test]
fn the_log_waits_for_a_live_follower_within_the_greater_limit() {
    let settings = Settings { retention_bytes: 0, retention_bytes_max: 1 << 20, ..Settings::default() };
    let mut cluster = Cluster::with(4, settings, &["a", "b", "c"], &[]);
    let leader = cluster.must_lead();
    cluster.run_ms(300);
    let slow = if leader == "a" { "b" } else { "a" };
    cluster.members.get_mut(slow).unwrap().write_delay = Duration::from_millis(900);
    for round in 0..100 {
        cluster.must_write(&format!("w{round}"));
    }
    let matched = cluster.status(leader).peers.iter().find(|peer| peer.id == id(slow)).unwrap().matched;
    cluster.flush(leader);
    assert!(cluster.status(leader).first <= matched.next(), "what it needs stays");
    cluster.crash(slow);
    cluster.run_ms(1_500);
    cluster.must_write("x");
    cluster.flush(leader);
    assert!(cluster.status(leader).first > matched.next(), "a dead one holds nothing");
}

/// K3, K6: after a crash, committed entries above the synced state are applied again, read back from the disk.
#[test]
fn a_restart_replays_the_log_from_the_last_synced_state() {
    let mut cluster = Cluster::new(5, &["a", "b", "c"]);
    cluster.tail_count = 3;
    for round in 0..100 {
        cluster.must_write(&format!("w{round}"));
        if round == 40 {
            cluster.flush("a");
        }
    }
    cluster.run_ms(1_500);
    let before = cluster.members["a"].state.clone();
    cluster.crash("a");
    cluster.start("a");
    cluster.isolate("a");
    cluster.run_ms(200);
    assert_eq!(cluster.members["a"].state, before, "the stored commit index is enough");
}

/// K25: a follower is supplied from the leader's disk when memory does not hold what it needs.
#[test]
fn entries_beyond_memory_are_read_back_for_a_follower() {
    let mut cluster = Cluster::new(6, &["a", "b", "c"]);
    cluster.tail_count = 2;
    cluster.must_lead();
    cluster.crash("c");
    for round in 0..200 {
        cluster.must_write(&format!("w{round}"));
    }
    for name in ["a", "b"] {
        cluster.crash(name);
        cluster.start(name);
    }
    cluster.start("c");
    cluster.until("all are level", Cluster::is_converged);
    assert_eq!(cluster.members["c"].state.commands.len(), 200);
}

/// K3: a log that begins after the synced state is damaged, and so is one that contradicts itself.
#[test]
fn a_damaged_directory_is_refused_at_start() {
    let mut disk = founded(&["a"], &[], true);
    disk.entries.extend((2..=5).map(|index| command(2, index, "x")));
    disk.hard_state.term = Term(2);
    let start = |change: &dyn Fn(&mut quorate_raft::Stored)| {
        let mut stored = disk.stored(3);
        change(&mut stored);
        let identity = quorate_raft::Identity {
            cluster_id: crate::cluster::CLUSTER,
            recovery_epoch: quorate_raft::RecoveryEpoch(0),
            versions: quorate_raft::Versions::OURS,
            server: id("a"),
        };
        quorate_raft::Raft::new(identity, Settings::default(), stored, 1, Now::default()).map(|_| ())
    };
    assert_eq!(start(&|_| {}), Ok(()));
    let gap = start(&|stored| stored.previous = log_id(1, 1));
    assert!(matches!(gap, Err(StartError::Gap { .. })));
    let others: [&dyn Fn(&mut quorate_raft::Stored); 7] = [
        &|stored| stored.last = log_id(2, 9),
        &|stored| stored.commit = Index(6),
        &|stored| stored.hard_state.term = Term(1),
        &|stored| stored.terms.swap(0, 1),
        &|stored| stored.tail.swap(0, 1),
        &|stored| stored.applied = log_id(1, 3),
        &|stored| stored.configurations[0].index = Index(9),
    ];
    for (at, change) in others.iter().enumerate() {
        assert!(matches!(start(*change), Err(StartError::Inconsistent { .. })), "{at}");
    }
    let foreign = start(&|stored| stored.cluster_id = Some(quorate_raft::ClusterId(9)));
    assert!(matches!(foreign, Err(StartError::WrongCluster { .. })));
}
