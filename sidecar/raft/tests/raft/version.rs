//! The version gate: nothing is written that a member does not read (K24, S27). There is one version so far: the tests
//! inject builds that speak others.

use quorate_raft::{
    Answer, Body, Change, Entry, Epoch, Event, Identity, Index, Input, InvalidChange, Now, Output, Payload,
    Raft, RecoveryEpoch, Refusal, Role, Settings, StartError, Suffrage, Term, Ticket, Version, Versions,
};

use crate::cluster::{CLUSTER, add, configuration, founded, id, remove, server};
use crate::disk::Disk;
use crate::solo::{Solo, command, log_id};

const fn speaks(min: u32, max: u32) -> Versions {
    Versions { min: Version(min), max: Version(max) }
}

/// `a` alone votes, `d` listens; the cluster is at `version`.
fn disk(version: u32) -> Disk {
    let mut disk = founded(&["a"], &["d"], true);
    let founding = configuration(&["a"], &["d"]).at_version(Version(version));
    disk.entries[0].payload = Payload::Configuration(founding);
    disk
}

/// `a`, leading.
fn leader(version: u32, versions: Versions) -> Solo {
    let mut solo = Solo::speaking(disk(version), versions);
    while !solo.status().is_ready {
        solo.tick();
    }
    solo
}

fn connect(solo: &mut Solo, name: &str, versions: Option<Versions>) {
    solo.step(Input::PeerVersions { id: id(name), versions });
}

fn ask(solo: &mut Solo, change: Change) -> Result<Answer, Refusal> {
    let expected = solo.status().latest.unwrap().index;
    solo.step(Input::ChangeMembership { ticket: Ticket(1), expected, change });
    answer(solo)
}

fn answer(solo: &mut Solo) -> Result<Answer, Refusal> {
    let mut answers = solo.others.drain(..).filter_map(|output| match output {
        Output::Answer { result, .. } => Some(result),
        _ => None,
    });
    answers.next_back().expect("it is answered")
}

fn raise(solo: &mut Solo, to: u32) -> Result<Answer, Refusal> {
    ask(solo, Change::RaiseVersion { to: Version(to) })
}

fn not_spoken(name: &str, spoken: Option<Versions>, version: u32) -> Result<Answer, Refusal> {
    Err(Refusal::VersionNotSpoken { id: id(name), spoken, version: Version(version) })
}

/// K24: every member's *present* connection must speak the new version, a non-voter's and our own build too; a
/// connection that ended says nothing any more.
#[test]
fn the_version_is_raised_only_while_every_present_connection_speaks_it() {
    let mut solo = leader(1, speaks(1, 2));
    assert_eq!(raise(&mut solo, 2), not_spoken("d", None, 2));
    connect(&mut solo, "d", Some(speaks(1, 1)));
    assert_eq!(raise(&mut solo, 2), not_spoken("d", Some(speaks(1, 1)), 2));
    connect(&mut solo, "d", Some(speaks(1, 2)));
    connect(&mut solo, "d", None);
    assert_eq!(raise(&mut solo, 2), not_spoken("d", None, 2));
    assert_eq!(solo.status().version, Some(Version(1)));
    connect(&mut solo, "d", Some(speaks(2, 3)));
    raise(&mut solo, 2).unwrap();
    assert_eq!(solo.status().version, Some(Version(2)));
    connect(&mut solo, "d", Some(speaks(2, 3)));
    assert_eq!(raise(&mut solo, 3), not_spoken("a", Some(speaks(1, 2)), 3), "we must speak it too");
}

/// K24: one step at a time, and never back.
#[test]
fn the_version_goes_up_by_one() {
    let mut solo = leader(1, speaks(1, 9));
    connect(&mut solo, "d", Some(speaks(1, 9)));
    for to in [0, 1, 3] {
        let step = InvalidChange::VersionStep { from: Version(1), to: Version(to) };
        assert_eq!(raise(&mut solo, to), Err(Refusal::InvalidChange(step)));
    }
}

