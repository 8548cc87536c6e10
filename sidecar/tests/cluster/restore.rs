//! Archives and whole clusters (K17): every member has the state before a restore or the state after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::{RestoreRequest, RestoreResponse, SnapshotRequest};
use quorate_machine::{Command, Obstacle, Outcome, Refusal, Tag, Tagged};
use quorate_raft::{Change, Index, Settings};
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use quorate_sidecar::driver::{Consistency, ErrorKind, View};
use quorate_store::{CrashDisk, Disk};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::played_disk::PlayedDisk;
use crate::sessions::{acquire, begin};
use crate::{PATIENCE, cluster, put, read, soon, write};

/// An archive, saved through this member.
async fn save(cluster: &Cluster, number: usize) -> Vec<u8> {
    let address = format!("http://127.0.0.1:{}", cluster.ports(number).grpc);
    let mut client = ClusterClient::connect(address).await.unwrap();
    let mut parts = client.snapshot(SnapshotRequest { is_stale: false }).await.unwrap().into_inner();
    let first = parts.message().await.unwrap().unwrap();
    assert!(first.info.unwrap().api_index > 0);
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        bytes.extend_from_slice(&part.data);
    }
    bytes
}

/// Sends an archive to a member at this address, with this token.
async fn send(grpc: u16, token: String, archive: Vec<u8>) -> Result<RestoreResponse, Status> {
    let connected = ClusterClient::connect(format!("http://127.0.0.1:{grpc}")).await;
    let mut client = connected.map_err(|error| Status::unavailable(error.to_string()))?;
    let parts: Vec<_> =
        archive.chunks(100_000).map(|part| RestoreRequest { data: Bytes::copy_from_slice(part) }).collect();
    let mut request = Request::new(futures::stream::iter(parts));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    Ok(client.restore(request).await?.into_inner())
}

async fn restore(cluster: &Cluster, number: usize, archive: &[u8]) -> Result<RestoreResponse, Status> {
    send(cluster.ports(number).grpc, cluster.admin_token().to_owned(), archive.to_vec()).await
}

/// K17, S25: once the call returned, every member answers from the archive, also after restarts; writes go on, their
/// indexes above everything before.
#[tokio::test]
async fn a_restored_archive_is_the_state_of_every_member() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    write(cluster.handle(leader), "a", "kept").await.unwrap();
    let archive = save(&cluster, (leader + 1) % 3).await;
    write(cluster.handle(leader), "a", "changed").await.unwrap();
    let last = write(cluster.handle(leader), "b", "new").await.unwrap();
    let restored = restore(&cluster, leader, &archive).await.unwrap();
    assert!(restored.api_index > last.index.0);
    for number in 0..3 {
        assert_eq!(read(cluster.handle(number), "a").await.as_deref(), Some("kept"), "member {number}");
        assert_eq!(read(cluster.handle(number), "b").await, None, "member {number}");
    }
    let after = write(cluster.handle(leader), "c", "after").await.unwrap();
    assert!(
        matches!(after.outcome, Outcome::Written { modify_index } if modify_index.0 > restored.api_index)
    );
    for number in 0..3 {
        cluster.stop_member(number).await;
        cluster.start_again(number).await.unwrap();
        cluster.leader(PATIENCE).await.unwrap();
        assert_eq!(read(cluster.handle(number), "a").await.as_deref(), Some("kept"), "member {number}");
        assert_eq!(read(cluster.handle(number), "c").await.as_deref(), Some("after"), "member {number}");
    }
    cluster.stop().await;
}

/// K17, K21: a restore ends every session and frees what the archive has as held, and nobody gets a lock at once.
#[tokio::test]
async fn a_restore_ends_sessions_and_delays_every_lock() {
    let (mut cluster, _directory) = cluster(1).await;
    let handle = cluster.handle(0);
    let holder = begin(handle, Duration::ZERO, Duration::ZERO).await;
    assert!(matches!(acquire(handle, holder).await, Ok(Outcome::Acquired { lock_index: 1, .. })));
    let archive = save(&cluster, 0).await;
    restore(&cluster, 0, &archive).await.unwrap();
    let look =
        |state: &quorate_sidecar::driver::State| Ok((state.get(b"lock")?.entry, state.sessions()?.sessions));
    let (entry, sessions) = handle.read(Consistency::Linearizable, soon(), look).await.unwrap().value;
    let entry = entry.unwrap();
    assert_eq!((entry.session, entry.lock_index), (None, 2));
    assert_eq!(sessions, []);
    assert!(handle.renew_session(holder, soon()).await.unwrap().is_none());
    let next = begin(handle, Duration::ZERO, Duration::ZERO).await;
    assert_eq!(acquire(handle, next).await, Ok(Outcome::NotAcquired(Obstacle::LockDelay)));
    cluster.stop().await;
}

/// B14, K17: into another, younger cluster: its own identity stays, its index goes on above the archive's, and after a
/// restart there is no gap.
#[tokio::test]
async fn an_archive_of_an_older_cluster_raises_the_index_of_a_younger_one() {
    let (mut old, _kept) = cluster(1).await;
    for number in 0..60 {
        write(old.handle(0), &format!("k{number}"), "old").await.unwrap();
    }
    let last = write(old.handle(0), "last", "old").await.unwrap();
    let archive = save(&old, 0).await;
    old.stop().await;
    let (mut young, _directory) = cluster(1).await;
    let seen = *young.handle(0).watch_keys().borrow();
    let restored = restore(&young, 0, &archive).await.unwrap();
    assert!(restored.api_index > last.index.0 && restored.api_index > seen);
    assert_eq!(*young.handle(0).watch_keys().borrow(), restored.api_index, "watchers are woken, upwards");
    write(young.handle(0), "more", "x").await.unwrap();
    let before = young.handle(0).view().status.last;
    young.stop_member(0).await;
    young.start_again(0).await.unwrap();
    let after = write(young.handle(0), "again", "x").await.unwrap();
    assert!(after.index > before.index);
    assert_eq!(read(young.handle(0), "k7").await.as_deref(), Some("old"));
    assert_eq!(read(young.handle(0), "more").await.as_deref(), Some("x"));
    young.stop().await;
}

/// K17: a member that was away gets the archive from one that has it, when the entry's turn comes.
#[tokio::test]
async fn a_member_that_was_away_fetches_the_archive() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    write(cluster.handle(leader), "a", "kept").await.unwrap();
    let archive = save(&cluster, leader).await;
    let away = (leader + 1) % 3;
    cluster.stop_member(away).await;
    write(cluster.handle(leader), "b", "new").await.unwrap();
    restore(&cluster, leader, &archive).await.unwrap();
    write(cluster.handle(leader), "c", "after").await.unwrap();
    cluster.start_again(away).await.unwrap();
    assert_eq!(read(cluster.handle(away), "a").await.as_deref(), Some("kept"));
    assert_eq!(read(cluster.handle(away), "b").await, None);
    assert_eq!(read(cluster.handle(away), "c").await.as_deref(), Some("after"));
    cluster.stop().await;
}

/// K17, S25: what a majority of the voters does not have on disk is never proposed, and nothing has changed.
#[tokio::test]
async fn an_archive_that_no_majority_can_take_is_not_restored() {
    let (mut cluster, _directory) = cluster(1).await;
    let disks = [Arc::new(CrashDisk::new()), Arc::new(CrashDisk::new())];
    for disk in &disks {
        let joiner = cluster.start_member_on(Arc::clone(disk) as Arc<dyn Disk>).await.unwrap();
        cluster.add_non_voter(joiner, soon()).await.unwrap();
    }
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    write(cluster.handle(0), "a", "kept").await.unwrap();
    let archive = save(&cluster, 0).await;
    write(cluster.handle(0), "a", "changed").await.unwrap();
    // Less than the floor of free space is left: room to live on, none for an archive.
    for disk in &disks {
        let space = disk.space().unwrap();
        disk.set_capacity(Some(space.total_bytes - space.free_bytes + 100 * 1024 * 1024));
    }
    let status = restore(&cluster, 0, &archive).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{}", status.message());
    assert!(status.message().contains("majority of the voters"), "{}", status.message());
    assert_eq!(read(cluster.handle(0), "a").await.as_deref(), Some("changed"));
    for disk in &disks {
        disk.set_capacity(None);
    }
    restore(&cluster, 0, &archive).await.unwrap();
    assert_eq!(read(cluster.handle(1), "a").await.as_deref(), Some("kept"));
    cluster.stop().await;
}