/// K24: who left and came back must say again what it speaks: it may be another build.
#[test]
fn what_a_removed_server_spoke_is_forgotten() {
    let mut solo = leader(1, speaks(1, 2));
    connect(&mut solo, "d", Some(speaks(1, 2)));
    ask(&mut solo, remove("d")).unwrap();
    ask(&mut solo, add("d")).unwrap();
    assert_eq!(raise(&mut solo, 2), not_spoken("d", None, 2));
    // Nor is anything kept of who is no member: what is remembered is bounded by the configuration.
    connect(&mut solo, "stranger", Some(speaks(1, 2)));
    assert!(solo.status().peers.iter().all(|peer| peer.versions.is_none()));
}

/// K24: a new kind of entry waits until the version it belongs to is committed. Here the cluster is at a version before
/// the first: commands and barriers are new kinds in it.
#[test]
fn entries_of_a_new_kind_wait_for_their_version() {
    let mut solo = leader(0, speaks(0, 1));
    let propose = |solo: &mut Solo, input: Input| {
        let last = solo.status().last;
        solo.step(input);
        (answer(solo), solo.status().last == last)
    };
    let too_low = Err(Refusal::VersionTooLow { needed: Version(1), cluster: Version(0) });
    let command = || Input::Propose { ticket: Ticket(7), command: "x".into() };
    assert_eq!(propose(&mut solo, command()), (too_low.clone(), true));
    assert_eq!(propose(&mut solo, Input::Barrier { ticket: Ticket(8) }), (too_low, true));
    connect(&mut solo, "d", Some(speaks(0, 1)));
    raise(&mut solo, 1).unwrap();
    solo.step(command());
    assert!(matches!(&solo.applied.last().unwrap().payload, Payload::Command(_)));
}

/// K24: formats follow the committed version: an entry that may yet be rolled back opens no gate.
#[test]
fn an_uncommitted_raise_opens_nothing() {
    let mut disk = founded(&["a", "b"], &[], true);
    let founding = configuration(&["a", "b"], &[]).at_version(Version(0));
    disk.entries[0].payload = Payload::Configuration(founding);
    let mut solo = Solo::speaking(disk, speaks(0, 1));
    solo.elect(&["b"]);
    let accept = |solo: &mut Solo, matched: u64| {
        let term = solo.status().term.0;
        let outcome = quorate_raft::AppendOutcome::Accepted { matched: Index(matched) };
        solo.hear("b", term, Body::AppendResponse { epoch: Epoch(1), outcome });
    };
    accept(&mut solo, 2);
    connect(&mut solo, "b", Some(speaks(0, 1)));
    let expected = solo.status().latest.unwrap().index;
    let change = Change::RaiseVersion { to: Version(1) };
    solo.step(Input::ChangeMembership { ticket: Ticket(1), expected, change });
    assert_eq!(solo.status().latest.unwrap().configuration.version(), Version(1));
    assert_eq!(solo.status().version, Some(Version(0)));
    solo.others.clear();
    solo.step(Input::Barrier { ticket: Ticket(2) });
    assert!(matches!(answer(&mut solo), Err(Refusal::VersionTooLow { .. })));
    accept(&mut solo, 3);
    assert_eq!(solo.status().version, Some(Version(1)));
}

/// K24: a joiner says what it speaks, and is refused outside.
#[test]
fn a_server_that_does_not_speak_the_version_is_not_added() {
    let mut solo = leader(2, speaks(1, 2));
    let joining = |versions| match add("e") {
        Change::AddNonVoter { id, address, intent, .. } => {
            Change::AddNonVoter { id, address, intent, versions }
        }
        other => other,
    };
    for versions in [speaks(1, 1), speaks(3, 4)] {
        assert_eq!(ask(&mut solo, joining(versions)), not_spoken("e", Some(versions), 2));
    }
    ask(&mut solo, joining(speaks(2, 3))).unwrap();
    let latest = solo.status().latest.unwrap().configuration;
    assert!(latest.contains(&id("e")));
    assert_eq!(latest.version(), Version(2), "changes keep the version");
}

/// K24, S21, S27: a leader that writes in a version we do not speak is told nothing and takes nothing from us: no entry
/// is stored that could not be read back. We hear it all the same, so nobody is disturbed.
#[test]
fn entries_of_a_version_beyond_ours_are_not_taken_and_people_are_told() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    let raised = Payload::Configuration(configuration(&["a", "b", "c"], &[]).at_version(Version(2)));
    let entries = vec![command(2, 2, "x"), Entry { term: Term(2), index: Index(3), payload: raised }];
    let append = Body::AppendRequest { epoch: Epoch(1), previous: log_id(1, 1), entries, commit: Index(3) };
    assert_eq!(solo.hear("b", 2, append), []);
    assert_eq!(solo.status().last, log_id(1, 1));
    assert!(solo.events.contains(&Event::VersionTooNew { from: id("b"), version: Version(2) }));
    assert_eq!(solo.status().leader.unwrap().id, id("b"));
    let heartbeat = Body::HeartbeatRequest { epoch: Epoch(1), round: quorate_raft::Round(1) };
    for _ in 0..30 {
        solo.wait(100);
        solo.hear("b", 2, heartbeat.clone());
    }
    assert_eq!((solo.status().role, solo.status().term), (Role::Follower, Term(2)));
}

/// K24: nor is a snapshot of such a version installed: this build could not read the state.
#[test]
fn a_snapshot_of_a_version_beyond_ours_is_not_installed() {
    let mut solo = Solo::new(founded(&["a", "b", "c"], &[], true));
    let raised = configuration(&["a", "b", "c"], &[]).at_version(Version(2));
    let last = log_id(2, 9);
    let configuration = quorate_raft::IndexedConfiguration { index: Index(8), configuration: raised };
    let meta = quorate_raft::SnapshotMeta { last, configuration };
    solo.step(Input::SnapshotReceived { from: id("b"), term: Term(2), epoch: Epoch(1), meta });
    assert_eq!(solo.others, [Output::DiscardSnapshot { last }]);
    assert_eq!(solo.status().last, log_id(1, 1));
    assert!(solo.events.contains(&Event::VersionTooNew { from: id("b"), version: Version(2) }));
}

/// K24, K8: a build that does not read the cluster's version does not start on its directory, and does not call it damage.
#[test]
fn a_build_that_does_not_read_the_clusters_version_is_told_at_start() {
    let start = |versions| {
        let server = id("a");
        let identity = Identity { cluster_id: CLUSTER, recovery_epoch: RecoveryEpoch(0), server, versions };
        Raft::new(identity, Settings::default(), disk(2).stored(10), 1, Now::default()).map(drop)
    };
    assert_eq!(start(speaks(1, 2)), Ok(()));
    assert_eq!(start(speaks(2, 3)), Ok(()));
    for versions in [speaks(1, 1), speaks(3, 4)] {
        assert_eq!(start(versions), Err(StartError::Version { cluster: Version(2), ours: versions }));
    }
}

/// K2, K24: a cluster of one begins at the newest version it speaks: it is every member.
#[test]
fn a_new_cluster_begins_at_its_founders_newest_version() {
    let mut solo = Solo::speaking(Disk::default(), speaks(2, 3));
    assert_eq!(solo.status().version, None);
    let founder = server("a", Suffrage::Voter);
    solo.step(Input::Bootstrap {
        ticket: Ticket(1),
        cluster_id: CLUSTER,
        server: founder.id,
        address: founder.address,
        mode: quorate_raft::Mode::KeyValue,
    });
    assert_eq!(solo.status().version, Some(Version(3)));
}