/// Three voters, of which the last has no room for an archive that the others have restored, nor for a snapshot: its log
/// has the entry, its machine waits in front of it. Also the entry.
async fn one_lacks_the_archive() -> (Cluster, Arc<PlayedDisk>, Index, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    // Little is kept of the log, so that it forgets the restore, and the archive with it.
    let raft = Settings { retention_bytes: 64 * 1024, retention_bytes_max: 64 * 1024, ..Settings::default() };
    let options = ClusterOptions { raft, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(2, directory.path(), options).await.unwrap();
    let disk = Arc::new(PlayedDisk::default());
    let joiner = cluster.start_member_on(Arc::clone(&disk) as Arc<dyn Disk>).await.unwrap();
    assert_eq!(joiner, LACKING);
    cluster.add_non_voter(LACKING, soon()).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    assert_ne!(leader, LACKING, "nothing took leadership from whoever began");
    write(cluster.handle(leader), "a", "kept").await.unwrap();
    let archive = save(&cluster, leader).await;
    write(cluster.handle(leader), "a", "changed").await.unwrap();
    disk.say_full(true);
    let restored = Index(restore(&cluster, leader, &archive).await.unwrap().index);
    sees(&cluster, LACKING, |view| view.status.commit >= restored).await;
    assert!(cluster.handle(LACKING).view().status.applied < restored, "it had room for the archive");
    (cluster, disk, restored, directory)
}

/// The member of `one_lacks_the_archive` that lacks it.
const LACKING: usize = 2;

/// Waits until one member's view is so.
async fn sees(cluster: &Cluster, number: usize, is_so: impl Fn(&View) -> bool) {
    let mut view = cluster.handle(number).watch_view();
    let seen = tokio::time::timeout(PATIENCE, view.wait_for(|view| is_so(view))).await;
    assert!(matches!(seen, Ok(Ok(_))), "the last state seen: {:?}", cluster.handle(number).view().status);
}

/// The archives that a member has on its disk.
fn staged(cluster: &Cluster, number: usize) -> usize {
    let files = std::fs::read_dir(cluster.member_directory(number)).unwrap();
    files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("staged-")).count()
}

/// K17, N3: a member that had no room for an archive while others gave it moves to the leader's state once it has room and
/// nobody has the archive any more. Its machine goes on from there, along its own log, also after a restart.
#[tokio::test]
async fn a_member_that_lacks_an_archive_that_nobody_gives_moves_to_the_leader_s_state() {
    let (mut cluster, disk, restored, _directory) = one_lacks_the_archive().await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    for number in 0..40 {
        let value = vec![b'x'; 10_000];
        cluster.handle(leader).propose(&put(&format!("k{number}"), value), soon()).await.unwrap();
    }
    for number in 0..LACKING {
        assert_eq!(staged(&cluster, number), 1, "member {number}");
        // What is saved is first put on the disk: then the log forgets what is before it, and the archive goes with it.
        save(&cluster, number).await;
        sees(&cluster, number, |view| view.status.first > restored).await;
        let deadline = soon();
        while staged(&cluster, number) > 0 {
            assert!(Instant::now() < deadline, "member {number} keeps the archive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let waits = cluster.handle(LACKING).view().status.clone();
    assert!(waits.applied < restored && waits.first <= restored, "{waits:?}");
    disk.say_full(false);
    assert_eq!(read(cluster.handle(LACKING), "a").await.as_deref(), Some("kept"));
    assert_eq!(read(cluster.handle(LACKING), "k39").await.map(|value| value.len()), Some(10_000));
    write(cluster.handle(LACKING), "b", "after").await.unwrap();
    cluster.stop_member(LACKING).await;
    cluster.start_again(LACKING).await.unwrap();
    assert_eq!(read(cluster.handle(LACKING), "a").await.as_deref(), Some("kept"));
    assert_eq!(read(cluster.handle(LACKING), "b").await.as_deref(), Some("after"));
    cluster.stop().await;
}

/// K17: a leader whose machine waits for an archive that it cannot have answers nobody, and hands leadership to a voter
/// whose state has the restore. With room it gets the archive from one of them.
#[tokio::test]
async fn a_leader_that_lacks_an_archive_hands_over_to_one_that_has_it() {
    let (mut cluster, disk, restored, _directory) = one_lacks_the_archive().await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let term = cluster.handle(leader).view().status.term;
    let lacking = cluster.handle(LACKING).view().identity.server.raft_id.clone();
    cluster.handle(leader).transfer_leadership(Some(lacking), soon()).await.unwrap();
    // One term of its own, and one of whoever it handed over to.
    for number in 0..LACKING {
        sees(&cluster, number, |view| view.status.term >= term.next().next() && view.status.leader.is_some())
            .await;
    }
    write(cluster.handle(0), "b", "after").await.unwrap();
    assert_ne!(cluster.leader(PATIENCE).await.unwrap(), LACKING);
    assert!(cluster.handle(LACKING).view().status.applied < restored);
    disk.say_full(false);
    assert_eq!(read(cluster.handle(LACKING), "a").await.as_deref(), Some("kept"));
    assert_eq!(read(cluster.handle(LACKING), "b").await.as_deref(), Some("after"));
    cluster.stop().await;
}

/// K17: from the moment an archive begins to come in the configuration stays as it is, and a second archive is refused; both
/// are possible again when the upload ends, also when it broke off.
#[tokio::test]
async fn while_an_archive_is_restored_the_configuration_stands_still() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let archive = save(&cluster, leader).await;
    let id = cluster.handle((leader + 1) % 3).view().identity.server.clone();
    let change = async |cluster: &Cluster| {
        let handle = cluster.handle(leader);
        let expected = handle.view().status.latest.as_ref().unwrap().index;
        handle.change_membership(expected, Change::Demote { id: id.clone() }, soon()).await
    };
    let (parts, upload) = tokio::sync::mpsc::channel(2);
    let address = format!("http://127.0.0.1:{}", cluster.ports(leader).grpc);
    let mut client = ClusterClient::connect(address).await.unwrap();
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(upload));
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {}", cluster.admin_token()).parse().unwrap());
    let uploading = tokio::spawn(async move { client.restore(request).await });
    parts.send(RestoreRequest { data: Bytes::copy_from_slice(&archive[..10]) }).await.unwrap();
    // It has begun once a second one is refused; until then each of these ends as not an archive.
    while restore(&cluster, leader, b"second").await.unwrap_err().code() != Code::ResourceExhausted {}
    let refused = change(&cluster).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ConfigurationChanging);
    assert!(refused.message.contains("an archive is being restored"), "{refused}");
    drop(parts);
    let broken_off = uploading.await.unwrap().unwrap_err();
    assert!(broken_off.message().contains("ends too early"), "{}", broken_off.message());
    change(&cluster).await.unwrap();
    restore(&cluster, leader, &archive).await.unwrap();
    cluster.stop().await;
}

/// K20: what was sent before a restore is not known after it: the retry is refused as expired, so that its sender says
/// *outcome unknown* and does not send it again. Members' own clients register anew by themselves.
#[tokio::test]
async fn a_retry_from_before_a_restore_is_refused_as_expired() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let archive = save(&cluster, leader).await;
    let register = Tagged { tag: None, command: Command::RegisterClient { owner: None } };
    let registered = cluster.handle(leader).propose(&register, soon()).await.unwrap();
    let Outcome::Registered { client } = registered.outcome else { panic!("{registered:?}") };
    let tag = Some(Tag { client, sequence: 1, acked_below: 1 });
    let tagged = Tagged { tag, ..put("tagged", "x") };
    cluster.handle(leader).propose(&tagged, soon()).await.unwrap();
    restore(&cluster, leader, &archive).await.unwrap();
    let retried = cluster.handle(leader).propose(&tagged, soon()).await.unwrap();
    assert_eq!(retried.outcome, Outcome::Refused(Refusal::SessionExpired { client }));
    assert_eq!(read(cluster.handle(leader), "tagged").await, None);
    let follower = (leader + 1) % 3;
    write(cluster.handle(follower), "forwarded", "x").await.unwrap();
    assert_eq!(read(cluster.handle(follower), "forwarded").await.as_deref(), Some("x"));
    cluster.stop().await;
}

/// K23, P10: without the token, at a follower, or with something else than an archive nothing changes, and the answer says
/// what to do.
#[tokio::test]
async fn what_cannot_be_restored_is_refused_and_changes_nothing() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    write(cluster.handle(leader), "a", "kept").await.unwrap();
    let archive = save(&cluster, leader).await;
    let denied = send(cluster.ports(leader).grpc, "wrong".to_owned(), archive.clone()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let elsewhere = restore(&cluster, (leader + 1) % 3, &archive).await.unwrap_err();
    assert!(elsewhere.message().contains(&format!("it is dev-{leader}")), "{}", elsewhere.message());
    let half = restore(&cluster, leader, &archive[..archive.len() / 2]).await.unwrap_err();
    assert!(half.message().contains("ends too early"), "{}", half.message());
    let foreign = restore(&cluster, leader, b"no archive").await.unwrap_err();
    assert!(foreign.message().contains("this is no archive of quorate"), "{}", foreign.message());
    // A client may not propose it either, whatever it knows of the format.
    let forged = Command::Restore(quorate_machine::RestoreOrder { sha256: [7; 32], bytes: 1 });
    let forged = Tagged { tag: None, command: forged };
    let refused = cluster.handle(leader).propose(&forged, soon()).await.unwrap_err();
    assert!(refused.message.contains("not a command of clients"), "{refused}");
    assert_eq!(read(cluster.handle(leader), "a").await.as_deref(), Some("kept"));
    cluster.stop().await;
}

/// S25, raft.md §7 item 19: the leader ends at some moment of a restore. Afterwards all members agree on the state before
/// it or the state after it, and an answer that said success is true.
#[tokio::test]
async fn a_leader_that_ends_during_a_restore_leaves_the_old_or_the_new_state_everywhere() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    for number in 0..40 {
        cluster
            .handle(leader)
            .propose(&put(&format!("k{number}"), vec![b'o'; 10_000]), soon())
            .await
            .unwrap();
    }
    write(cluster.handle(leader), "mark", "archive").await.unwrap();
    let archive = save(&cluster, leader).await;
    for round in 0..8_u64 {
        let leader = cluster.leader(PATIENCE).await.unwrap();
        let mark = format!("round {round}");
        write(cluster.handle(leader), "mark", &mark).await.unwrap();
        write(cluster.handle(leader), "extra", &mark).await.unwrap();
        let (grpc, token) = (cluster.ports(leader).grpc, cluster.admin_token().to_owned());
        let sending = tokio::spawn(send(grpc, token, archive.clone()));
        tokio::time::sleep(Duration::from_millis(round * 12)).await;
        cluster.abort_member(leader).await;
        let is_restored = sending.await.unwrap().is_ok();
        cluster.start_again(leader).await.unwrap();
        cluster.leader(PATIENCE).await.unwrap();
        let mut seen = Vec::new();
        for number in 0..3 {
            seen.push((
                read(cluster.handle(number), "mark").await,
                read(cluster.handle(number), "extra").await,
            ));
        }
        let old = (Some(mark.clone()), Some(mark));
        let new = (Some("archive".to_owned()), None);
        assert!(seen[0] == old || seen[0] == new, "round {round}: {:?}", seen[0]);
        assert!(seen.iter().all(|one| *one == seen[0]), "round {round}: {seen:?}");
        assert!(!is_restored || seen[0] == new, "round {round}: a restore that was said to be done is not");
    }
    cluster.stop().await;
}
